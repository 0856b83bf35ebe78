"""Output of all commands: results on standard output, messages and progress on standard error."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import typer

from edge_fmnist.data.files import advice, as_json
from edge_fmnist.errors import EdgeFmnistError, printable_lines

if TYPE_CHECKING:
    from types import FrameType

    from rich.console import Console
    from rich.table import Table

# LiteRT's "INFO: Created TensorFlow Lite XNNPACK delegate"; absl's and torch's "I0000 00:00:1.5 file.cc:1] text".
NATIVE_LOG = re.compile(
    r"INFO: |[IWE]\d{4} .*\] |WARNING: All log messages before absl|To enable the following instructions: "
    r"|.*UserWarning: Statistics for quantized inputs|\s+warnings\.warn\(|fully_quantize: "
)
# A column of text is not made narrower than this: the table is stacked instead.
MIN_TEXT_WIDTH = 20


class _MessageStream:
    """Standard error without the log lines of libraries, such as torch's.

    It drops what cannot be written: a full disk or a closed pipe does not stop the work.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if not NATIVE_LOG.match(text):
            with contextlib.suppress(OSError):
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def prepare_streams() -> None:
    """Make the standard streams usable whatever they are: closed, on a full disk, or of a narrow encoding."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # Otherwise the next opened file would get this number, and with it the native log.
            os.open(os.devnull, os.O_RDWR)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - open until the end
        elif mode == "w" and hasattr(stream, "reconfigure"):
            # File names may hold bytes, and labels characters, that the encoding does not have.
            stream.reconfigure(errors="backslashreplace")
    sys.stderr = _MessageStream(sys.stderr)


def stderr_console() -> Console:
    """Return a rich console on standard error; rich is imported on first use, since JSON output does not need it."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


@contextlib.contextmanager
def lasting_stderr_console() -> Iterator[Console]:
    """Yield a rich console that goes on writing to standard error inside of :func:`quiet_native_log`."""
    from rich.console import Console

    stream = os.fdopen(os.dup(2), "w")
    try:
        yield Console(file=cast("IO[str]", _MessageStream(stream)))
    finally:
        with contextlib.suppress(OSError):
            stream.close()


# Set by a command that has nothing left to do for Python at its end, which takes seconds on a busy device, waits for
# threads of the page that write to a hung disk, and aborts if FFmpeg returns from a read meanwhile.
end_at_once = False
# Each Ctrl-C during the command.
_pressed: list[int] = []


def discard_unwritten() -> None:
    """Drop results that could not be written: Python's own flush at exit would fail once more."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(message: str) -> None:
    """Print a message on standard error, without control characters; one that cannot be written is dropped."""
    with contextlib.suppress(OSError):
        print(printable_lines(message), file=sys.stderr, flush=True)


def warn(message: str) -> None:
    """Print a warning on standard error."""
    say(f"Warning: {message}")


@contextlib.contextmanager
def exit_codes(arguments: Sequence[str] = ()) -> Iterator[None]:
    """Turn an error of this package, or of the system, into one message and the exit of the process with its code.

    ``arguments`` are those of the command; messages about a file name the option that it comes from.

    Raises:
        SystemExit: there was one, or an interruption.
    """
    with _interruptions() as interruptions:
        try:
            yield
        except typer.Exit:
            # Also a RuntimeError; the command has printed its own message.
            raise
        except (Exception, KeyboardInterrupt) as error:
            # Ctrl-C can surface as another exception, for example while a native module is initialized.
            if interruptions or isinstance(error, KeyboardInterrupt):
                say("Interrupted.")
                # Native code that was interrupted may abort the process while Python ends.
                global end_at_once
                end_at_once = True
                raise SystemExit(130) from error
            code = _explained(error, arguments)
            if code is None:
                raise
            raise SystemExit(code) from error


def was_interrupted() -> bool:
    """Return whether Ctrl-C was pressed during the command; it can surface as another exception of native code."""
    return bool(_pressed)


def _explained(error: BaseException, arguments: Sequence[str]) -> int | None:
    """Print what an error means and return the exit code; None for one that is not expected."""
    if isinstance(error, EdgeFmnistError):
        say(f"Error: {error}")
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        # The reader of the pipe, such as head, has exited.
        return 0
    if isinstance(error, OSError):
        say(f"Error: {_described(error, arguments)}")
        return 1
    if isinstance(error, RuntimeError) and "home directory" in str(error):
        say(f"Error: {error} Set the environment variable HOME.")
        return 1
    # Of a native module, such as OpenCV's on a system without a desktop.
    if isinstance(error, ImportError) and "cannot open shared object file" in str(error):
        from edge_fmnist.extras import OPENCV_HINT

        say(f"Error: a library of the system is missing ({error}); {OPENCV_HINT}")
        return 2
    return None


@contextlib.contextmanager
def _interruptions() -> Iterator[list[int]]:
    """Record each Ctrl-C inside the block in the list that is yielded; it interrupts as it does without this."""

    def note(number: int, frame: FrameType | None) -> None:
        _pressed.append(number)
        # Native code prints an exception that it cannot raise, as TensorFlow does, and ctypes for xgboost.
        sys.excepthook = lambda *_: None
        sys.unraisablehook = lambda _: None
        signal.default_int_handler(number, frame)

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield []
        return
    hooks = sys.excepthook, sys.unraisablehook
    signal.signal(signal.SIGINT, note)
    try:
        yield _pressed
    finally:
        _pressed.clear()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.excepthook, sys.unraisablehook = hooks


def _described(error: OSError, arguments: Sequence[str]) -> str:
    """Return what could not be done with which file, the option that it comes from, and what to do."""
    if not isinstance(error.filename, str):
        return str(error)
    words = [part for word in arguments for part in (word.split("=", 1) if word.startswith("--") else [word])]
    options = [option for option, value in pairwise(words) if option[0:1] == "-" and error.filename.startswith(value)]
    option = f"{options[0]}: " if options else ""
    return f"{option}{error.filename}: {advice(error, Path(error.filename))}"


def reader_may_leave() -> contextlib.AbstractContextManager[None]:
    """Ignore, inside the block, that the reader of a pipe has closed it, as head does.

    The work goes on, and the exit code stays that of the results.
    """
    return contextlib.suppress(BrokenPipeError)


def emit_json(value: Any, *, indent: int | None = 2) -> None:
    """Print a JSON value on standard output; ``indent=None`` keeps it on one line."""
    print(as_json(value, indent), flush=True)


def show_table(
    title: str,
    columns: Iterable[str],
    rows: Iterable[Iterable[object]],
    *,
    numbers_from: int = 1,
    stderr: bool = False,
) -> None:
    """Print a table on standard output; where it does not fit the width, its rows are stacked, one cell a line.

    Columns from ``numbers_from`` on are numbers: aligned to the right and never wrapped. Empty headings are not
    shown.
    """
    from rich.console import Console
    from rich.markup import escape

    class Results(Console):
        def on_broken_pipe(self) -> None:
            """Leave the exit code to the command; rich's own is 1."""
            raise BrokenPipeError

    headings, cells = list(columns), [[printable_lines(str(cell)) for cell in row] for row in rows]
    target = Results(stderr=stderr, highlight=False)
    if target.width < 1:
        # Rich would print nothing.
        target.width = 80
    target.print(f"[bold]{escape(printable_lines(title))}[/bold]", soft_wrap=True)
    table = _table(headings, cells, numbers_from)
    with target.capture() as drawn:
        target.print(table)
    # Rich cuts what does not fit.
    words = (word for row in [headings, *cells] for cell in row for word in cell.split())
    if "…" not in drawn.get() and all(word in drawn.get() for word in words):
        target.print(table)
        return
    for row in cells:
        target.print(escape(_stacked(headings, row)), soft_wrap=True)


def _table(headings: list[str], cells: list[list[str]], numbers_from: int) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, show_header=any(headings))
    for position, heading in enumerate(headings):
        if position >= numbers_from:
            table.add_column(heading, justify="right", no_wrap=True)
        else:
            longest = max([len(heading), *(len(row[position]) for row in cells)])
            table.add_column(heading, min_width=min(MIN_TEXT_WIDTH, longest))
    for row in cells:
        table.add_row(*map(escape, row))
    return table


def _stacked(headings: list[str], row: list[str]) -> str:
    """Return a row as lines, one for each cell, or as a single line without headings."""
    if not any(headings):
        return ": ".join(row)
    named = zip(headings[1:], row[1:], strict=True)
    return "\n".join([row[0], *("  " + (f"{heading}: {cell}" if heading else cell) for heading, cell in named)])


@contextlib.contextmanager
def quiet_native_log() -> Iterator[None]:
    """Keep the log of native code off standard error inside the block; other lines are printed after it.

    LiteRT announces its XNNPACK delegate there, TensorFlow its CPU features, and neither has a setting against it. File
    descriptors belong to the whole process, so only the command line, which runs alone in one, does this.
    """
    with contextlib.ExitStack() as stack:
        try:
            sys.stderr.flush()
            saved = os.dup(2)
            stack.callback(os.close, saved)
            caught = stack.enter_context(_temporary_file())
        except OSError:
            # Nowhere to keep the lines: they are printed as they come.
            yield
            return
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            caught.seek(0)
            lines = caught.read().decode(errors="replace").splitlines()
            rest = [line for line in lines if not NATIVE_LOG.match(line)]
            if any(line.strip() for line in rest):
                say("\n".join(rest))


def _temporary_file() -> IO[bytes]:
    """Return a file without a name; on Linux it needs no folder that can be written to."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("log"), "w+b")  # noqa: PTH123 - a descriptor has no path
    return tempfile.TemporaryFile()


@contextlib.contextmanager
def status(message: str) -> Iterator[None]:
    """Show a message with a spinner while the block runs; only the message if there is no terminal."""
    from rich.markup import escape

    console = stderr_console()
    if console.is_terminal:
        with console.status(escape(printable_lines(message))):
            yield
    else:
        say(message)
        yield
