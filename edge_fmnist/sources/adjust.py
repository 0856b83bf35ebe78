"""Turning, mirroring and cropping the frames of a source."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from edge_fmnist.errors import UsageError
from edge_fmnist.sources.base import Source

ROTATIONS = (0, 90, 180, 270)


class Length(NamedTuple):
    """A length in pixels, or in percent of the frame's width or height."""

    value: float
    percent: bool

    def pixels(self, whole: int) -> int:
        """Return the length in pixels, where ``whole`` is the frame's."""
        return round(self.value * whole / 100 if self.percent else self.value)


@dataclass(frozen=True)
class Roi:
    """A region of interest: a rectangle of the frame, which may reach beyond it.

    Attributes:
        left: from the frame's left edge.
        top: from the frame's upper edge.
        width: above zero.
        height: above zero.
    """

    left: Length
    top: Length
    width: Length
    height: Length

    def crop(self, picture: np.ndarray) -> np.ndarray:
        """Return the part of a picture, shape (H, W, 3), that lies in the region.

        Raises:
            UsageError: the region lies beside the picture.
        """
        height, width = picture.shape[:2]
        left, top = self.left.pixels(width), self.top.pixels(height)
        right, bottom = left + self.width.pixels(width), top + self.height.pixels(height)
        part = picture[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
        if part.size == 0:
            raise UsageError(
                f"--roi: the region from x {left} to {right} and y {top} to {bottom} "
                f"holds nothing of a frame of {width}x{height} pixels"
            )
        return np.ascontiguousarray(part)


def parse_roi(text: str) -> Roi:
    """Return the region that ``x,y,width,height`` stands for, each in pixels or, with a ``%``, in percent.

    Raises:
        UsageError: it is not of this form, or has no width or height.
    """
    try:
        left, top, width, height = (_length(part.strip()) for part in text.split(","))
    except ValueError as error:
        raise UsageError(
            f"--roi: expected X,Y,WIDTH,HEIGHT in pixels or percent, such as 10%,10%,80%,80%; got {text!r}"
        ) from error
    if width.value <= 0 or height.value <= 0:
        raise UsageError(f"--roi: expected a width and height above zero, got {text!r}")
    return Roi(left, top, width, height)


def _length(text: str) -> Length:
    value = float(text.removesuffix("%"))
    if not math.isfinite(value):
        raise ValueError(text)
    return Length(value, text.endswith("%"))


@dataclass(frozen=True)
class Adjustment:
    """What is done to each frame: turned, then mirrored, then cropped, so that the crop is as seen.

    Attributes:
        rotate: degrees clockwise: 0, 90, 180 or 270.
        mirror: whether left and right are swapped.
        roi: the part that is kept; None keeps all.

    Raises:
        UsageError: another rotation.
    """

    rotate: int = 0
    mirror: bool = False
    roi: Roi | None = None

    def __post_init__(self) -> None:
        if self.rotate not in ROTATIONS:
            raise UsageError(f"--rotate: expected 0, 90, 180 or 270 degrees, got {self.rotate}")

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """Return a frame, uint8, shape (H, W, 3), adjusted; the frame itself where there is nothing to do.

        Raises:
            UsageError: the region lies beside the frame.
        """
        import cv2

        if self.rotate:
            codes = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
            picture = cv2.rotate(picture, codes[self.rotate])
        if self.mirror:
            picture = cv2.flip(picture, 1)
        return picture if self.roi is None else self.roi.crop(picture)


class Adjusted(Source):
    """A source whose frames are adjusted."""

    def __init__(self, source: Source, adjustment: Adjustment) -> None:
        self._source = source
        self._adjustment = adjustment
        self.name = source.name
        self.realtime = source.realtime

    def open(self) -> None:
        """See :meth:`Source.open`."""
        self._source.open()
        self.name, self.fps = self._source.name, self._source.fps

    def read(self) -> np.ndarray | None:
        """See :meth:`Source.read`.

        Raises:
            SourceError: the source was lost.
            UsageError: the region of interest lies beside the frame; opening again does not help.
        """
        picture = self._source.read()
        return None if picture is None else self._adjustment.apply(picture)

    def skip(self) -> bool:
        """See :meth:`Source.skip`."""
        return self._source.skip()

    def close(self) -> None:
        """See :meth:`Source.close`."""
        self._source.close()

    @property
    def frame_name(self) -> str:
        """See :attr:`Source.frame_name`."""
        return self._source.frame_name
