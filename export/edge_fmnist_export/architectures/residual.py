"""Residual networks by name: ``resnet:STEM;BLOCK,BLOCK,...``.

The stem is one convolution, a block two with a shortcut (He et al. 2015, arXiv:1512.03385); global average pooling and
one Dense layer follow. Each is ``FILTERS[xINNER][kSIZE][/STRIDES]``: the filters, those of the first convolution of a
block if different, the kernel size if not 3, the stride if not 1. ``resnet:32;48/2,80x60/2`` has a stem of 32 filters
at 28 pixels, a block of 48 at 14 pixels and one of 80 at 7 pixels with 60 channels between its convolutions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edge_fmnist.errors import UsageError
from edge_fmnist_export.architectures.registry import CLASSES, INPUT_SHAPE

FAMILY = "resnet"
EXAMPLE = f"{FAMILY}:32;48/2,80/2"
STAGE = re.compile(r"(\d{1,6})(?:x(\d{1,6}))?(?:k(\d{1,6}))?(?:/(\d{1,6}))?", re.ASCII)
# Limits, so that a typing error does not fill the memory.
MOST_FILTERS, MOST_BLOCKS = 1024, 32
SIZES, STRIDES = (1, 3, 5, 7), (1, 2)
# Parameters of batch normalization for each channel: scale, offset, mean and variance.
NORMALIZATION = 4


def convolution(keras: Any, x: Any, filters: int, size: int, strides: int = 1) -> Any:
    """Apply a convolution without bias, and batch normalization."""
    x = keras.layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)
    return keras.layers.BatchNormalization()(x)


def residual_block(keras: Any, x: Any, stage: Stage) -> Any:
    """Apply two convolutions with a shortcut: a 1x1 convolution if the shape changes, else the identity."""
    shortcut = x
    if stage.strides != 1 or x.shape[-1] != stage.filters:
        shortcut = convolution(keras, x, stage.filters, 1, stage.strides)
    x = keras.layers.ReLU()(convolution(keras, x, stage.between, stage.size, stage.strides))
    x = convolution(keras, x, stage.filters, stage.size)
    return keras.layers.ReLU()(keras.layers.Add()([x, shortcut]))


@dataclass(frozen=True)
class Stage:
    """The stem or a block.

    Attributes:
        filters: channels of the output.
        size: edge of the kernels, in pixels.
        strides: of the first convolution.
        inner: channels between the two convolutions of a block; 0 for ``filters``.

    Raises:
        UsageError: a value out of range.
    """

    filters: int
    size: int = 3
    strides: int = 1
    inner: int = 0

    def __post_init__(self) -> None:
        for filters in (self.filters, self.between):
            if not 1 <= filters <= MOST_FILTERS:
                raise UsageError(f"expected 1 to {MOST_FILTERS} filters, got {filters}")
        if self.size not in SIZES:
            raise UsageError(f"expected kernels of {', '.join(map(str, SIZES))} pixels, got {self.size}")
        if self.strides not in STRIDES:
            raise UsageError(f"expected a stride of 1 or 2, got {self.strides}")

    @property
    def between(self) -> int:
        """Channels between the two convolutions of a block."""
        return self.inner or self.filters

    def __str__(self) -> str:
        inner = "" if self.between == self.filters else f"x{self.inner}"
        size = "" if self.size == 3 else f"k{self.size}"
        return f"{self.filters}{inner}{size}" + ("" if self.strides == 1 else f"/{self.strides}")


@dataclass(frozen=True)
class Network:
    """A residual network as data; ``str()`` gives the name that :func:`parse` reads.

    Raises:
        UsageError: no blocks, or too many.
    """

    stem: Stage
    blocks: tuple[Stage, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.blocks) <= MOST_BLOCKS:
            raise UsageError(f"expected 1 to {MOST_BLOCKS} blocks, got {len(self.blocks)}")
        if self.stem.inner:
            raise UsageError(f"the stem is one convolution and has no inner width, got {self.stem}")

    def __str__(self) -> str:
        return f"{FAMILY}:{self.stem};{','.join(map(str, self.blocks))}"

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stem and the blocks, in order."""
        return (self.stem, *self.blocks)

    @property
    def parameters(self) -> int:
        """Number of parameters, as counted by Keras."""
        convolutions = sum(weights + NORMALIZATION * filters for weights, filters, _ in self._convolutions())
        return convolutions + (self.blocks[-1].filters + 1) * CLASSES

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        convolutions = sum(weights * edge**2 for weights, _, edge in self._convolutions())
        return convolutions + self.blocks[-1].filters * CLASSES

    def _convolutions(self) -> Iterator[tuple[int, int, int]]:
        """Yield the weights, filters and edge of the output, in pixels, of every convolution, also of shortcuts."""
        edge = -(-INPUT_SHAPE[0] // self.stem.strides)
        channels = self.stem.filters
        yield self.stem.size**2 * INPUT_SHAPE[-1] * channels, channels, edge
        for block in self.blocks:
            edge = -(-edge // block.strides)
            if block.strides != 1 or block.filters != channels:
                yield channels * block.filters, block.filters, edge
            yield block.size**2 * channels * block.between, block.between, edge
            yield block.size**2 * block.between * block.filters, block.filters, edge
            channels = block.filters


def parse(name: str) -> Network:
    """Read a network from its name, for example ``resnet:32;48/2,80/2``.

    Raises:
        UsageError: an invalid name, or a value out of range.
    """
    stem, _, blocks = name.removeprefix(f"{FAMILY}:").partition(";")
    try:
        return Network(_stage(stem), tuple(_stage(block) for block in blocks.split(",")))
    except UsageError as error:
        raise UsageError(f"{name!r}: {error}") from None


def _stage(text: str) -> Stage:
    found = STAGE.fullmatch(text.strip())
    if found is None:
        raise UsageError(
            f"expected {FAMILY}:STEM;BLOCK,BLOCK,... with stages like 48, 48/2, 48x32/2 or 48k5/2, "
            f"for example {EXAMPLE}; got {text!r}"
        )
    filters, inner, size, strides = found.groups()
    if inner is not None and int(inner) == 0:
        raise UsageError(f"{text!r}: expected 1 to {MOST_FILTERS} inner filters, got 0")
    return Stage(int(filters), int(size or 3), int(strides or 1), 0 if inner == filters else int(inner or 0))


def build(network: Network, keras: Any, name: str = FAMILY) -> Any:
    """Build a network.

    Returns:
        An uncompiled functional model with random weights: float32 images (N, 28, 28, 1), 0 to 1, to logits.
    """
    layers = keras.layers
    inputs = layers.Input(INPUT_SHAPE)
    stem = network.stem
    x = layers.ReLU()(convolution(keras, inputs, stem.filters, stem.size, stem.strides))
    for block in network.blocks:
        x = residual_block(keras, x, block)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(CLASSES)(x), name=name)
