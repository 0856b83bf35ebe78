"""The newest result, handed from the thread of the loop to viewers in the event loop of the server."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from edge_fmnist.pipeline.results import LiveResult

MAX_RATE = 30.0


@dataclass(frozen=True, eq=False, slots=True)
class Shown:
    """A result as viewers get it.

    Attributes:
        serial: its number, from 1; no other result of this server has it.
        result: the result.
        shown_at: when the loop handed it over, in seconds of Unix time.
        monotonic: the same moment in seconds of ``time.monotonic``.
    """

    serial: int
    result: LiveResult
    shown_at: float
    monotonic: float


class Board:
    """Shows the newest result to any number of viewers.

    Nothing queues: a viewer that is ready gets the newest result, and what came
    while it was not ready is gone. All viewers see the same result change at the
    same time, at most :data:`MAX_RATE` times a second, so that what is made from
    it can be made once for all of them.

    Only :meth:`put` may be called from another thread than that of the event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._started = time.monotonic()
        self._newest: Shown | None = None
        self._count = 0
        self._scheduled = False
        self._due = 0.0
        self._changed = asyncio.Event()
        self.shown: Shown | None = None
        self.closed = False

    def put(self, result: LiveResult) -> None:
        """Make this the newest result; takes microseconds.

        Raises:
            RuntimeError: the event loop is closed.
        """
        self._count += 1
        self._newest = Shown(self._count, result, time.time(), time.monotonic())
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon_threadsafe(self._schedule)

    def _schedule(self) -> None:
        self._loop.call_at(self._due, self._publish)

    def _publish(self) -> None:
        self._due = self._loop.time() + 1 / MAX_RATE
        # In this order: a result that comes in between is scheduled again, and none is missed.
        self._scheduled = False
        self.shown = self._newest
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def other_than(self, serial: int | None, timeout: float) -> Shown | None:
        """Return the newest result as soon as its serial is not this one; None after ``timeout`` seconds or closing."""
        try:
            return await asyncio.wait_for(self._other_than(serial), timeout)
        except asyncio.TimeoutError:
            return None

    async def _other_than(self, serial: int | None) -> Shown | None:
        while not self.closed:
            if self.shown is not None and self.shown.serial != serial:
                return self.shown
            await self._changed.wait()
        return None

    def age(self) -> float:
        """Return the seconds since the newest result, or since the start where none came yet."""
        return time.monotonic() - (self._newest.monotonic if self._newest else self._started)

    def close(self) -> None:
        """End all waiting."""
        self.closed = True
        self._wake()
