"""The networks of published projects, for comparison."""

from __future__ import annotations

from typing import Any

from edge_fmnist_export.architectures.registry import CLASSES, INPUT_SHAPE


def lenet5(keras: Any) -> Any:
    """Build LeNet-5 (LeCun et al. 1998) with ReLU, max pooling, Dense 120 and 64: 59,086 parameters, 413,920 MACs.

    Published at 91.26 %.
    """
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


def mlp_128(keras: Any) -> Any:
    """Build Flatten, Dense 128, Dense 10: 101,770 parameters, 101,632 MACs; published at 86 %."""
    layers = keras.layers
    inputs = layers.Input(INPUT_SHAPE)
    x = layers.Flatten()(inputs)
    x = layers.Dense(128, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(CLASSES)(x), name="mlp_128")


def cnn_93k(keras: Any) -> Any:
    """Build convolutions of 32, 64, 64 and Dense 64: 93,322 parameters, 2,794,240 MACs; published at 83 %.

    The network of TensorFlow's CNN tutorial.
    """
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


def _plain_cnn(keras: Any, *filters: int) -> Any:
    """Build 3x3 convolutions with pooling and dropout, then Dense 128."""
    layers = keras.layers
    x = inputs = layers.Input(INPUT_SHAPE)
    for count in filters:
        x = layers.Conv2D(count, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
        x = layers.Dropout(0.25)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(128, activation="relu")(x)
    x = layers.Dropout(0.3)(x)
    return keras.Model(inputs, layers.Dense(CLASSES)(x), name=f"cnn_{len(filters)}")


def cnn_1(keras: Any) -> Any:
    """Build one convolution and Dense 128: 804,554 parameters, 1,029,888 MACs."""
    return _plain_cnn(keras, 32)


def cnn_2(keras: Any) -> Any:
    """Build two convolutions and Dense 128: 421,642 parameters, 4,241,152 MACs."""
    return _plain_cnn(keras, 32, 64)


def cnn_3(keras: Any) -> Any:
    """Build three convolutions and Dense 128: 241,546 parameters, 7,599,872 MACs."""
    return _plain_cnn(keras, 32, 64, 128)
