"""Messages of ``edge-fmnist live``: readable text, or events for the journal of systemd.

``<6>event=label label=Coat previous="no garment" score=0.93``: the journal takes the prefix as the priority of the
line, see sd-daemon(3); the rest is logfmt, which is readable and easy to parse.
"""

# ruff: noqa: D102 - methods without a docstring are documented in the base class

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING

from edge_fmnist.cli import console
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.pipeline.stats import NO_GARMENT, LiveStats
from edge_fmnist.sinks.outputs import OutputReport

if TYPE_CHECKING:
    from edge_fmnist.sinks.web import WebPage

# Priorities of syslog(3).
ERROR, WARNING, INFO = 3, 4, 6
BARE = re.compile(r"[\w.,:;/+@%()-]+")
# Return to the start of the line and erase it.
CLEAR_LINE = "\r\x1b[K"


class Log(str, Enum):
    """Format of messages."""

    TEXT = "text"
    JOURNAL = "journal"


def log_of(log: str | None) -> Log:
    """Return the format: as requested, else for the journal if standard error is connected to it."""
    return Log(log) if log else (Log.JOURNAL if is_journal() else Log.TEXT)


def is_journal() -> bool:
    """Return whether standard error is connected to the journal, see JOURNAL_STREAM in systemd.exec(5)."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def journal_line(event: str, fields: Mapping[str, object], priority: int = INFO) -> str:
    """Return one line, escaping line breaks; fields that are None are left out. ``priority`` is that of syslog(3)."""
    pairs = [f"{key}={_value(value)}" for key, value in {"event": event, **fields}.items() if value is not None]
    return f"<{priority}>{' '.join(pairs)}"


def _value(value: object) -> str:
    if isinstance(value, float):
        # No exponent: a service runs for weeks.
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.1f}"
    text = str(value)
    # JSON's escapes keep a line break in a file name from starting a new line.
    return text if BARE.fullmatch(text) else json.dumps(text, ensure_ascii=False)


class Report(OutputReport):
    """Human-readable messages, and a summary at the end; a status line shows the rest.

    Attributes:
        quiet: whether to report warnings and errors only.
        has_events: whether each change is reported.
        status_shown: whether a status line is on the screen, which messages must not run into.
    """

    has_events = False

    def __init__(self, quiet: bool = False) -> None:
        super().__init__()
        self.quiet = quiet
        self.status_shown = False

    def _say(self, message: str) -> None:
        if self.status_shown and sys.stderr.isatty():
            print(CLEAR_LINE, end="", file=sys.stderr)
        console.say(message)

    def warn(self, message: str) -> None:
        self._say(f"Warning: {message}")

    def failed(self, message: str) -> None:
        self._say(f"Error: {message}")

    def serving(self, page: WebPage) -> None:
        """See :meth:`OutputReport.serving`; a terminal shows a token of the environment and a QR code as well."""
        terminal = sys.stderr.isatty()
        if not self.quiet or page.access.generated:
            self._say(f"Watch at {page.login_url if terminal or page.access.generated else page.url}")
        if terminal and page.access.exposed and not self.quiet:
            _show_qr_code(page.login_url)

    def publishing(self, url: str) -> None:
        if not self.quiet:
            self._say(f"Publishing to {url}")

    def start(self, facts: Mapping[str, object]) -> None:
        """Report that everything is open."""

    def label(self, result: LiveResult, previous: LiveResult | None) -> None:
        """Report a label that differs from the previous one."""

    def idle(self, idle: bool) -> None:
        """Report that there is no motion any more, or motion again."""

    def lost(self, message: str) -> None:
        """Report that the source was lost."""
        self.warn(message)

    def back(self, message: str) -> None:
        """Report that the source delivers again."""
        self.warn(message)

    def swapped(self, message: str) -> None:
        """Report that another model is in use."""
        if not self.quiet:
            self._say(f"Now using {message}")

    def end(self, stats: LiveStats, summary: str) -> None:
        """Report the counts at the end, which ``summary`` has in a few lines."""
        if not self.quiet and stats.seen:
            console.say(summary)


class JournalReport(Report):
    """One line for each change, in the format of :func:`journal_line`."""

    has_events = True

    def warn(self, message: str) -> None:
        say_event("warning", message, WARNING)

    def failed(self, message: str) -> None:
        say_event("sink-failed", message, ERROR)

    def serving(self, page: WebPage) -> None:
        if page.access.generated:
            console.say(journal_line("serving", {"url": page.login_url}))
        else:
            self._event("serving", {"url": page.url})

    def publishing(self, url: str) -> None:
        """Report nothing."""

    def start(self, facts: Mapping[str, object]) -> None:
        self._event("start", facts)

    def label(self, result: LiveResult, previous: LiveResult | None) -> None:
        before = None if previous is None else previous.label or NO_GARMENT
        self._event("label", {"label": result.label or NO_GARMENT, "previous": before, "score": result.score})

    def idle(self, idle: bool) -> None:
        self._event("idle" if idle else "awake", {})

    def lost(self, message: str) -> None:
        say_event("source-lost", message, WARNING)

    def back(self, message: str) -> None:
        say_event("source-back", message, WARNING)

    def swapped(self, message: str) -> None:
        self._event("model", {"message": message})

    def end(self, stats: LiveStats, summary: str) -> None:  # noqa: ARG002 - human-readable
        names = ("results", "seconds", "fps", "seen", "dropped", "unusable", "reconnects")
        if stats.seconds:
            self._event("stop", {name: getattr(stats, name) for name in names})

    def _event(self, event: str, fields: Mapping[str, object]) -> None:
        if not self.quiet:
            console.say(journal_line(event, fields))


def _show_qr_code(url: str) -> None:
    """Draw a QR code on the terminal that is standard error; nothing where its encoding has no block characters."""
    import segno

    drawn = io.StringIO()
    segno.make(url, error="l", micro=False).terminal(drawn, border=2, compact=True)
    with contextlib.suppress(UnicodeEncodeError):
        drawn.getvalue().encode(sys.stderr.encoding or "ascii")
        console.say(drawn.getvalue())


def say_event(event: str, message: str, priority: int) -> None:
    """Write a line with a message for the journal."""
    console.say(journal_line(event, {"message": message}, priority))
