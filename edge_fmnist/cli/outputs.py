"""Where ``edge-fmnist live`` puts its results: any number of sinks that do not hurt one another."""

from __future__ import annotations

import contextlib
import sys
from types import TracebackType

from edge_fmnist.cli import console
from edge_fmnist.errors import SinkClosedError, SinkError
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.base import Sink

# Go to the start of the line and erase it.
CLEAR_LINE = "\r\x1b[K"


class Outputs:
    """Hands each result to every sink.

    A sink that fails is reported and closed, and the others go on. A context
    manager: at its end every sink is closed, also when one fails to.

    Attributes:
        failed: whether a sink has failed, or could not be closed.
        over: whether to end: a person closed a sink, or the last one has failed.
    """

    def __init__(self) -> None:
        self.failed = False
        self.over = False
        self._sinks: list[Sink] = []
        self._status: Sink | None = None

    @property
    def empty(self) -> bool:
        """Whether there is no sink yet; the status line does not count."""
        return not self._sinks

    def warn(self, message: str) -> None:
        """Print a warning, on a line of its own also when the status line is on the screen."""
        self._clear_status()
        console.warn(message)

    def add(self, sink: Sink) -> None:
        """Write to this sink from now on, and close it at the end."""
        self._sinks.append(sink)

    def add_status(self, sink: Sink) -> None:
        """Write to this sink too, after the others; it does not keep the command going when they have failed."""
        self._status = sink

    def write(self, result: LiveResult) -> None:
        """Write one result to every sink, whatever happens to the others."""
        for sink in list(self._sinks):
            try:
                sink.write(result)
            except SinkClosedError:
                self.over = True
            except (SinkError, OSError) as error:
                self._let_go(sink, error)
        if self._status is not None:
            self._status.write(result)

    def _let_go(self, sink: Sink, error: SinkError | OSError) -> None:
        self._report(error)
        self._sinks.remove(sink)
        self._close(sink)
        self.over = self.over or not self._sinks

    def _report(self, error: SinkError | OSError) -> None:
        self.failed = True
        self._clear_status()
        console.say(f"Error: {error}")

    def _clear_status(self) -> None:
        if self._status is not None and sys.stderr.isatty():
            print(CLEAR_LINE, end="", file=sys.stderr)

    def _close(self, sink: Sink) -> None:
        try:
            sink.close()
        except SinkClosedError:
            pass
        except (SinkError, OSError) as error:
            self._report(error)

    def __enter__(self) -> Outputs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # The stack goes on closing when one raises what _close does not expect; the status line goes first,
        # so that later messages stand on lines of their own.
        with contextlib.ExitStack() as stack:
            for sink in (*self._sinks, *((self._status,) if self._status else ())):
                stack.callback(self._close, sink)
