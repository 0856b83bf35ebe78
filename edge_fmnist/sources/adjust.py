"""Rotating, mirroring and cropping frames."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from edge_fmnist.errors import UsageError

ROTATIONS = (0, 90, 180, 270)


class Length(NamedTuple):
    """A length in pixels, or in percent of the frame's width or height."""

    value: float
    percent: bool

    def pixels(self, whole: int) -> int:
        """Return the length in pixels, where ``whole`` is the frame's."""
        return round(self.value * whole / 100 if self.percent else self.value)


class Roi(NamedTuple):
    """A region of interest: a rectangle of the frame, which may reach beyond it."""

    left: Length
    top: Length
    width: Length
    height: Length

    def crop(self, picture: np.ndarray) -> np.ndarray:
        """Return the part of an image, shape (H, W, 3), inside the region.

        Raises:
            UsageError: the region lies outside the image.
        """
        height, width = picture.shape[:2]
        left, top = self.left.pixels(width), self.top.pixels(height)
        right, bottom = left + self.width.pixels(width), top + self.height.pixels(height)
        part = picture[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
        if part.size == 0:
            raise UsageError(
                f"the region from x {left} to {right} and y {top} to {bottom} "
                f"lies outside a frame of {width}x{height} pixels",
                setting="roi",
            )
        return np.ascontiguousarray(part)


def parse_roi(text: str) -> Roi:
    """Return the region for ``x,y,width,height``, each in pixels or, with a ``%``, in percent.

    Raises:
        UsageError: it is not of this form, or has no width or height.
    """
    try:
        left, top, width, height = (_length(part.strip()) for part in text.split(","))
    except ValueError as error:
        raise UsageError(
            f"expected X,Y,WIDTH,HEIGHT in pixels or percent, such as 10%,10%,80%,80%; got {text!r}", setting="roi"
        ) from error
    if width.value <= 0 or height.value <= 0:
        raise UsageError(f"expected a width and height above zero, got {text!r}", setting="roi")
    return Roi(left, top, width, height)


def _length(text: str) -> Length:
    value = float(text.removesuffix("%"))
    if not math.isfinite(value):
        raise ValueError(text)
    return Length(value, text.endswith("%"))


@dataclass(frozen=True)
class Adjustment:
    """Rotates, then mirrors, then crops frames, so that the region is given as seen.

    Attributes:
        rotate: degrees clockwise: 0, 90, 180 or 270.
        mirror: whether to swap left and right.
        roi: the part to keep; None keeps all.

    Raises:
        UsageError: another rotation.
    """

    rotate: int = 0
    mirror: bool = False
    roi: Roi | None = None

    def __post_init__(self) -> None:
        if self.rotate not in ROTATIONS:
            raise UsageError(f"expected 0, 90, 180 or 270 degrees, got {self.rotate}", setting="rotate")

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """Return a frame, uint8, shape (H, W, 3), adjusted; the frame itself if there is nothing to do.

        Raises:
            UsageError: the region lies outside the frame.
        """
        import cv2

        if self.rotate:
            codes = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
            picture = cv2.rotate(picture, codes[self.rotate])
        if self.mirror:
            picture = cv2.flip(picture, 1)
        return picture if self.roi is None else self.roi.crop(picture)
