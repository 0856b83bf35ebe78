"""Occlusion: cover a patch of the image and measure the change of the score (Zeiler and Fergus 2014, arXiv:1311.2901).

The patch visits every position, including those partly outside the image, so that each pixel is covered equally often.
A pixel's value is the mean loss of score over the patches that cover it.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from edge_fmnist.vision.preprocess import SIZE
from edge_fmnist_export.report.explain.base import BACKGROUND, ExplainRequest, Explanation

# Large enough to hide a sleeve or a strap, small enough to distinguish them.
PATCH = 5


def explain(request: ExplainRequest) -> Explanation:
    """Explain a score by occlusion: the mean loss of score, -1 to 1, where a pixel is covered."""
    lost = float(request.scores(request.image[None])[0]) - request.scores(occluded(request.image))
    places = SIZE + PATCH - 1
    windows = sliding_window_view(lost.reshape(places, places), (PATCH, PATCH))
    return Explanation(
        method="occlusion",
        values=windows.mean(axis=(2, 3), dtype=np.float64),
        unit="mean loss of score where the pixel is covered",
        details={"patch": PATCH, "covered_with": BACKGROUND},
    )


def occluded(image: np.ndarray) -> np.ndarray:
    """Return copies of an image, uint8 (28, 28), with one patch covered in each: uint8, shape (32 * 32, 28, 28).

    The last row and column of the patch are from 0 to 31, in row-major order.
    """
    ends = np.arange(SIZE + PATCH - 1)[:, None]
    pixels = np.arange(SIZE)[None, :]
    # Shape (places, pixels): whether a patch that ends at a place covers a row or column.
    covers = (pixels <= ends) & (pixels > ends - PATCH)
    patches = covers[:, None, :, None] & covers[None, :, None, :]
    return np.where(patches.reshape(-1, SIZE, SIZE), np.uint8(BACKGROUND), image)
