"""A camera that is read less often while nothing needs its frames."""

from __future__ import annotations

import threading
import time

import numpy as np

from edge_fmnist.sources.base import Source

# Frames that wait in a camera's driver: OpenCV asks V4L2 for four buffers, Picamera2 is given four.
PILED = 4
# The share of a new measurement in the mean time between two frames.
SHARE = 0.1


class PacedSource(Source):
    """Rests between two reads when asked to, and passes over what has piled up meanwhile.

    Reading costs as much as naming: the frames of a USB camera are JPEG. A
    network stream does not rest, since what is not read piles up in the
    network and in the camera, and is seconds old when it comes; nor does a
    file, whose rate the reader keeps. Of those, :meth:`wanted` tells which
    frames are worth decoding.
    """

    def __init__(self, source: Source) -> None:
        """Take over a source.

        Args:
            source: opened or not; from now on opened, read and closed through this one.
        """
        self._source = source
        self._interval = 0.0
        self._woken = threading.Event()
        self._read_at: float | None = None
        self._decoded_at = 0.0
        self._frame_time = 0.0
        self._copy_facts()

    def _copy_facts(self) -> None:
        self.name, self.realtime, self.fps = self._source.name, self._source.realtime, self._source.fps

    def rest(self, seconds: float) -> None:
        """Let so many seconds lie between two frames from now on; harmless when it was asked before."""
        self._interval = seconds
        self._woken.clear()

    def wake(self) -> None:
        """Give every frame again, at once also when a read is resting in another thread."""
        self._interval = 0.0
        self._woken.set()

    def wanted(self) -> bool:
        """Return whether the next frame is worth reading; else it may be skipped.

        All frames are, but for those of a stream or file that comes in the interval it was asked to rest.
        """
        interval = self._interval
        return self._may_rest(interval) or time.perf_counter() - self._decoded_at >= interval

    def open(self) -> None:
        """See :meth:`Source.open`."""
        self._read_at = None
        self._source.open()
        self._copy_facts()

    def read(self) -> np.ndarray | None:
        """See :meth:`Source.read`."""
        interval = self._interval
        if not self._may_rest(interval):
            return self._next()
        self._woken.wait(interval - self._frame_time * (PILED + 1))
        for _ in range(PILED):
            if not self._source.skip():
                return None
        picture = self._source.read()
        self._read_at = None
        return picture

    def skip(self) -> bool:
        """See :meth:`Source.skip`."""
        self._read_at = None
        return self._source.skip()

    def _may_rest(self, interval: float) -> bool:
        """Return whether resting saves reads: half of them at least."""
        camera = self.realtime and "://" not in self.name
        return camera and 0 < self._frame_time * 2 * (PILED + 1) <= interval

    def _next(self) -> np.ndarray | None:
        """Read one frame, and take note of how much time lies between two."""
        picture = self._source.read()
        now = self._decoded_at = time.perf_counter()
        if self._read_at is not None:
            elapsed = now - self._read_at
            self._frame_time += (elapsed - self._frame_time) * (SHARE if self._frame_time else 1)
        self._read_at = now
        return picture

    def close(self) -> None:
        """See :meth:`Source.close`."""
        self._woken.set()
        self._source.close()

    @property
    def frame_name(self) -> str:
        """See :attr:`Source.frame_name`."""
        return self._source.frame_name
