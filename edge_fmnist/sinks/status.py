"""One line on standard error that says how it goes."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable

from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.annotate import caption
from edge_fmnist.sinks.base import Sink

REDRAW_SECONDS = 0.1
LOG_SECONDS = 5.0
CHANGE_SECONDS = 1.0
FALLBACK_COLUMNS = 80


class StatusLine(Sink):
    """Shows label, score, rate, age, time of each stage, and frames seen and dropped.

    On a terminal the line is redrawn in place, at most ten times a second. In
    a log it is a line when the label changes, and otherwise one every five
    seconds; a label that flickers gives no more than one line a second.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with nothing shown.

        Args:
            clock: seconds, as from :func:`time.monotonic`.
        """
        self._clock = clock
        self._terminal = _is_terminal()
        self._drawn_at = -float("inf")
        self._label: str | None = None
        self._latest: LiveResult | None = None
        self._drawn: LiveResult | None = None
        self._closed = False

    def write(self, result: LiveResult) -> None:
        """Show the result, unless one was shown just now."""
        self._latest = result
        now = self._clock()
        if now - self._drawn_at >= self._pause(result):
            self._drawn_at = now
            self._draw(result)

    def close(self) -> None:
        """Show the last result, and end the line."""
        if self._closed:
            return
        self._closed = True
        if self._latest is not None and self._latest is not self._drawn:
            self._draw(self._latest)
        if self._terminal and self._latest is not None:
            _print("\n")

    def _pause(self, result: LiveResult) -> float:
        """Return how many seconds must lie between the line before and this one."""
        if self._terminal:
            return REDRAW_SECONDS
        return LOG_SECONDS if self._drawn is not None and result.label == self._label else CHANGE_SECONDS

    def _draw(self, result: LiveResult) -> None:
        self._drawn = result
        self._label = result.label
        if self._terminal:
            # One column stays free: terminals wrap a line that fills the last. What was longer is blanked out.
            columns = _columns() - 1
            _print("\r" + describe(result)[:columns].ljust(columns))
        else:
            _print(describe(result) + "\n")


def describe(result: LiveResult) -> str:
    """Return a result in one line of text, in columns that stay where they are."""
    widest = max((len(label) for label in result.labels), default=0) + len(" 100 %")
    stages = result.stages
    return (
        f"{caption(result):<{widest}}  {result.fps:5.1f} fps  age {result.age:4.0f} ms  "
        f"preprocess {stages.preprocess:.1f} + classify {stages.classify:.1f} + smooth {stages.smooth:.1f} ms  "
        f"{result.seen} frames, {result.dropped} dropped"
    )


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):
        return False


def _columns() -> int:
    # shutil.get_terminal_size asks standard output, which may be a file while standard error is a terminal.
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or FALLBACK_COLUMNS
    except (OSError, ValueError):
        return FALLBACK_COLUMNS


def _print(text: str) -> None:
    # The line is for people: where nobody can read it, the work goes on without it.
    with contextlib.suppress(AttributeError, OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()
