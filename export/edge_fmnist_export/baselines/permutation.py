"""Permutation importance of an image's blocks, for methods that weigh no single pixel.

Breiman 2001, "Random forests", section 10: what the accuracy loses when one
feature is shuffled among the images. One pixel alone is worth next to nothing
where its neighbours say the same, so a block of pixels is shuffled at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edge_fmnist_export.baselines.base import Advance, Baseline, silent
from edge_fmnist_export.training.batches import Subset

BLOCK = 4
IMAGES = 1000


def block_importance(
    predict: Callable[[np.ndarray], np.ndarray], validation: Subset, seed: int, advance: Advance = silent
) -> np.ndarray:
    """Return what the accuracy loses when a block is shuffled among images, float64, shape (28, 28), at most 1.

    Every pixel of a block of 4x4 has the value of the block. A value below 0 is chance.

    Args:
        predict: from images, uint8 (N, 28, 28), to the indexes of their classes, shape (N,).
        validation: images that were not trained on; at most 1,000 of them are used.
        seed: decides which, and how they are shuffled.
        advance: is told how many blocks are done.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(validation))[:IMAGES]
    images, targets = validation.images[chosen], validation.targets[chosen]
    whole = float((predict(images) == targets).mean())
    edge = images.shape[1] // BLOCK
    losses = np.zeros((edge, edge))
    for number, (row, column) in enumerate(np.ndindex(edge, edge)):
        block = np.s_[:, row * BLOCK : (row + 1) * BLOCK, column * BLOCK : (column + 1) * BLOCK]
        shuffled = images.copy()
        shuffled[block] = images[block][rng.permutation(len(images))]
        losses[row, column] = whole - float((predict(shuffled) == targets).mean())
        advance("importance of blocks", number + 1, edge * edge)
    return losses.repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)


class WeighsBlocks(Baseline):
    """A baseline whose estimator has no importance of its own, so that blocks of pixels are shuffled."""

    importance_method = "accuracy lost when a block of 4x4 pixels is shuffled among validation images"

    def importance(
        self,
        estimator: Any,  # noqa: ARG002
        predict: Callable[[np.ndarray], np.ndarray],
        validation: Subset,
        seed: int,
        advance: Advance = silent,
    ) -> np.ndarray:
        """Return the accuracy that each block of pixels is worth, shape (28, 28)."""
        return block_importance(predict, validation, seed, advance)
