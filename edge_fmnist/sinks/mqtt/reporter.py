"""What is worth publishing, and when."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.mqtt.buffer import Buffer, Message
from edge_fmnist.sinks.mqtt.discovery import discovery
from edge_fmnist.sinks.mqtt.messages import Health, Topics

# Seconds between two measurements: enough for a curve, and no flood for a recorder.
INTERVAL = 5.0
# Seconds without a result after which the camera counts as stalled: longer than it takes to open it again once.
STALLED_AFTER = 10.0


class Reporter:
    """Puts changes and measurements into the buffer, and has ready what every connection begins and ends with.

    :meth:`take` is called in the thread of the loop, the rest in that of the connection.
    """

    def __init__(
        self,
        prefix: str,
        labels: tuple[str, ...],
        buffer: Buffer,
        interval: float = INTERVAL,
        clock: Callable[[], float] = time.monotonic,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        """Make a reporter that has seen no result yet.

        Args:
            prefix: the first levels of every topic.
            labels: the names of the classes.
            buffer: takes the messages.
            interval: seconds between two measurements.
            clock: seconds, as from :func:`time.monotonic`.
            unix_time: seconds, as from :func:`time.time`.
        """
        self._topics = Topics(prefix)
        self._discovery = tuple(discovery(prefix, labels))
        self._buffer = buffer
        self._interval = interval
        self._clock = clock
        self._unix_time = unix_time
        self._results = 0
        self._newest: LiveResult | None = None
        self._heard_at = self._measured_at = self._told_at = -float("inf")
        self._told: Health | None = None

    def take(self, result: LiveResult) -> bool:
        """Take a result; return whether there is something to publish."""
        now, moment = self._clock(), self._unix_time()
        # What the broker retains from an earlier run may be wrong, so the first label counts as a change.
        changed = self._newest is None or result.label != self._newest.label
        due = now - self._measured_at >= self._interval
        self._results += 1
        self._newest, self._heard_at = result, now
        if changed:
            self._buffer.put(self._topics.change(result, moment))
        if changed or due:
            self._buffer.put(self._topics.all_scores(result, moment))
        if due:
            self._measured_at = now
        # The first result of a run has no rate.
        if due and result.fps:
            self._buffer.put(self._topics.rate(result))
        return changed or due

    def greeting(self) -> Iterator[Message]:
        """Yield the descriptions of the sensors, and that this program is connected and how it goes."""
        yield from self._discovery
        yield self._topics.available(True)
        yield self._condition()

    def regular(self) -> Iterator[Message]:
        """Yield how it goes, when that has changed and at intervals."""
        if self._health() != self._told or self._clock() - self._told_at >= self._interval:
            yield self._condition()

    def farewell(self) -> Message:
        """Return that this program is not connected any more."""
        return self._topics.available(False)

    def _condition(self) -> Message:
        self._told, self._told_at = self._health(), self._clock()
        return self._topics.condition(self._told, self._newest, self._results, self._buffer.dropped, self._unix_time())

    def _health(self) -> Health:
        if self._newest is None:
            return "starting"
        return "running" if self._clock() - self._heard_at < STALLED_AFTER else "stalled"
