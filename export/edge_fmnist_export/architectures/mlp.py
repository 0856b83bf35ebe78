"""``mlp-128``: one hidden layer."""

from __future__ import annotations

from typing import Any

from edge_fmnist_export.architectures.registry import CLASSES, INPUT_SHAPE, architecture


@architecture("mlp-128")
def mlp_128(keras: Any) -> Any:
    """Build Flatten, Dense 128, Dense 10: 101,770 parameters, 101,632 MACs; published at 86 %."""
    layers = keras.layers
    inputs = layers.Input(INPUT_SHAPE)
    x = layers.Flatten()(inputs)
    x = layers.Dense(128, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(CLASSES)(x), name="mlp_128")
