"""``cnn-1``, ``cnn-2``, ``cnn-3``: the same network with one, two and three convolutions."""

from __future__ import annotations

from typing import Any

from edge_fmnist_export.architectures.registry import CLASSES, INPUT_SHAPE, architecture

FILTERS = (32, 64, 128)


def plain_cnn(keras: Any, depth: int) -> Any:
    """Build ``depth`` convolutions of 3x3, each with pooling and dropout, then Dense 128."""
    layers = keras.layers
    inputs = layers.Input(INPUT_SHAPE)
    x = inputs
    for filters in FILTERS[:depth]:
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
        x = layers.Dropout(0.25)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(128, activation="relu")(x)
    x = layers.Dropout(0.3)(x)
    return keras.Model(inputs, layers.Dense(CLASSES)(x), name=f"cnn_{depth}")


@architecture("cnn-1")
def cnn_1(keras: Any) -> Any:
    """Build one convolution and Dense 128: 804,554 parameters, 1,029,888 MACs."""
    return plain_cnn(keras, 1)


@architecture("cnn-2")
def cnn_2(keras: Any) -> Any:
    """Build two convolutions and Dense 128: 421,642 parameters, 4,241,152 MACs."""
    return plain_cnn(keras, 2)


@architecture("cnn-3")
def cnn_3(keras: Any) -> Any:
    """Build three convolutions and Dense 128: 241,546 parameters, 7,599,872 MACs."""
    return plain_cnn(keras, 3)
