"""Occlusion: cover a patch of the image and see what the score loses (Zeiler and Fergus 2014, arXiv:1311.2901).

The patch visits every place, also those that lie half outside, so that each
pixel is covered equally often. A pixel's value is the mean of what the score
lost under the patches that covered it.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from edge_fmnist.vision.preprocess import SIZE
from edge_fmnist_export.report.explain.base import BACKGROUND, Explanation, Question

# Wide enough to hide a sleeve or a strap, small enough to tell one from the next.
PATCH = 5


def explain(question: Question) -> Explanation:
    """Explain a score by occlusion.

    Args:
        question: what is asked; there is no chance in the answer.

    Returns:
        The mean loss of score, -1 to 1, under the patches that cover each pixel.
    """
    lost = float(question.scores(question.image[None])[0]) - question.scores(occluded(question.image))
    places = SIZE + PATCH - 1
    windows = sliding_window_view(lost.reshape(places, places), (PATCH, PATCH))
    return Explanation(
        method="occlusion",
        values=windows.mean(axis=(2, 3), dtype=np.float64),
        unit="mean loss of score where the pixel is covered",
        details={"patch": PATCH, "covered_with": BACKGROUND},
    )


def occluded(image: np.ndarray) -> np.ndarray:
    """Return copies of an image with a patch covered in each.

    Args:
        image: uint8, shape (28, 28).

    Returns:
        uint8, shape (32 * 32, 28, 28): the patch's last row and column go from 0 to 31, row by row.
    """
    ends = np.arange(SIZE + PATCH - 1)[:, None]
    pixels = np.arange(SIZE)[None, :]
    # Shape (places, pixels): whether the patch that ends at a place covers a row, and alike a column.
    covers = (pixels <= ends) & (pixels > ends - PATCH)
    patches = covers[:, None, :, None] & covers[None, :, None, :]
    return np.where(patches.reshape(-1, SIZE, SIZE), np.uint8(BACKGROUND), image)
