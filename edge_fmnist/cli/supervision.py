"""What ``edge-fmnist live`` tells of itself while it runs: to a service manager, and to its report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from edge_fmnist.cli.reports import Report
from edge_fmnist.pipeline.observer import State, Watcher
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.pipeline.systemd import Notifier, Watchdog, watchdog_seconds

# A label that flickers gives no more than one line a second.
CHANGE_SECONDS = 1.0


class Supervisor(Watcher):
    """Turns what the loop does into what is told: once a change, and the watchdog's food."""

    def __init__(self, report: Report, notifier: Notifier, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with nothing told.

        Args:
            report: told of each change.
            notifier: of the service manager.
            clock: seconds, as from :func:`time.monotonic`.
        """
        super().__init__(report.warn)
        self._report = report
        self._notifier = notifier
        self._clock = clock
        self._watchdog = Watchdog(watchdog_seconds(), notifier.alive, clock)
        self._idle = False
        self._told: LiveResult | None = None
        self._told_at = 0.0

    def start(self, facts: Mapping[str, object]) -> None:
        """Tell that all is open, and with what."""
        self._report.start(facts)
        self._notifier.ready()

    def stop(self) -> None:
        """Tell the manager that the end has begun."""
        self._notifier.stopping()

    def turn(self, state: State) -> None:
        """See :meth:`Watcher.turn`."""
        self._watchdog.turn(state)
        if state in (State.RUNNING, State.IDLE) and (state is State.IDLE) != self._idle:
            self._idle = not self._idle
            self._report.idle(self._idle)
            self._show()

    def lost(self, message: str) -> None:
        """See :meth:`Watcher.lost`."""
        self._idle = False
        self._report.lost(message)
        self._notifier.status(message)

    def back(self, message: str) -> None:
        """See :meth:`Watcher.back`."""
        self._report.back(message)
        self._show()

    def take(self, result: LiveResult) -> None:
        """Tell of a result whose label is another one, at most once a second."""
        now = self._clock()
        changed = self._told is None or result.label != self._told.label
        if changed and (self._told is None or now - self._told_at >= CHANGE_SECONDS):
            previous, self._told, self._told_at = self._told, result, now
            self._report.label(result, previous)
            self._show()

    def _show(self) -> None:
        """Let the manager's status say what is shown."""
        if self._told is not None:
            from edge_fmnist.sinks.annotate import caption

            self._notifier.status(f"{caption(self._told)}{', nothing moves' if self._idle else ''}")
