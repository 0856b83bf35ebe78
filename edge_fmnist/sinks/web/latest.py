"""The latest result, passed from the thread of the loop to viewers in the event loop of the server."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from edge_fmnist.pipeline.results import LiveResult

MAX_RATE = 30.0


@dataclass(frozen=True, eq=False, slots=True)
class PublishedResult:
    """A result as viewers receive it.

    Attributes:
        serial: its number, from 1, unique within this server.
        result: the result.
        shown_at: when the loop passed it on, as Unix time in seconds.
        monotonic: the same moment in seconds of ``time.monotonic``.
    """

    serial: int
    result: LiveResult
    shown_at: float
    monotonic: float

    def age(self) -> float:
        """Return the seconds since that moment."""
        return time.monotonic() - self.monotonic


class LatestResult:
    """Publishes the latest result to any number of viewers.

    Nothing is queued: a viewer that is ready receives the latest result and misses those before. All viewers see the
    same result at the same time, at most :data:`MAX_RATE` times a second, so that it is encoded only once.

    Only :meth:`put` may be called from a thread other than that of the event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._started = time.monotonic()
        self._newest: PublishedResult | None = None
        self._count = 0
        self._scheduled = False
        self._due = 0.0
        self._changed = asyncio.Event()
        self.published: PublishedResult | None = None
        self.closed = False

    def put(self, result: LiveResult) -> None:
        """Replace the latest result; takes microseconds.

        Raises:
            RuntimeError: the event loop is closed.
        """
        self._count += 1
        self._newest = PublishedResult(self._count, result, time.time(), time.monotonic())
        if not self._scheduled:
            self._scheduled = True
            try:
                self._loop.call_soon_threadsafe(lambda: self._loop.call_at(self._due, self._publish))
            except RuntimeError:
                self._scheduled = False
                raise

    def _publish(self) -> None:
        self._due = self._loop.time() + 1 / MAX_RATE
        # In this order, a result that arrives in between is scheduled again and none is missed.
        self._scheduled = False
        self.published = self._newest
        self._notify()

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def wait(self, serial: int | None, timeout: float) -> PublishedResult | None:
        """Wait for a result with a serial other than this one; None after ``timeout`` seconds or when closed."""
        try:
            return await asyncio.wait_for(self._wait(serial), timeout)
        except asyncio.TimeoutError:
            return None

    async def _wait(self, serial: int | None) -> PublishedResult | None:
        while not self.closed:
            if self.published is not None and self.published.serial != serial:
                return self.published
            await self._changed.wait()
        return None

    def age(self) -> float:
        """Return the seconds since the latest result, or since the start before the first one."""
        return self._newest.age() if self._newest else time.monotonic() - self._started

    def close(self) -> None:
        """End all waiting."""
        self.closed = True
        self._notify()
