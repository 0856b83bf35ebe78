"""Reads a source in a thread of its own, so that the newest frame is always at hand.

A camera does not wait for its reader: frames that are read late pile up in
buffers, and what is shown is seconds old. The grabber reads as quickly as the
source delivers and keeps one frame; who asks gets the newest.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from edge_fmnist.errors import SourceError
from edge_fmnist.pipeline.results import Frame
from edge_fmnist.sources.base import READ_TIMEOUT, Source, Warn, log_warning

# A source notices by itself that no frame comes; one that does not is closed after a second more.
STALL_TIMEOUT = READ_TIMEOUT + 1
# How long a source that was closed may take to give up its read.
CLOSE_TIMEOUT = 1.0
# Messages that wait for a reader; a loop that is not read for hours keeps the last ones.
MAX_MESSAGES = 16


@dataclass(frozen=True)
class Retry:
    """How a lost source is opened again.

    Attributes:
        max_failures: after so many failures in a row the source is given up; None never does.
        first_delay: seconds before the first attempt; doubled for each further one.
        longest_delay: seconds, where doubling ends.
        steady: seconds of frames after which the failures before them are forgotten, so that
            a source that gives one frame and dies again is not opened without end in quick succession.
    """

    max_failures: int | None = None
    first_delay: float = 0.5
    longest_delay: float = 10.0
    steady: float = 1.0

    def delay(self, failures: int) -> float:
        """Return how many seconds to wait after so many failures in a row, at least 1."""
        # Beyond 2**16 the longest delay is reached; larger powers would overflow some day.
        return float(min(self.longest_delay, self.first_delay * 2 ** min(failures - 1, 16)))


class Grabber:
    """Keeps the newest frame of an opened source.

    The thread is a daemon and is waited for only briefly: a read that never
    returns does not keep the program from ending.

    Attributes:
        seen: frames read so far.
        reconnects: how often the source was lost and opened again.
    """

    def __init__(
        self,
        source: Source,
        *,
        retry: Retry | None = None,
        pace: float | None = None,
        wanted: Callable[[], bool] = lambda: True,
        warn: Warn = log_warning,
        stall: float = STALL_TIMEOUT,
    ) -> None:
        """Start reading.

        Args:
            source: already opened; the grabber closes it. Opened again when it is lost, if it is realtime.
            retry: how it is opened again.
            pace: frames a second at which a file is read; None reads as quickly as frames come.
            wanted: asked before each frame, in the reading thread; one that is not wanted counts as seen and is
                passed over, undecoded where the source can.
            warn: told, in the thread that calls :meth:`next`, when the source is lost and when it is back.
            stall: seconds without a frame after which the source counts as lost.
        """
        self.seen = 0
        self.reconnects = 0
        self._source = source
        self._retry = retry or Retry()
        self._pace = pace
        self._wanted = wanted
        self._warn = warn
        self._stall = stall
        self._changed = threading.Condition()
        self._newest: Frame | None = None
        self._messages: deque[str] = deque(maxlen=MAX_MESSAGES)
        self._ended = False
        self._error: Exception | None = None
        self._stop = threading.Event()
        self._reading_since: float | None = None
        self._stalled = False
        self._failures = 0
        self._started = self._lost_at = self._back_at = 0.0
        self._thread = threading.Thread(target=self._run, name="edge-fmnist-grabber", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether the source has ended well and its last frame was taken; an error is raised by :meth:`next`."""
        return self._ended and self._newest is None and self._error is None

    def next(self, timeout: float) -> Frame | None:
        """Return the newest frame that was not returned yet, waiting for one.

        Args:
            timeout: seconds to wait.

        Returns:
            The frame; None when none came in time, or the source has ended.

        Raises:
            SourceError: the source was lost and is given up, or does not answer even to being closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._ended, timeout)
            frame, self._newest = self._newest, None
        while self._messages:
            self._warn(self._messages.popleft())
        if frame is None:
            if self._error is not None:
                raise self._error
            self._watch()
        return frame

    def close(self) -> None:
        """Stop reading and close the source; harmless when called twice."""
        self._stop.set()
        self._thread.join(CLOSE_TIMEOUT)
        if self._thread.is_alive():
            # The thread sits in a read; closing the source under it is what may wake it.
            self._source.close()
            self._thread.join(CLOSE_TIMEOUT)

    def _run(self) -> None:
        """Read until the end; whatever goes wrong is raised by :meth:`next`, not lost with the thread."""
        error: Exception | None = None
        try:
            while not self._stop.is_set():
                try:
                    if not self._read_one():
                        break
                except SourceError as lost:
                    if not self._source.realtime:
                        raise
                    self._reopen(lost)
        except Exception as caught:
            error = caught
        finally:
            self._source.close()
            with self._changed:
                self._error, self._ended = error, True
                self._changed.notify_all()

    def _read_one(self) -> bool:
        """Read a frame into the slot, or pass over it; return False at the end of the source."""
        wanted = self._wanted()
        self._reading_since = time.perf_counter()
        picture = self._source.read() if wanted else None
        more = picture is not None if wanted else self._source.skip()
        captured = time.perf_counter()
        self._reading_since = None
        if self._stalled:
            raise SourceError(f"{self._source.name}: no frame for {self._stall:g} s")
        if not more:
            return False
        if self._pace:
            captured = self._paced(captured, self._pace)
        with self._changed:
            if picture is not None:
                self._newest = Frame(picture, self.seen, captured, self._source.frame_name)
            self.seen += 1
            self._changed.notify_all()
        if self._failures and captured - self._back_at >= self._retry.steady:
            self._failures = 0
            self._messages.append(f"{self._source.name}: back after {self._back_at - self._lost_at:.1f} s")
        return True

    def _paced(self, now: float, pace: float) -> float:
        """Wait until the frame just read is due, counted from the first, so that delays do not add up."""
        if self.seen == 0:
            self._started = now
        self._stop.wait(max(0.0, self._started + self.seen / pace - now))
        return time.perf_counter()

    def _reopen(self, error: SourceError) -> None:
        """Close the source and open it again until that works, waiting longer each time."""
        if not self._failures:
            self._lost_at = time.perf_counter()
            self._messages.append(f"the source was lost and is opened again when it answers ({error})")
        while not self._stop.is_set():
            self._reading_since, self._stalled = None, False
            self._failures += 1
            self._source.close()
            if self._failures == self._retry.max_failures:
                raise SourceError(f"{error} (given up after {self._failures} failures in a row)") from error
            if self._stop.wait(self._retry.delay(self._failures)):
                return
            try:
                self._source.open()
            except SourceError as again:
                error = again
            else:
                self.reconnects += 1
                self._back_at = time.perf_counter()
                return

    def _watch(self) -> None:
        """Close a source that has sat in a read for too long, so that it counts as lost."""
        since = self._reading_since
        if since is None:
            return
        waited = time.perf_counter() - since
        if waited >= self._stall + CLOSE_TIMEOUT and self._stalled:
            raise SourceError(
                f"{self._source.name}: no frame for {waited:.0f} s, and it does not answer even to being closed; "
                "unplug it, plug it in again and start anew"
            )
        if waited >= self._stall and not self._stalled:
            self._stalled = True
            self._source.close()
