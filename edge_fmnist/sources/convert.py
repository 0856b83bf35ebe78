"""Convert pictures of any kind to frames."""

from __future__ import annotations

import numpy as np


def as_frame(picture: np.ndarray) -> np.ndarray:
    """Return a picture as a frame.

    Args:
        picture: uint8 or uint16; shape (H, W) or (H, W, 1) grey, (H, W, 3) BGR or (H, W, 4) BGRA. Transparent pixels
            become white, as on a page.

    Returns:
        uint8, shape (H, W, 3), BGR, contiguous; the picture itself if it is that already.

    Raises:
        ImageError: another dtype or shape, or no pixels.
    """
    from edge_fmnist.vision.preprocess import to_bgr

    return np.ascontiguousarray(to_bgr(picture))
