"""``lenet5``: LeNet-5 (LeCun et al. 1998) with ReLU and max pooling."""

from __future__ import annotations

from typing import Any

from edge_fmnist_export.architectures.registry import CLASSES, INPUT_SHAPE, architecture


@architecture("lenet5")
def lenet5(keras: Any) -> Any:
    """Build LeNet-5 with Dense layers of 120 and 64: 59,086 parameters, 413,920 MACs; published at 91.26 %."""
    layers = keras.layers
    inputs = layers.Input(INPUT_SHAPE)
    x = layers.Conv2D(6, 5, padding="same", activation="relu")(inputs)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(16, 5, activation="relu")(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    x = layers.Dense(120, activation="relu")(x)
    x = layers.Dense(64, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(CLASSES)(x), name="lenet5")
