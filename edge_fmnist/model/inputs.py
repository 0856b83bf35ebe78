"""From a picture of any kind (a path, bytes, a PIL image, an array) to its pixels."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from edge_fmnist.errors import ImageError
from edge_fmnist.vision.read_image import counts_from_white, read_image


def read_pixels(picture: Any) -> np.ndarray:
    """Return the pixels of a picture of any kind.

    Args:
        picture: as for :meth:`edge_fmnist.Classifier.__call__`.

    Returns:
        uint8 or uint16; shape (H, W) grey, (H, W, 3) BGR or (H, W, 4) BGRA.

    Raises:
        SourceError: a path that does not exist.
        ImageError: it cannot be read, or is not a picture.
    """
    if isinstance(picture, np.ndarray):
        # A plain array: np.matrix, for example, always has two axes.
        return np.asarray(picture)
    if any((base.__module__, base.__name__) == ("PIL.Image", "Image") for base in type(picture).__mro__):
        try:
            return _pil_pixels(picture)
        except ImageError:
            raise
        except Exception as error:  # Decoders raise almost anything for damaged files.
            raise ImageError(f"a PIL image that cannot be read ({error})") from error
    if isinstance(picture, bytearray | memoryview):
        picture = bytes(picture)
    if isinstance(picture, str | os.PathLike | bytes) or hasattr(picture, "read"):
        return read_image(picture)
    raise ImageError(
        "expected a path, bytes, a binary file, a PIL image, a NumPy array, or a list of them, "
        f"got {type(picture).__name__}"
    )


def _pil_pixels(picture: Any) -> np.ndarray:
    from PIL import ImageOps

    # Before it is turned, which drops the tags.
    inverted = counts_from_white(picture)
    upright = ImageOps.exif_transpose(picture)
    if upright.mode[0] in "IF":
        # Pillow opens some files of 16 bits as 32.
        values = np.asarray(upright)
        if upright.mode == "F" or values.min(initial=0) < 0 or values.max(initial=0) > np.iinfo(np.uint16).max:
            raise ImageError(f"expected a PIL image of 8 or 16 bits, got mode {upright.mode}")
        if inverted:
            values = (255 if values.max(initial=0) <= 255 else np.iinfo(np.uint16).max) - values
        return values.astype(np.uint16)
    if "A" in upright.getbands() or "transparency" in upright.info:
        return np.asarray(upright.convert("RGBA"))[..., [2, 1, 0, 3]]
    if upright.mode in ("1", "L"):
        return np.asarray(upright.convert("L"))
    return np.ascontiguousarray(np.asarray(upright.convert("RGB"))[..., ::-1])
