"""Reports what a live run is doing to a service manager and to the user."""

# ruff: noqa: D102 - methods without a docstring are documented in the base class

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from edge_fmnist.cli.reports import Report
from edge_fmnist.pipeline.observer import Observer, State
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.pipeline.systemd import Notifier, Watchdog, watchdog_seconds

# A flickering label gives at most one line per second.
CHANGE_SECONDS = 1.0


class Supervisor(Observer):
    """Reports each change once, and feeds the watchdog."""

    def __init__(self, report: Report, notifier: Notifier, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(report.warn)
        self._report = report
        self._notifier = notifier
        self._clock = clock
        self._watchdog = Watchdog(watchdog_seconds(), notifier.alive, clock)
        self._idle = False
        self._reported: LiveResult | None = None
        self._reported_at = 0.0

    def start(self, facts: Mapping[str, object]) -> None:
        """Report that everything is open."""
        self._report.start(facts)
        self._notifier.ready()

    def stopping(self) -> None:
        self._notifier.stopping()

    def turn(self, state: State) -> None:
        self._watchdog.turn(state)
        if state in (State.RUNNING, State.IDLE) and (state is State.IDLE) != self._idle:
            self._idle = not self._idle
            self._report.idle(self._idle)
            self._show()

    def lost(self, message: str) -> None:
        self._idle = False
        self._report.lost(message)
        self._notifier.status(message)

    def back(self, message: str) -> None:
        self._report.back(message)
        self._show()

    def swapped(self, message: str) -> None:
        self._report.swapped(message)

    def take(self, result: LiveResult) -> None:
        """Report a result whose label has changed, at most once a second."""
        now = self._clock()
        changed = self._reported is None or result.label != self._reported.label
        if changed and (self._reported is None or now - self._reported_at >= CHANGE_SECONDS):
            previous, self._reported, self._reported_at = self._reported, result, now
            self._report.label(result, previous)
            self._show()

    def _show(self) -> None:
        """Show the label in the service manager's status."""
        if self._reported is not None:
            from edge_fmnist.sinks.annotate import caption

            self._notifier.status(f"{caption(self._reported)}{', no motion' if self._idle else ''}")
