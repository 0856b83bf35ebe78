"""``cnn-dropout``: three convolutions, two poolings, four dropouts."""

from __future__ import annotations

from typing import Any

from edge_fmnist_export.architectures.registry import CLASSES, INPUT_SHAPE, architecture


@architecture("cnn-dropout")
def cnn_dropout(keras: Any) -> Any:
    """Build convolutions of 32, 64, 128 with dropout: 241,546 parameters, 3,237,248 MACs; published at 93 %."""
    layers = keras.layers
    inputs = layers.Input(INPUT_SHAPE)
    x = layers.Conv2D(32, 3, activation="relu")(inputs)
    x = layers.MaxPooling2D()(x)
    x = layers.Dropout(0.25)(x)
    x = layers.Conv2D(64, 3, activation="relu")(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Dropout(0.25)(x)
    x = layers.Conv2D(128, 3, activation="relu")(x)
    x = layers.Dropout(0.4)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(128, activation="relu")(x)
    x = layers.Dropout(0.3)(x)
    return keras.Model(inputs, layers.Dense(CLASSES)(x), name="cnn_dropout")
