"""How commands talk: people read standard error, programs read standard output."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from edge_fmnist.errors import EdgeFmnistError

if TYPE_CHECKING:
    from rich.console import Console

# LiteRT's "INFO: Created TensorFlow Lite XNNPACK delegate", and absl's "I0000 00:00:1.5 file.cc:1] text".
NATIVE_CHATTER = re.compile(
    r"INFO: |[IWE]\d{4} .*\] |WARNING: All log messages before absl|.*UserWarning: Statistics for quantized inputs"
    r"|\s+warnings\.warn\(|fully_quantize: "
)


def stderr_console() -> Console:
    """Return a rich console on standard error; rich is imported on first use, since JSON output needs none."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def say(message: str) -> None:
    """Print a line for people."""
    print(message, file=sys.stderr, flush=True)


def warn(message: str) -> None:
    """Print a warning for people."""
    say(f"Warning: {message}")


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """Turn an error of ours, or of the system, into one message and the exit of the process with its code.

    Raises:
        SystemExit: there was one, or an interruption.
    """
    try:
        yield
    except EdgeFmnistError as error:
        say(f"Error: {error}")
        raise SystemExit(error.exit_code) from error
    except KeyboardInterrupt as error:
        say("Interrupted.")
        raise SystemExit(130) from error
    except BrokenPipeError:
        # Nobody reads any more: click's to end in silence.
        raise
    except OSError as error:
        say(f"Error: {error}")
        raise SystemExit(1) from error


def emit_json(value: Any, *, indent: int | None = 2) -> None:
    """Print a JSON value for programs; ``indent=None`` keeps it on one line."""
    print(json.dumps(value, indent=indent), flush=True)


def show_table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]], *, numbers_from: int = 1) -> None:
    """Print a table for people.

    Args:
        title: stands above it.
        columns: the headings.
        rows: the cells.
        numbers_from: columns from this one on are aligned to the right.
    """
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    for position, column in enumerate(columns):
        table.add_column(column, justify="right" if position >= numbers_from else "left")
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    target = stderr_console()
    target.print(f"[bold]{escape(title)}[/bold]", soft_wrap=True)
    target.print(table)


@contextlib.contextmanager
def quiet_native_log() -> Iterator[None]:
    """Keep the chatter of native code off standard error inside the block; other lines are passed on after it.

    LiteRT announces its XNNPACK delegate there, TensorFlow its CPU features,
    and neither has a setting against it. File descriptors belong to the whole
    process, so only the command line, which runs alone in one, does this.
    """
    sys.stderr.flush()
    try:
        saved = os.dup(2)
    except OSError:
        yield
        return
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            caught.seek(0)
            lines = caught.read().decode(errors="replace").splitlines()
            rest = [line for line in lines if not NATIVE_CHATTER.match(line)]
            if any(line.strip() for line in rest):
                say("\n".join(rest))


@contextlib.contextmanager
def status(message: str) -> Iterator[None]:
    """Show a message with a spinner while the block runs; only the message where there is no terminal."""
    with stderr_console().status(message):
        yield
