"""What a running loop reports to a service manager or a log."""

from __future__ import annotations

from enum import Enum

from edge_fmnist.sources.base import Warn, log_warning


class State(Enum):
    """What a loop is doing."""

    RUNNING = "running"
    """Frames arrive and are classified."""
    IDLE = "idle"
    """Frames arrive without motion, and the last result is repeated."""
    WAITING = "waiting"
    """No frame has arrived since the last call, though one is due."""
    LOST = "lost"
    """The source was lost and is being reopened."""


class Observer:
    """Receives what a loop is doing, in the loop's thread; this one only passes on warnings."""

    def __init__(self, warn: Warn = log_warning) -> None:
        self._warn = warn

    def turn(self, state: State) -> None:
        """Handle one iteration of the loop: for each frame, and about ten times a second while none arrives."""

    def lost(self, message: str) -> None:
        """Handle that the source was lost and is being reopened."""
        self._warn(message)

    def back(self, message: str) -> None:
        """Handle that a lost source delivers frames again."""
        self._warn(message)

    def swapped(self, message: str) -> None:
        """Handle that another model is in use from this frame on; the message names it."""

    def stopping(self) -> None:
        """Handle that the loop is about to close its outputs and its source."""
