"""Map pixels of a 28x28 image back to its photograph: preprocessing in reverse."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np

from edge_fmnist.vision.detection import Box, Garment
from edge_fmnist.vision.preprocess import SIZE


class Placement(NamedTuple):
    """The part of the image that shows the garment, and its place in the photograph.

    Attributes:
        part: in pixels of the image; everything outside is black.
        box: in pixels of the photograph.
    """

    part: Box
    box: Box

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"part": self.part._asdict(), "box": self.box._asdict()}


def placement(garment: Garment) -> Placement:
    """Return where the image of a detected garment came from.

    :mod:`edge_fmnist.vision.preprocess` scales the bounds of the mask to a longest edge of 28 pixels and centres them.
    """
    # If the mask is an alpha channel, preprocessing scales the part of the picture in the box instead.
    _, _, width, height = garment.box if garment.confidence == 1 else cv2.boundingRect(garment.mask)
    factor = SIZE / max(height, width)
    rows, columns = max(1, round(height * factor)), max(1, round(width * factor))
    return Placement(Box((SIZE - columns) // 2, (SIZE - rows) // 2, columns, rows), garment.box)


def onto_photograph(values: np.ndarray, garment: Garment, shape: tuple[int, int]) -> np.ndarray:
    """Map values of an image's pixels, float (28, 28), to its photograph, or to a resized copy of it.

    ``shape`` is its height and width.

    Returns:
        float64, of this shape: the values, resized by linear interpolation, in the garment's box, and 0 outside.
    """
    part, box = placement(garment)
    down, across = shape[0] / garment.frame_shape[0], shape[1] / garment.frame_shape[1]
    top, left = round(box.top * down), round(box.left * across)
    height, width = max(1, round(box.height * down)), max(1, round(box.width * across))
    inside = values[part.top : part.top + part.height, part.left : part.left + part.width].astype(np.float64)
    resized = cv2.resize(inside, (width, height), interpolation=cv2.INTER_LINEAR)
    result = np.zeros(shape, np.float64)
    # Rounding may place the last row or column outside.
    room = result[top : top + height, left : left + width]
    room[:] = resized[: room.shape[0], : room.shape[1]]
    return result
