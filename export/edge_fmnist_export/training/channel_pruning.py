"""Channel pruning: initialize a residual network from a trained one with wider blocks.

The importance of a channel between the two convolutions of a block is the scale of its batch normalization (Liu et
al. 2017, arXiv:1708.06519) times the norm of the weights that read it (Li et al. 2017, arXiv:1608.08710).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_fmnist.errors import UsageError
from edge_fmnist_export import architectures
from edge_fmnist_export.architectures import residual
from edge_fmnist_export.training.weights import Arrays, assign_variables, read_variables


def is_narrower(architecture: str, than: str) -> bool:
    """Return whether two residual networks differ only in that the first one's blocks are narrower inside."""
    try:
        narrow, wide = residual.parse(architecture), residual.parse(than)
    except UsageError:
        return False
    if narrow.stem != wide.stem or len(narrow.blocks) != len(wide.blocks):
        return False
    return narrow != wide and all(
        (ours.filters, ours.size, ours.strides) == (theirs.filters, theirs.size, theirs.strides)
        and ours.between <= theirs.between
        for ours, theirs in zip(narrow.blocks, wide.blocks, strict=True)
    )


def prune_channels(weights: Arrays, wide: str, narrow: str, keras: Any) -> Arrays:
    """Return weights for a narrower network that keep the most important channels.

    :func:`is_narrower` has to hold. Weights are in the order of Keras.

    Returns:
        The weights of the narrower network, in Keras' order.

    Raises:
        RunError: the weights do not fit the wider network.
    """
    source, target = architectures.build(wide, keras), architectures.build(narrow, keras)
    assign_variables(source.weights, weights, wide)
    # Both have the same layers in the same order.
    layers = [layer for layer in source.layers if layer.weights]
    kept: np.ndarray | None = None
    found: Arrays = []
    for index, (theirs, ours) in enumerate(zip(layers, (each for each in target.layers if each.weights), strict=True)):
        arrays = read_variables(theirs.weights)
        wanted = [tuple(variable.shape) for variable in ours.weights]
        if wanted[0][-1] < arrays[0].shape[-1] and arrays[0].ndim == 4:
            kept = _most_important(layers[index:], wanted[0][-1])
            arrays = [arrays[0][..., kept]]
        elif kept is not None and wanted[0] != arrays[0].shape:
            # The batch normalization that follows, then the convolution that reads the kept channels.
            arrays = [arrays[0][:, :, kept]] if arrays[0].ndim == 4 else [array[kept] for array in arrays]
        found.extend(arrays)
    return found


def _most_important(layers: list[Any], count: int) -> np.ndarray:
    """Return the indexes of the ``count`` most important channels that the first of some layers makes, ascending."""
    channels = layers[0].kernel.shape[-1]
    normalization = next(each for each in layers[1:] if len(each.weights) == 4 and each.gamma.shape[0] == channels)
    reader = next(each for each in layers[1:] if len(each.weights) == 1 and each.kernel.shape[-2] == channels)
    scale = np.abs(read_variables([normalization.gamma])[0])
    norm = np.sqrt(np.square(read_variables([reader.kernel])[0]).sum(axis=(0, 1, 3)))
    return np.sort(np.argsort(-(scale * norm), kind="stable")[:count])
