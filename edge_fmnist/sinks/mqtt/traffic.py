"""What a connection to a broker has done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a connection has done so far.

    Attributes:
        connected: whether the broker has accepted it.
        reconnects: how often it was accepted again after it was lost.
        delivered: messages of the buffer that the broker has acknowledged.
        waiting: messages that the broker has not acknowledged yet.
        dropped: messages that went because the buffer was full.
    """

    connected: bool
    reconnects: int
    delivered: int
    waiting: int
    dropped: int
