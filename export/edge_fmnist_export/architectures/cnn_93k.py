"""``cnn-93k``: the three-convolution network of TensorFlow's CNN tutorial."""

from __future__ import annotations

from typing import Any

from edge_fmnist_export.architectures.registry import CLASSES, INPUT_SHAPE, architecture


@architecture("cnn-93k")
def cnn_93k(keras: Any) -> Any:
    """Build convolutions of 32, 64, 64 and Dense 64: 93,322 parameters, 2,794,240 MACs; published at 83 %."""
    layers = keras.layers
    inputs = layers.Input(INPUT_SHAPE)
    x = layers.Conv2D(32, 3, activation="relu")(inputs)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(64, 3, activation="relu")(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(64, 3, activation="relu")(x)
    x = layers.Flatten()(x)
    x = layers.Dense(64, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(CLASSES)(x), name="cnn_93k")
