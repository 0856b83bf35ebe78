"""Messages that wait for the broker, in memory that does not grow."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

# A change of label a second for nearly three hours, or five hours of a still scene; a few megabytes.
LIMIT = 10_000


@dataclass(frozen=True)
class Message:
    """What is published.

    Attributes:
        topic: the whole topic.
        payload: its content.
        retain: whether the broker keeps it for those who subscribe later.
        expendable: whether it goes first when room is short: measurements do, changes of the label do not.
    """

    topic: str
    payload: bytes
    retain: bool = False
    expendable: bool = False


class Buffer:
    """A queue that keeps its order and, when full, lets the oldest go: measurements first, then changes.

    Any thread may use it; each call takes microseconds, however long the queue is.

    Attributes:
        limit: how many messages it holds at most.
        dropped: how many messages went because there was no room.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        """Make an empty queue."""
        self.limit = limit
        self.dropped = 0
        self._lock = threading.Lock()
        self._count = 0
        # Two queues, so that the oldest of either kind is at hand; the numbers tell which message came before which.
        self._kept: deque[tuple[int, Message]] = deque()
        self._expendable: deque[tuple[int, Message]] = deque()

    def __len__(self) -> int:
        return len(self._kept) + len(self._expendable)

    def put(self, message: Message) -> None:
        """Add a message, in place of the oldest one where there is no room."""
        with self._lock:
            if len(self) >= self.limit:
                (self._expendable or self._kept).popleft()
                self.dropped += 1
            self._count += 1
            (self._expendable if message.expendable else self._kept).append((self._count, message))

    def take(self) -> Message | None:
        """Return the oldest message and forget it; None when there is none."""
        with self._lock:
            waiting = [queue for queue in (self._kept, self._expendable) if queue]
            return min(waiting, key=lambda queue: queue[0][0]).popleft()[1] if waiting else None
