"""Where the pixels of a 28x28 image came from in its photograph: preprocessing, backwards."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np

from edge_fmnist.vision.detection import Box, Garment
from edge_fmnist.vision.preprocess import SIZE


class Placement(NamedTuple):
    """Which part of the image shows the garment, and which part of the photograph that is.

    Attributes:
        part: in pixels of the image; around it is nothing but black.
        box: in pixels of the photograph.
    """

    part: Box
    box: Box

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"part": self.part._asdict(), "box": self.box._asdict()}


def placement(garment: Garment) -> Placement:
    """Return where the image of a garment came from.

    :mod:`edge_fmnist.vision.preprocess` shrinks the bounds of the mask to a longest
    edge of 28 pixels and centres them; so the mask tells the part.

    Args:
        garment: what was found in a photograph; ``found`` is True.
    """
    _, _, width, height = cv2.boundingRect(garment.mask)
    factor = SIZE / max(height, width)
    rows, columns = max(1, round(height * factor)), max(1, round(width * factor))
    return Placement(Box((SIZE - columns) // 2, (SIZE - rows) // 2, columns, rows), garment.box)


def onto_photograph(values: np.ndarray, garment: Garment, shape: tuple[int, int]) -> np.ndarray:
    """Map values of the pixels of an image back onto its photograph.

    Args:
        values: float, shape (28, 28), one for each pixel of the garment's image.
        garment: what was found in the photograph; ``found`` is True.
        shape: height and width of the photograph as it is shown: its own, or those of a smaller copy.

    Returns:
        float64, of that shape: the values, smoothly enlarged, in the garment's box, and 0 around it.
    """
    part, box = placement(garment)
    down, across = shape[0] / garment.frame_shape[0], shape[1] / garment.frame_shape[1]
    top, left = round(box.top * down), round(box.left * across)
    height, width = max(1, round(box.height * down)), max(1, round(box.width * across))
    inside = values[part.top : part.top + part.height, part.left : part.left + part.width].astype(np.float64)
    enlarged = cv2.resize(inside, (width, height), interpolation=cv2.INTER_LINEAR)
    result = np.zeros(shape, np.float64)
    # Two halves that are both rounded up would lead out of the picture.
    room = result[top : top + height, left : left + width]
    room[:] = enlarged[: room.shape[0], : room.shape[1]]
    return result
