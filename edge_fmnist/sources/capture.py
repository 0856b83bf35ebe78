"""Sources read through OpenCV's VideoCapture: V4L2 cameras, and files and streams through FFmpeg."""

from __future__ import annotations

import os
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from edge_fmnist.errors import ImageError, SourceError, UsageError
from edge_fmnist.sources.base import ENCRYPTED, READ_TIMEOUT, Source

if TYPE_CHECKING:
    import cv2

T = TypeVar("T")

MAX_FPS = 1000.0
# OpenCV's log level.
SILENT = 0
OPTIONS_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
# Seconds between attempts to read.
RETRY_PAUSE = 0.02
# FFmpeg's options are a variable of the process: one encrypted stream is opened at a time.
_OPENING = threading.Lock()
# A failed read that took this long was a timeout; another attempt would only double it.
SLOW_READ = 1.0


def utf8_path(path: str) -> str:
    """Return a path or URL for OpenCV, which crashes where it is not UTF-8.

    Raises:
        UsageError: it is not.
    """
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{path}: OpenCV opens videos with UTF-8 paths only; rename the file or its folder") from error
    return path


def open_camera(device: str) -> cv2.VideoCapture:
    """Return a capture of a V4L2 device; check ``isOpened``. Errors as in :func:`utf8_path`."""
    # OpenCV waits 10 s for a frame by default. In whole seconds.
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", f"{READ_TIMEOUT:.0f}")
    import cv2

    silence()
    return cv2.VideoCapture(utf8_path(device), cv2.CAP_V4L2)


def open_ffmpeg(address: str, timeout: float, options: Mapping[str, str] | None = None) -> cv2.VideoCapture:
    """Return a capture of a file or URL; check ``isOpened``.

    Args:
        address: a path or URL.
        timeout: seconds for opening.
        options: further options of FFmpeg.

    Raises:
        UsageError: as in :func:`utf8_path`.
    """
    import cv2

    silence()
    timeouts = [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(timeout * 1000)),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(READ_TIMEOUT * 1000)),
    ]
    # Options for encryption mean nothing to other addresses.
    with _OPENING if address.startswith(ENCRYPTED) else nullcontext(), _ffmpeg_options(options or {}):
        return cv2.VideoCapture(utf8_path(address), cv2.CAP_FFMPEG, timeouts)


@contextmanager
def _ffmpeg_options(options: Mapping[str, str]) -> Iterator[None]:
    """Add to OpenCV's environment variable with options of FFmpeg; there is no other way to pass them."""
    if not options:
        yield
        return
    before = os.environ.get(OPTIONS_VARIABLE)
    # OpenCV's own default, which the variable replaces.
    given = before or "rtsp_flags;prefer_tcp"
    os.environ[OPTIONS_VARIABLE] = "|".join([given, *(f"{name};{value}" for name, value in options.items())])
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(OPTIONS_VARIABLE, None)
        else:
            os.environ[OPTIONS_VARIABLE] = before


def silence() -> None:
    """Keep OpenCV, where this version can, and FFmpeg from writing to standard error: problems are raised as errors.

    FFmpeg's messages would also show passwords in URLs. Has no effect once FFmpeg was used in this process.
    """
    import cv2

    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # Moved from cv2 (Debian 12) to cv2.utils.logging (gh:opencv/opencv#27812).
    set_level = getattr(getattr(cv2.utils, "logging", cv2), "setLogLevel", None)
    if set_level is not None:
        set_level(SILENT)


class CaptureSource(Source):
    """A source read through ``cv2.VideoCapture``.

    Attributes:
        attempts: how often a failed read is tried. A camera drops a frame now and then (a damaged JPEG on the USB
            bus); one that was unplugged fails every time.
        hint: appended to the message when no first frame arrives.
    """

    attempts = 1
    hint = ""

    def __init__(self, name: str, timeout: float) -> None:
        self.name = name
        self.open_timeout = timeout
        self.frames_read = 0
        self._capture: cv2.VideoCapture | None = None
        self._first: np.ndarray | None = None

    @abstractmethod
    def connect(self) -> cv2.VideoCapture:
        """Return an opened capture.

        Raises:
            SourceError: it cannot be opened; says why.
        """

    def open(self) -> None:
        """See :meth:`Source.open`."""
        self.close()
        self._capture = self.connect()
        self.frames_read = 0
        try:
            self.fps = self.frame_rate(self._capture)
            self._first = self.read()
        except SourceError as error:
            self.close()
            raise SourceError(f"{error}{self.hint}") from error
        if self._first is None:
            self.close()
            raise SourceError(f"{self.name}: no frame can be decoded; the file may be damaged")

    def frame_rate(self, capture: cv2.VideoCapture) -> float | None:
        """Return the frames per second that a capture states; None if that is no frame rate."""
        import cv2

        fps = capture.get(cv2.CAP_PROP_FPS)
        return fps if 0 < fps <= MAX_FPS else None

    def read(self) -> np.ndarray | None:
        """See :meth:`Source.read`."""
        first, self._first = self._first, None
        if first is not None:
            return first
        picture = self._attempt(self._decode)
        if picture is None:
            self.on_end()
            return None
        from edge_fmnist.vision.preprocess import to_frame

        try:
            return to_frame(picture)
        except ImageError as error:
            raise SourceError(f"{self.name}: {error}") from error

    def skip(self) -> bool:
        """See :meth:`Source.skip`.

        A camera's JPEG is not decoded. Video frames depend on each other, so only their colour conversion is saved.
        """
        first, self._first = self._first, None
        if first is not None or self._attempt(lambda: self._opened().grab() or None):
            return True
        self.on_end()
        return False

    def on_end(self) -> None:
        """Handle a capture that delivers no frame: by default, a live source was lost.

        Raises:
            SourceError: the source was lost.
        """
        raise SourceError(f"{self.name}: delivers no {'more ' if self.frames_read else ''}frames")

    def _opened(self) -> cv2.VideoCapture:
        if self._capture is None:
            raise SourceError(f"{self.name}: not open")
        return self._capture

    def _decode(self) -> np.ndarray | None:
        delivered, picture = self._opened().read()
        return picture if delivered and picture is not None and picture.size else None

    def _attempt(self, deliver: Callable[[], T | None]) -> T | None:
        import cv2

        for attempt in range(self.attempts):
            if attempt:
                time.sleep(RETRY_PAUSE)
            started = time.perf_counter()
            try:
                delivered = deliver()
            except cv2.error as error:
                raise SourceError(f"{self.name}: cannot be read ({error.err})") from error
            if delivered is not None:
                self.frames_read += 1
                return delivered
            if time.perf_counter() - started > SLOW_READ:
                break
        return None

    def close(self) -> None:
        """See :meth:`Source.close`."""
        capture, self._capture = self._capture, None
        self._first = None
        if capture is not None:
            capture.release()

    def interrupt(self) -> None:
        """Do nothing: releasing a capture while another thread reads it crashes. Reads end by their own timeouts."""
