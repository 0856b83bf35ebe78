"""Topics and payloads, as described in ``docs/mqtt.md``, and when each is published."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

from edge_fmnist.pipeline.results import LiveResult, next_within
from edge_fmnist.sinks.formatting import printable, printable_values, rfc3339
from edge_fmnist.sinks.mqtt.discovery import OFFLINE, ONLINE, Topics, discovery
from edge_fmnist.sinks.mqtt.queue import MqttMessage

# Seconds between two measurements: enough for a chart without flooding a recorder.
INTERVAL = 5.0
# Seconds without a result after which the camera counts as stalled: longer than one reconnection takes.
STALLED_AFTER = 10.0

Health = Literal["starting", "running", "stalled", "stopped"]


class MessageFactory:
    """Creates the messages for results and for the health of the camera.

    :meth:`for_result` is called in the thread of the loop, the other methods in that of the connection.
    """

    def __init__(
        self,
        prefix: str,
        labels: tuple[str, ...],
        clock: Callable[[], float] = time.monotonic,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        """Create a factory without any result yet; the clocks are as :func:`time.monotonic` and :func:`time.time`."""
        self._topics = Topics(prefix)
        self._labels = labels
        self._discovery = tuple(discovery(self._topics, labels))
        self._clock = clock
        self._unix_time = unix_time
        self._results = 0
        self._latest: LiveResult | None = None
        self._received_at = self._measured_at = self._health_at = -float("inf")
        self._published_health: Health | None = None

    def for_result(self, result: LiveResult) -> Iterator[MqttMessage]:
        """Yield what a result gives reason to publish: a label change, and measurements at intervals."""
        now = self._clock()
        # A label retained from an earlier run may be wrong, so the first one counts as a change.
        changed = self._latest is None or result.label != self._latest.label
        due = now - self._measured_at >= INTERVAL
        self._results += 1
        self._latest, self._received_at = result, now
        if due:
            self._measured_at = now
        if result.labels != self._labels:
            # Another model is in use.
            self._labels, self._discovery = result.labels, tuple(discovery(self._topics, result.labels))
            yield from self._discovery
        label = None if result.label is None else printable(result.label)
        facts = {"label": label, "score": round(result.score, 4), "frame": result.frame.index}
        if changed:
            yield MqttMessage(self._topics.state, self._json(facts), retain=True)
        if changed or due:
            scores = {**facts, "scores": printable_values(result.as_dict()["scores"])}
            yield MqttMessage(self._topics.scores, self._json(scores), expendable=True)
        # The first result of a run has no frame rate.
        if due and result.fps:
            yield MqttMessage(self._topics.frame_rate, f"{result.fps:.2f}".encode(), expendable=True)

    def availability(self, online: bool) -> MqttMessage:
        """Return whether this program is connected."""
        return MqttMessage(self._topics.availability, (ONLINE if online else OFFLINE).encode(), retain=True)

    def greeting(self, dropped: int) -> Iterator[MqttMessage]:
        """Yield what is published first in every connection; ``dropped`` is the number of messages dropped so far."""
        yield from self._discovery
        yield self.availability(True)
        yield self._health(dropped)

    def health_if_due(self, dropped: int) -> MqttMessage | None:
        """Return the health if it has changed or the interval is over, else None."""
        unchanged = self._state() == self._published_health and self._clock() - self._health_at < INTERVAL
        return None if unchanged else self._health(dropped)

    def stopped(self, dropped: int) -> MqttMessage:
        """Return the health at the end: the broker keeps it, and would show the last one for ever."""
        return self._health(dropped, "stopped")

    def _state(self) -> Health:
        if self._latest is None:
            return "starting"
        limit = max(STALLED_AFTER, next_within(self._latest))
        return "running" if self._clock() - self._received_at < limit else "stalled"

    def _health(self, dropped: int, state: Health | None = None) -> MqttMessage:
        self._published_health, self._health_at = state or self._state(), self._clock()
        latest = self._latest
        facts = {
            "state": self._published_health,
            "frames": latest.seen if latest else 0,
            "frames_dropped": latest.dropped if latest else 0,
            "results": self._results,
            "messages_dropped": dropped,
        }
        return MqttMessage(self._topics.health, self._json(facts), retain=True)

    def _json(self, facts: dict[str, Any]) -> bytes:
        return json.dumps({"time": rfc3339(self._unix_time()), **facts}).encode()
