"""Bounded queue of messages for the broker."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

# Almost three hours of label changes at one per second, or five hours of a static scene; a few megabytes.
QUEUE_LIMIT = 10_000


@dataclass(frozen=True)
class MqttMessage:
    """A message to publish.

    Attributes:
        topic: full topic.
        payload: content.
        retain: whether the broker keeps it for later subscribers.
        expendable: whether it is dropped first when the queue is full: true for measurements, not for label changes.
    """

    topic: str
    payload: bytes
    retain: bool = False
    expendable: bool = False


class MessageQueue:
    """A FIFO queue that drops its oldest message when full: measurements first, then label changes.

    Paho's own queue (``max_queued_messages_set``) refuses the newest message instead, which would leave the broker
    with an outdated label. May be used from any thread.

    Attributes:
        limit: maximum number of messages.
        dropped: number of messages dropped so far.
    """

    def __init__(self, limit: int = QUEUE_LIMIT) -> None:
        """Create an empty queue."""
        self.limit = limit
        self.dropped = 0
        self._messages: deque[MqttMessage] = deque()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: MqttMessage) -> None:
        """Append a message; drops an older one if the queue is full."""
        with self._lock:
            if len(self._messages) >= self.limit:
                del self._messages[next((i for i, old in enumerate(self._messages) if old.expendable), 0)]
                self.dropped += 1
            self._messages.append(message)

    def take(self) -> MqttMessage | None:
        """Remove and return the oldest message; None if the queue is empty."""
        with self._lock:
            return self._messages.popleft() if self._messages else None
