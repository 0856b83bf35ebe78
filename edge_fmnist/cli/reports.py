"""What ``edge-fmnist live`` says of its own running: to people in sentences, to a journal in events."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from edge_fmnist.cli import console
from edge_fmnist.cli.outputs import Outputs
from edge_fmnist.errors import SinkError
from edge_fmnist.pipeline import journal
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.pipeline.stats import NO_GARMENT, LiveStats


class Log(str, Enum):
    """How to report."""

    TEXT = "text"
    JOURNAL = "journal"


def log_of(wish: Log | None) -> Log:
    """Return how to report: as wished, else for the journal where standard error goes there."""
    return wish or (Log.JOURNAL if journal.is_stderr() else Log.TEXT)


class Report:
    """Reports to people: what they should know, and at the end a summary; a status line shows the rest.

    Attributes:
        outputs: where the results go, which are told of in the same way.
        has_events: whether changes are reported one by one.
    """

    has_events = False

    def __init__(self, quiet: bool = False) -> None:
        """Report warnings and errors only where ``quiet``."""
        self.quiet = quiet
        self.outputs = self._make_outputs()

    def _make_outputs(self) -> Outputs:
        return Outputs()

    def warn(self, message: str) -> None:
        """Tell of what is not right, though the work goes on."""
        self.outputs.warn(message)

    def start(self, facts: Mapping[str, object]) -> None:
        """Tell that frames are about to be named, and with what."""

    def serving(self, url: str) -> None:
        """Tell where the browser page is."""
        if not self.quiet:
            console.say(f"Watch at {url}")

    def label(self, result: LiveResult, previous: LiveResult | None) -> None:
        """Tell that another label is shown than before."""

    def idle(self, idle: bool) -> None:
        """Tell that nothing moves any more, or that something does."""

    def lost(self, message: str) -> None:
        """Tell that the source was lost."""
        self.warn(message)

    def back(self, message: str) -> None:
        """Tell that the source delivers again."""
        self.warn(message)

    def end(self, stats: LiveStats, summary: str) -> None:
        """Tell what was done, which ``summary`` says in a few lines."""
        if not self.quiet and stats.seen:
            console.say(summary)


class JournalReport(Report):
    """Reports one line for each change, as :mod:`edge_fmnist.pipeline.journal` writes them."""

    has_events = True

    def _make_outputs(self) -> Outputs:
        return JournalOutputs()

    def start(self, facts: Mapping[str, object]) -> None:
        """See :meth:`Report.start`."""
        self._tell("start", facts)

    def serving(self, url: str) -> None:
        """See :meth:`Report.serving`."""
        self._tell("serving", {"url": url})

    def label(self, result: LiveResult, previous: LiveResult | None) -> None:
        """See :meth:`Report.label`."""
        before = None if previous is None else previous.label or NO_GARMENT
        self._tell("label", {"label": result.label or NO_GARMENT, "previous": before, "score": result.score})

    def idle(self, idle: bool) -> None:
        """See :meth:`Report.idle`."""
        self._tell("idle" if idle else "awake", {})

    def lost(self, message: str) -> None:
        """See :meth:`Report.lost`."""
        say("source-lost", message, journal.WARNING)

    def back(self, message: str) -> None:
        """See :meth:`Report.back`."""
        say("source-back", message, journal.WARNING)

    def end(self, stats: LiveStats, summary: str) -> None:  # noqa: ARG002 - for people
        """See :meth:`Report.end`."""
        counts = {
            name: getattr(stats, name)
            for name in ("results", "seconds", "fps", "seen", "dropped", "unusable", "reconnects")
        }
        if stats.seconds:
            self._tell("stop", counts)

    def _tell(self, event: str, fields: Mapping[str, object]) -> None:
        if not self.quiet:
            console.say(journal.line(event, fields))


class JournalOutputs(Outputs):
    """Hands results to sinks, and tells the journal of what fails."""

    def warn(self, message: str) -> None:
        """Write a warning."""
        say("warning", message, journal.WARNING)

    def _report(self, error: SinkError | OSError) -> None:
        self.failed = True
        say("sink-failed", str(error), journal.ERROR)


def say(event: str, message: str, priority: int) -> None:
    """Write a line with a message to the journal."""
    console.say(journal.line(event, {"message": message}, priority))


def make_report(log: Log | None, quiet: bool) -> Report:
    """Return what reports in the way that was wished for, or that suits standard error."""
    return (JournalReport if log_of(log) is Log.JOURNAL else Report)(quiet)
