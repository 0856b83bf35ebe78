"""OpenCV's VideoCapture as a reader: cameras through V4L2, files and streams through FFmpeg."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from edge_fmnist.errors import ImageError, SourceError
from edge_fmnist.sources.base import READ_TIMEOUT
from edge_fmnist.sources.convert import as_frame
from edge_fmnist.sources.guard import Reader
from edge_fmnist.vision.opencv import silence

if TYPE_CHECKING:
    import cv2

Delivered = TypeVar("Delivered")

MAX_FPS = 1000.0
# A camera skips a frame now and then (a damaged JPEG on the USB bus); one pulled out fails every time.
ATTEMPTS = 5
PAUSE = 0.02


def open_camera(device: str) -> cv2.VideoCapture:
    """Return a capture of a V4L2 device; it may not be opened."""
    import cv2

    hush()
    return cv2.VideoCapture(device, cv2.CAP_V4L2)


def open_ffmpeg(address: str, timeout: float) -> cv2.VideoCapture:
    """Return a capture of a file or URL; it may not be opened.

    Args:
        address: a path or URL.
        timeout: seconds for opening.
    """
    import cv2

    hush()
    limits = [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(timeout * 1000)),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(READ_TIMEOUT * 1000)),
    ]
    return cv2.VideoCapture(address, cv2.CAP_FFMPEG, limits)


def hush() -> None:
    """Keep OpenCV and FFmpeg from writing to standard error: what matters becomes an error of ours.

    FFmpeg's lines would also show the password in a URL. Works only before FFmpeg is first used in this process.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    silence()


class CaptureReader(Reader):
    """Reads a capture that is opened.

    Attributes:
        read_count: frames read so far.
    """

    def __init__(self, capture: cv2.VideoCapture, name: str, *, attempts: int = 1) -> None:
        """Take over the capture; ``name`` is for messages, ``attempts`` how often a read is tried."""
        import cv2

        self._capture = capture
        self._name = name
        self._attempts = attempts
        self.read_count = 0
        fps = capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps <= MAX_FPS else None

    def read(self) -> np.ndarray | None:
        """Return the next frame, None where the capture gives no more.

        Raises:
            SourceError: it gives something that is no picture.
        """
        picture = self._attempt(self._decoded)
        return None if picture is None else self._converted(picture)

    def skip(self) -> bool:
        """Pass over the next frame; False where the capture gives no more.

        A camera's JPEG stays packed; of a video, whose frames build on one another, only the colours are not computed.

        Raises:
            SourceError: it cannot be read.
        """
        return self._attempt(lambda: self._capture.grab() or None) is not None

    def _decoded(self) -> np.ndarray | None:
        delivered, picture = self._capture.read()
        return picture if delivered and picture is not None and picture.size else None

    def _attempt(self, deliver: Callable[[], Delivered | None]) -> Delivered | None:
        """Return what is delivered, tried as often as was asked for; None where nothing is."""
        import cv2

        for attempt in range(self._attempts):
            if attempt:
                time.sleep(PAUSE)
            try:
                delivered = deliver()
            except cv2.error as error:
                raise SourceError(f"{self._name}: cannot be read ({error.err})") from error
            if delivered is not None:
                self.read_count += 1
                return delivered
        return None

    def _converted(self, picture: np.ndarray) -> np.ndarray:
        try:
            return as_frame(picture)
        except ImageError as error:
            raise SourceError(f"{self._name}: {error}") from error

    def release(self) -> None:
        """Let go of the capture."""
        self._capture.release()


class LiveCaptureReader(CaptureReader):
    """Reads a capture that has no end: without a frame it was lost."""

    def read(self) -> np.ndarray:
        """Return the next frame.

        Raises:
            SourceError: there is none.
        """
        frame = super().read()
        if frame is None:
            raise self._lost()
        return frame

    def skip(self) -> bool:
        """Pass over the next frame, and return True.

        Raises:
            SourceError: there is none.
        """
        if not super().skip():
            raise self._lost()
        return True

    def _lost(self) -> SourceError:
        return SourceError(f"{self._name}: delivers no {'more ' if self.read_count else ''}pictures")
