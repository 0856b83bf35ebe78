"""Reads a source in a thread of its own and keeps only the newest frame.

A camera does not wait for its reader: frames that are read late queue up in
buffers, and what is shown is seconds old. And a read may block forever; then
only this thread does.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np

from edge_fmnist.errors import SourceError, UsageError
from edge_fmnist.pipeline.results import Frame
from edge_fmnist.sources.base import NO_PICTURE, Source, guarded

T = TypeVar("T")

# Sources have timeouts of their own; a read that takes a second longer is interrupted.
STALL_MARGIN = 1.0
# Seconds in which an interrupted read must return, and for which one is waited for after it was told to stop.
CLOSE_TIMEOUT = 0.4
# Frames per second of files without a rate of their own: a slide show.
SLIDE_SHOW_FPS = 1.0
# Messages kept for a loop that is not iterated.
MAX_MESSAGES = 16
# Frames that queue up in a camera's driver: OpenCV requests four buffers from V4L2, so does our Picamera2 source.
DRIVER_QUEUE = 4
# Weight of a new measurement in the mean time between two frames.
SMOOTHING = 0.1


@dataclass(frozen=True)
class Retry:
    """How to reopen a lost source.

    Attributes:
        max_failures: consecutive failures after which to stop; None never does.
        first_delay: seconds before the first attempt; doubled for each further one.
        longest_delay: upper limit of the delay in seconds.
        steady: seconds of frames after which failures are forgotten, so that a source that
            fails after each frame is not reopened in quick succession forever.
    """

    max_failures: int | None = None
    first_delay: float = 0.5
    longest_delay: float = 10.0
    steady: float = 1.0

    def delay(self, failures: int) -> float:
        """Return the seconds to wait after a number of consecutive failures, at least 1."""
        # Larger powers would overflow.
        return float(min(self.longest_delay, self.first_delay * 2 ** min(failures - 1, 16)))


class _Watched(NamedTuple):
    """A read or reopening in progress: when it started, and how many seconds it may take."""

    since: float
    timeout: float
    opening: bool


class ReaderThread:
    """Opens, reads, reopens and closes a source in one thread.

    The thread is a daemon, and is waited for only briefly: a blocked read does not keep the program from ending.

    Attributes:
        seen: frames read so far, skipped ones included.
        reconnects: how often the source was lost and reopened.
    """

    def __init__(
        self,
        source: Source,
        *,
        retry: Retry | None = None,
        on_lost: Callable[[str], None] = lambda _: None,
        on_back: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Create a reader; :meth:`open` starts the thread.

        Args:
            source: not yet opened; from now on only used by the thread. Reopened if it is lost and realtime.
            retry: how to reopen it.
            on_lost: called with a message, in the thread that calls :meth:`next`, when the source is lost.
            on_back: called likewise when it delivers frames again.
        """
        self.seen = 0
        self.reconnects = 0
        self._source = source
        self._retry = retry or Retry()
        self._on_lost, self._on_back = on_lost, on_back
        self._changed = threading.Condition()
        self._newest: Frame | None = None
        self._messages: deque[tuple[Callable[[str], None], str]] = deque(maxlen=MAX_MESSAGES)
        self._opened = self._ended = False
        self._error: Exception | None = None
        self._begin, self._stop, self._awake = threading.Event(), threading.Event(), threading.Event()
        self._watched: _Watched | None = None
        self._stalled = False
        self._failures = 0
        self._lost_at = self._back_at = self._paced_from = 0.0
        self._interval = self._frame_time = self._decoded_at = 0.0
        self._read_at: float | None = None
        self._stopped_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="edge-fmnist-reader", daemon=True)

    @property
    def ended(self) -> bool:
        """Whether the source has ended and its last frame was returned; errors are raised by :meth:`next`."""
        return self._ended and self._newest is None and self._error is None

    @property
    def pausing(self) -> bool:
        """Whether the next frame is not due yet, at the rate of the source."""
        fps = self._source.fps
        return fps is not None and fps > 0 and time.perf_counter() - self._decoded_at < 1 / fps

    def open(self) -> None:
        """Open the source in the thread; frames are read from the first call of :meth:`next`.

        Raises:
            SourceError: it cannot be opened, or delivers no frame in time.
        """
        self._thread.start()
        timeout = self._source.open_timeout
        with self._changed:
            self._changed.wait_for(lambda: self._opened or self._ended, None if timeout is None else timeout + 1)
        if self._opened:
            return
        error = self._error or SourceError(f"{self._source.name}: no frame within {timeout:g} s")
        self.close()
        raise error

    def next(self, timeout: float) -> Frame | None:
        """Return the newest frame that was not returned yet, waiting for one.

        Args:
            timeout: seconds to wait.

        Returns:
            The frame; None if none arrived in time, or the source has ended.

        Raises:
            SourceError: the source was lost for good, or is blocked.
        """
        self._begin.set()
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._ended, timeout)
            frame, self._newest = self._newest, None
        while self._messages:
            notify, message = self._messages.popleft()
            notify(message)
        if frame is None:
            if self._error is not None:
                raise self._error
            self._check_stall()
        return frame

    def rest(self, seconds: float) -> None:
        """From now on read one frame per interval, skipping or not reading the others."""
        self._interval = seconds
        self._awake.clear()

    def wake(self) -> None:
        """Read every frame again, starting at once."""
        self._interval = 0.0
        self._awake.set()

    def stop(self) -> None:
        """Stop reading, without waiting for it."""
        self._stopped_at = self._stopped_at or time.perf_counter()
        for event in (self._stop, self._begin, self._awake):
            event.set()

    def close(self) -> None:
        """Stop reading and close the source; may be called twice."""
        self.stop()
        waited = time.perf_counter() - (self._stopped_at or 0.0)
        self._thread.join(max(0.0, CLOSE_TIMEOUT - waited))
        if self._thread.is_alive():
            self._source.interrupt()
            self._thread.join(CLOSE_TIMEOUT)

    def _run(self) -> None:
        """Open and read until the end; errors are raised by :meth:`open` and :meth:`next`."""
        error: Exception | None = None
        try:
            guarded(self._source, self._source.open)
            with self._changed:
                self._opened = True
                self._changed.notify_all()
            self._begin.wait()
            while not self._stop.is_set():
                try:
                    if not self._read_frame():
                        break
                except Exception as lost:
                    if isinstance(lost, UsageError) or not self._source.realtime:
                        raise
                    self._reopen(lost)
        except Exception as caught:
            error = caught
        except BaseException as caught:
            # SystemExit, for example, which would end this thread alone.
            error = SourceError(f"{self._source.name}: {type(caught).__name__} was raised")
            error.__cause__ = caught
        finally:
            with suppress(Exception):
                self._source.close()
            with self._changed:
                self._error, self._ended = error, True
                self._changed.notify_all()

    def _timed(self, call: Callable[[], T], *, opening: bool = False) -> T:
        """Reopen the source, or read or skip a frame, watched by :meth:`_check_stall`; a frame that is late is used."""
        source = self._source
        timeout = STALL_MARGIN + ((source.open_timeout or math.inf) if opening else source.read_timeout)
        late, self._stalled = self._stalled, False
        self._watched = _Watched(time.perf_counter(), timeout, opening)
        arrived: T | None = None
        try:
            arrived = guarded(source, call)
            return arrived
        except Exception:
            # The call before came late, and was interrupted, which this one notices.
            self._stalled |= late
            raise
        finally:
            self._watched = None
            if self._stalled and (arrived is None or arrived is False):
                raise SourceError(f"{source.name}: no frame for {timeout:g} s")

    def _open(self) -> bool:
        self._source.open()
        return True

    def _read_frame(self) -> bool:
        """Read or skip a frame; return False at the end of the source."""
        interval = self._interval
        if self._may_pause(interval):
            # Not reading costs less than skipping. What queued up meanwhile is old.
            self._awake.wait(interval - self._frame_time * (DRIVER_QUEUE + 1))
            if self._stop.is_set() or not all(self._timed(self._source.skip) for _ in range(DRIVER_QUEUE)):
                return False
            self._read_at = None
        elif time.perf_counter() - self._decoded_at < interval:
            self._read_at = None
            more = self._timed(self._source.skip)
            return more and self._deliver(None, None)
        picture = self._timed(self._source.read)
        if picture is None:
            return False
        self._decoded_at = now = time.perf_counter()
        if self._read_at is not None:
            elapsed = now - self._read_at
            self._frame_time += (elapsed - self._frame_time) * (SMOOTHING if self._frame_time else 1)
        self._read_at = now
        return self._deliver(picture, self._source.frame_name)

    def _deliver(self, picture: np.ndarray | None, name: str | None) -> bool:
        """Make a frame the newest, or count a skipped one, at the pace of a file; return True."""
        if not self._source.realtime:
            self._keep_pace(self._source.fps or SLIDE_SHOW_FPS)
        captured = time.perf_counter()
        with self._changed:
            # An unusable frame does not replace a picture that waits.
            if picture is not None and (self._newest is None or picture is not NO_PICTURE):
                self._newest = Frame(picture, self.seen, captured, name or self._source.name, self._source.small)
            self.seen += 1
            self._changed.notify_all()
        if self._failures and captured - self._back_at >= self._retry.steady:
            self._failures = 0
            message = f"{self._source.name}: reconnected after {self._back_at - self._lost_at:.1f} s"
            self._messages.append((self._on_back, message))
        return True

    def _may_pause(self, interval: float) -> bool:
        """Return whether not reading saves at least half of the reads of an interval."""
        source = self._source
        return source.realtime and source.pausable and 0 < self._frame_time * 2 * (DRIVER_QUEUE + 1) <= interval

    def _keep_pace(self, fps: float) -> None:
        """Wait until the frame just read is due, counted from the first, so that delays do not add up."""
        now = time.perf_counter()
        if self.seen == 0:
            self._paced_from = now
        self._stop.wait(max(0.0, self._paced_from + self.seen / fps - now))

    def _reopen(self, error: Exception) -> None:
        """Close the source and reopen it until that works, waiting longer each time; only a wrong setting ends it."""
        if not self._failures:
            self._lost_at = time.perf_counter()
            self._messages.append((self._on_lost, f"the source was lost, reconnecting ({error})"))
        while not self._stop.is_set():
            self._stalled, self._read_at = False, None
            self._failures += 1
            with suppress(Exception):
                self._source.close()
            if self._failures == self._retry.max_failures:
                raise SourceError(f"{error} ({self._failures} consecutive failures)") from error
            if self._stop.wait(self._retry.delay(self._failures)):
                return
            try:
                self._timed(self._open, opening=True)
            except UsageError:
                raise
            except Exception as again:
                error = again
            else:
                self.reconnects += 1
                self._back_at = time.perf_counter()
                return

    def _check_stall(self) -> None:
        """Interrupt a read that takes too long, so that the source counts as lost."""
        watched = self._watched
        if watched is None:
            return
        waited = time.perf_counter() - watched.since
        # Only a driver blocks forever: a network stream has timeouts, though looking up a name may add to them.
        blocked = self._source.pausable and not watched.opening
        if waited >= watched.timeout + CLOSE_TIMEOUT and self._stalled and blocked:
            raise SourceError(
                f"{self._source.name}: no frame for {waited:.0f} s, and the device does not respond; "
                "unplug it, plug it in again and restart"
            )
        # A stream is interrupted repeatedly: it may connect after the first time.
        if waited >= watched.timeout and not (self._stalled and self._source.pausable):
            self._stalled = True
            self._source.interrupt()
