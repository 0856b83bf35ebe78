"""Pictures of any kind that a source may deliver, as frames."""

from __future__ import annotations

import numpy as np

from edge_fmnist.errors import ImageError


def as_frame(picture: np.ndarray) -> np.ndarray:
    """Return a picture as a frame.

    Args:
        picture: uint8 or uint16; shape (H, W) or (H, W, 1) grey, (H, W, 3) BGR
            or (H, W, 4) BGRA. Transparent pixels become white, as on a page.

    Returns:
        uint8, shape (H, W, 3), BGR, contiguous; the picture itself where it is one already.

    Raises:
        ImageError: another dtype or shape, or no pixels.
    """
    import cv2

    if picture.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"expected a picture of uint8 or uint16, got {picture.dtype}")
    channels = picture.shape[2] if picture.ndim == 3 else 1
    if picture.ndim not in (2, 3) or channels not in (1, 3, 4) or picture.size == 0:
        raise ImageError(f"expected a picture of shape (H, W), (H, W, 3) or (H, W, 4), got {picture.shape}")
    if picture.dtype == np.uint16:
        picture = (picture >> 8).astype(np.uint8)
    if channels == 1:
        picture = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)
    elif channels == 4:
        picture = _on_white(picture)
    return np.ascontiguousarray(picture)


def _on_white(picture: np.ndarray) -> np.ndarray:
    """Return a BGRA picture as BGR on white paper."""
    alpha = picture[:, :, 3:].astype(np.float32) / 255
    return np.asarray(np.round(picture[:, :, :3] * alpha + 255 * (1 - alpha)).astype(np.uint8))
