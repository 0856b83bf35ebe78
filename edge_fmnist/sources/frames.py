"""Frames from Python: a list or generator of arrays, or a ``cv2.VideoCapture``."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_fmnist.errors import ImageError, SourceError, UsageError
from edge_fmnist.model.inputs import read_pixels
from edge_fmnist.sources.base import NO_PICTURE, Source
from edge_fmnist.sources.capture import CaptureSource

if TYPE_CHECKING:
    import cv2


END = object()


class FrameIterator(Source):
    """The frames of a list, generator or other iterable of arrays or PIL images, read once and each on its own."""

    realtime = False

    def __init__(self, frames: Iterable[np.ndarray], fps: float | None = None) -> None:
        self.name, self.fps = "frames", fps
        self._frames = frames
        self._iterator: Iterator[Any] | None = None

    def open(self) -> None:
        """See :meth:`Source.open`."""
        self._iterator = iter(self._frames)

    def read(self) -> np.ndarray | None:
        """See :meth:`Source.read`; what is no picture becomes an empty array, so that it is skipped."""
        if self._iterator is None:
            raise SourceError(f"{self.name}: not open")
        frame = next(self._iterator, END)
        if frame is END:
            return None
        try:
            return _pixels(frame)
        except ImageError as error:
            self.problem = str(error)
            return NO_PICTURE

    def close(self) -> None:
        """See :meth:`Source.close`; a generator is closed, so that it can release its camera."""
        iterator, self._iterator = self._iterator, None
        if isinstance(iterator, Generator):
            # It may be at work in the thread that reads.
            with contextlib.suppress(ValueError):
                iterator.close()

    def first_picture(self) -> np.ndarray | None:
        """See :meth:`Source.first_picture`; None for a generator, whose first frame would be lost."""
        frames = self._frames
        if not isinstance(frames, Sequence | np.ndarray) or not len(frames):
            return None
        # Reading it says what is wrong.
        with contextlib.suppress(Exception):
            return _pixels(frames[0])
        return None


def _pixels(frame: Any) -> np.ndarray:
    """Return a copy of a frame, since a generator may use one array for all.

    Raises:
        ImageError: it is not a picture.
    """
    if isinstance(frame, str | bytes | PathLike) or hasattr(frame, "read"):
        raise ImageError(f"expected an array or a PIL image, got {type(frame).__name__}")
    # Tensors of other libraries have __array__.
    return np.array(frame if hasattr(frame, "__array__") else read_pixels(frame))


class OpenCapture(CaptureSource):
    """A ``cv2.VideoCapture`` that the caller has opened and will release."""

    def __init__(self, capture: cv2.VideoCapture) -> None:
        import cv2

        super().__init__("cv2.VideoCapture", 0)
        self.open_timeout = None
        self._given = capture
        self.realtime = not capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0

    def connect(self) -> cv2.VideoCapture:
        """See :meth:`CaptureSource.connect`."""
        if not self._given.isOpened():
            raise SourceError(f"{self.name}: expected an opened capture")
        return self._given

    def on_end(self) -> None:
        """End the source; a capture of the caller's is not reopened."""

    def close(self) -> None:
        """Leave the capture open, which is the caller's."""
        self._capture = self._first = None


def from_python(frames: Any, fps: float | None = None) -> Source:
    """Return a source for an object that holds frames.

    Args:
        frames: an opened ``cv2.VideoCapture``, or an iterable of arrays, uint8 or uint16, shape (H, W), (H, W, 3) BGR
            or (H, W, 4) BGRA.
        fps: the rate of frames that are to be read at their own pace.

    Raises:
        UsageError: something else.
    """
    if hasattr(frames, "grab") and hasattr(frames, "isOpened"):
        return OpenCapture(frames)
    if isinstance(frames, np.ndarray):
        # One image, or a batch of colour images.
        return FrameIterator(frames if frames.ndim == 4 else [frames], fps)
    if isinstance(frames, Iterable) and not isinstance(frames, (str, bytes)):
        return FrameIterator(frames, fps)
    raise UsageError(
        f"expected text, a Source, a cv2.VideoCapture or an iterable of frames, got {type(frames).__name__}",
        setting="source",
    )
