"""Run a sink in its own thread behind a bounded queue, so that it cannot block the loop or other sinks."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from edge_fmnist.errors import EdgeFmnistError, SinkError
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.base import Sink
from edge_fmnist.sources.base import Warn, log_warning

# Limits of the queue. A picture of 640x480 takes 0.9 MB, a line of JSON 0.7 KB.
MAX_ITEMS = 4096
MAX_BYTES = 32 << 20
# Seconds to wait for the sink to open; a FIFO opens when its reader does.
OPEN_SECONDS = 1.0
# Seconds without progress after which a sink counts as blocked, while others wait for it.
BLOCKED_SECONDS = 5.0
# The same at the end of a run that nobody stopped: a slow disk may need this long to store a video.
CLOSE_SECONDS = 20.0
# Of the seconds that are left once the run is stopping, those reserved for completing files.
COMPLETE_SECONDS = 0.5
# Seconds between two checks whether the run is stopping.
POLL = 0.05


class QueuedSink(Sink):
    """Opens, writes to and closes a sink in a daemon thread.

    A full queue drops its oldest result: the loop does not wait, unless ``patience`` says so.

    Attributes:
        name: what messages call the sink.
        dropped: results that were not written because the sink was too slow.
        patience: seconds without progress during which the loop waits for room in the queue instead of dropping: 0 for
            cameras and streams; for files, whose frames are not to be dropped, more, or infinite.
    """

    def __init__(
        self,
        name: str,
        open_sink: Callable[[], Sink],
        *,
        prepare: Callable[[LiveResult], Any] | None = None,
        time_left: Callable[[], float] = lambda: math.inf,
        warn: Warn = log_warning,
    ) -> None:
        """Start opening the sink.

        Args:
            name: what messages call it.
            open_sink: opens it; called in the thread.
            prepare: called with each result in the loop's thread; returns what is queued and given to the sink's
                ``write``; it has ``nbytes``.
            time_left: seconds in which the sink has to be closed; infinite unless the run is stopping.
            warn: called from :meth:`write` and :meth:`close`.

        Raises:
            EdgeFmnistError: the sink cannot be opened.
        """
        self.name = name
        self.dropped = 0
        self.patience = 0.0
        self._open_sink, self._prepare, self._time_left, self._warn = open_sink, prepare, time_left, warn
        self._items: deque[tuple[Any, int]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closing = self._closed = self._reopening = False
        self._opened, self._ended = threading.Event(), threading.Event()
        self._error: Exception | None = None
        self._progress = time.monotonic()
        threading.Thread(target=self._run, name=f"sink {name}", daemon=True).start()
        if not self._opened.wait(OPEN_SECONDS):
            cause = "a FIFO without reader, or a disk that does not respond"
            warn(f"{name}: waiting until it can be opened ({cause})")
        self._raise_error()

    def write(self, result: LiveResult) -> None:
        """Queue a result.

        Raises:
            EdgeFmnistError: the sink failed at an earlier result.
        """
        self._raise_error()
        item: Any = self._prepare(result) if self._prepare else result
        size = item.frame.picture.nbytes if isinstance(item, LiveResult) else item.nbytes
        self._wait_for_room(size)
        dropped = self.dropped
        with self._changed:
            while self._is_full(size):
                self._drop()
            self._items.append((item, size))
            self._bytes += size
            self._changed.notify_all()
        if self.dropped and not dropped:
            self._warn(f"{self.name}: too slow or blocked, so results are dropped; the count follows at the end")

    def reopen(self) -> None:
        """Reopen the sink's files before its next result; may be called from a signal handler."""
        self._reopening = True

    def close(self) -> None:
        """Write what is queued and close the sink; stop waiting if it is blocked or the run is stopping.

        Raises:
            EdgeFmnistError: the sink failed, or is blocked.
        """
        if self._closed:
            return
        self._closed = True
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._progress = time.monotonic()
        while not self._ended.wait(POLL):
            left = self._time_left()
            if left < COMPLETE_SECONDS:
                self._drop_all()
            if left < 0 or time.monotonic() - self._progress > max(self.patience, CLOSE_SECONDS):
                self._drop_all()
                missing = f"{self.dropped} results were not written" if self.dropped else "its file may be incomplete"
                raise SinkError(f"{self.name}: does not respond; {missing}")
        if self.dropped:
            self._warn(f"{self.name}: {self.dropped} results were dropped, because it was too slow")
        self._raise_error()

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _is_full(self, size: int) -> bool:
        return bool(self._items) and (len(self._items) >= MAX_ITEMS or self._bytes + size > MAX_BYTES)

    def _wait_for_room(self, size: int) -> None:
        """Wait while the queue is full and the sink makes progress."""
        with self._changed:
            while self._is_full(size) and not self._ended.is_set() and self._time_left() == math.inf:
                if time.monotonic() - self._progress >= self.patience:
                    break
                self._changed.wait(POLL)

    def _drop(self) -> None:
        self._bytes -= self._items.popleft()[1]
        self.dropped += 1

    def _drop_all(self) -> None:
        with self._changed:
            while self._items:
                self._drop()

    # In the thread.

    def _run(self) -> None:
        sink = None
        try:
            sink = self._open_sink()
            self._opened.set()
            while (item := self._next()) is not None:
                if self._reopening:
                    self._reopening = False
                    sink.reopen()
                sink.write(item)
                self._progress = time.monotonic()
        except Exception as error:
            self._error = self._explained(error)
        try:
            if sink is not None:
                sink.close()
        except Exception as error:
            self._error = self._error or self._explained(error)
        self._ended.set()
        self._opened.set()

    def _next(self) -> Any:
        """Return the next item, waiting for it; None to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closing)
            if not self._items:
                return None
            item, size = self._items.popleft()
            self._bytes -= size
            self._changed.notify_all()
            return item

    def _explained(self, error: Exception) -> Exception:
        if isinstance(error, (EdgeFmnistError, OSError)):
            return error
        return SinkError(f"{self.name}: {type(error).__name__}: {error}")
