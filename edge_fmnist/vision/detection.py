"""What preprocessing finds in a frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Box(NamedTuple):
    """A rectangle in pixels of a frame."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, eq=False, slots=True)
class Garment:
    """What :func:`edge_fmnist.vision.preprocess.preprocess` finds in a frame.

    Attributes:
        found: whether there is a garment; if not, ``image`` and ``mask`` are black and ``box`` is empty.
        image: uint8, shape (28, 28), the garment bright on black: what the model sees.
        mask: uint8, 0 or 255, shape of the small working copy of the frame.
        box: the garment's bounds in pixels of the frame.
        confidence: how little the colours of the garment and of the ground have in common,
            0 to 1; where none was found, of what was tried last.
        frame_shape: height and width of the frame.
    """

    found: bool
    image: np.ndarray
    mask: np.ndarray
    box: Box
    confidence: float
    frame_shape: tuple[int, int]

    def outline(self) -> list[np.ndarray]:
        """Return the mask's outer contours in pixels of the frame, int32, each of shape (N, 1, 2) as x, y.

        None at all where there is no garment.
        """
        import cv2

        contours, _ = cv2.findContours(self.mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        height, width = self.mask.shape
        scale = np.array([self.frame_shape[1] / width, self.frame_shape[0] / height])
        # A point of the mask stands for a square of pixels; its middle is meant.
        return [((contour + 0.5) * scale).astype(np.int32) for contour in contours]
