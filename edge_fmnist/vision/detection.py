"""The result of preprocessing: the detected garment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Box(NamedTuple):
    """A rectangle, in pixels of the frame."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, eq=False, slots=True)
class Garment:
    """The garment detected by :func:`edge_fmnist.vision.preprocess.preprocess`.

    Attributes:
        found: whether a garment was detected; if not, ``image`` and ``mask`` are black and ``box`` is empty.
        image: uint8, shape (28, 28), the garment bright on black: the input of the model.
        mask: uint8, 0 or 255, shape of the small working copy of the frame.
        box: bounding box of the garment, in pixels of the frame.
        confidence: how well the colours of garment and background separate, 0 to 1; where none was detected, of the
            rejected candidate. 1 where the picture itself brings the mask.
        frame_shape: height and width of the frame.
    """

    found: bool
    image: np.ndarray
    mask: np.ndarray
    box: Box
    confidence: float
    frame_shape: tuple[int, int]

    def outline(self) -> list[np.ndarray]:
        """Return the outer contours of the mask, each int32, shape (N, 1, 2), as x, y in pixels of the frame.

        The list is empty without a garment.
        """
        import cv2

        contours, _ = cv2.findContours(self.mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        height, width = self.mask.shape
        scale = np.array([self.frame_shape[1] / width, self.frame_shape[0] / height])
        # A point of the mask is a square of pixels in the frame: use its centre.
        return [((contour + 0.5) * scale).astype(np.int32) for contour in contours]
