"""What a running loop is doing, for whoever watches over it: a service manager, a log."""

from __future__ import annotations

from enum import Enum

from edge_fmnist.sources.base import Warn, log_warning


class State(Enum):
    """What a loop is doing."""

    RUNNING = "running"
    """Frames come and are named."""
    IDLE = "idle"
    """Frames come, nothing in them moves, and the last answer is repeated."""
    WAITING = "waiting"
    """No frame has come since the turn before."""
    LOST = "lost"
    """The source was lost, and is opened again until it answers."""


class Watcher:
    """Is told what a loop is doing, in the loop's thread; this one passes on what people should know."""

    def __init__(self, warn: Warn = log_warning) -> None:
        self._warn = warn

    def turn(self, state: State) -> None:
        """Take note of a turn of the loop: for each frame, and about ten times a second while none comes."""

    def lost(self, message: str) -> None:
        """Take note that the source was lost and is being opened again."""
        self._warn(message)

    def back(self, message: str) -> None:
        """Take note that a lost source delivers frames again."""
        self._warn(message)
