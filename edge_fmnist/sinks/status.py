"""Status line on standard error."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable

from rich.cells import set_cell_size

from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.annotate import caption
from edge_fmnist.sinks.base import Sink

REDRAW_SECONDS = 0.1
LOG_SECONDS = 5.0
CHANGE_SECONDS = 1.0
DEFAULT_COLUMNS = 80


class StatusLine(Sink):
    """Prints label, score, frame rate, latency, time per stage, and the number of frames received and dropped.

    On a terminal the line is redrawn in place, at most ten times a second. In a log file, a line is printed when the
    label changes (at most one per second) and otherwise every five seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Print nothing yet.

        Args:
            clock: returns seconds, as :func:`time.monotonic` does.
        """
        self._clock = clock
        try:
            self._terminal = sys.stderr.isatty()
        except (AttributeError, ValueError):
            self._terminal = False
        self._printed_at = -float("inf")
        self._printed: LiveResult | None = None
        self._latest: LiveResult | None = None

    def write(self, result: LiveResult) -> None:
        """Print the result, unless another was printed just now."""
        self._latest = result
        now = self._clock()
        if now - self._printed_at >= self._interval(result):
            self._printed_at = now
            self._show(result)

    def close(self) -> None:
        """Print the last result and end the line."""
        if self._latest is None:
            return
        if self._latest is not self._printed:
            self._show(self._latest)
        if self._terminal:
            _print("\n")
        self._latest = None

    def _interval(self, result: LiveResult) -> float:
        """Return the minimum seconds between the previous line and this one."""
        if self._terminal:
            return REDRAW_SECONDS
        unchanged = self._printed is not None and result.label == self._printed.label
        return LOG_SECONDS if unchanged else CHANGE_SECONDS

    def _show(self, result: LiveResult) -> None:
        self._printed = result
        if self._terminal:
            # The last column stays empty: terminals wrap a full line. Padding overwrites a longer previous line.
            columns = _columns() - 1
            _print("\r" + set_cell_size(describe(result), columns))
        else:
            _print(describe(result) + "\n")


def describe(result: LiveResult) -> str:
    """Return a result as one line of text with aligned columns."""
    width = max((len(label) for label in result.labels), default=0) + len(" 100 %")
    stages = result.stages
    return (
        f"{caption(result):<{width}}  {result.fps:5.1f} fps  latency {result.age:4.0f} ms  "
        f"preprocess {stages.preprocess:.1f} + classify {stages.classify:.1f} + smooth {stages.smooth:.1f} ms  "
        f"{result.seen} frames, {result.dropped} dropped"
    )


def _columns() -> int:
    # shutil.get_terminal_size asks standard output, which may be a file while standard error is a terminal.
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or DEFAULT_COLUMNS
    except (OSError, ValueError):
        return DEFAULT_COLUMNS


def _print(text: str) -> None:
    # A closed standard error must not end the run.
    with contextlib.suppress(AttributeError, OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()
