"""JSON Lines: one JSON object per result."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import stat
import sys
import time
from pathlib import Path
from typing import IO

from edge_fmnist.errors import SinkClosedError, SinkError, UsageError
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.base import Sink
from edge_fmnist.sinks.formatting import rfc3339

STDOUT = "-"


class JsonLines(Sink):
    """Writes ``time`` (RFC 3339, UTC) and ``result.as_dict()`` as one line of JSON per result, unbuffered.

    An existing file is emptied when the first result arrives, not before. The file contains only complete lines at
    any time, even when the disk is full. When the file is renamed or deleted (logrotate), a new one is opened.
    """

    def __init__(self, target: str | Path) -> None:
        """Open the file; missing folders are created.

        Args:
            target: a path, or ``-`` for standard output.

        Raises:
            UsageError: the path is a folder.
            SinkError: the file cannot be opened for writing.
        """
        self._path = None if str(target) == STDOUT else Path(target)
        self._name = "standard output" if self._path is None else str(target)
        self._lines = 0
        self._stream = _open_stdout() if self._path is None else _open_file(self._path)
        self._regular = _is_regular_file(self._stream)

    def write(self, result: LiveResult) -> None:
        """Write one line.

        Raises:
            SinkClosedError: the reader of the pipe has closed it.
            SinkError: the line cannot be written, for example on a full disk; earlier lines stay.
        """
        line = json.dumps({"time": rfc3339(time.time()), **result.as_dict()}).encode() + b"\n"
        size: int | None = None
        try:
            if self._regular:
                self._prepare_file()
                size = os.fstat(self._stream.fileno()).st_size
            self._write_all(line)
        except BrokenPipeError as error:
            raise SinkClosedError(f"{self._name}: the reader has closed the pipe") from error
        except OSError as error:
            if size is not None:
                self._truncate(size)
            raise SinkError(
                f"{self._name}: write failed ({error.strerror or error}); the {self._lines} lines written before are "
                "complete; free some space and start again"
            ) from error
        self._lines += 1

    def close(self) -> None:
        """Close the file; standard output stays open.

        Raises:
            SinkError: a network file system could not store the lines.
        """
        try:
            if self._path is not None:
                self._stream.close()
        except OSError as error:
            raise SinkError(f"{self._name}: write failed ({error.strerror or error})") from error

    def _prepare_file(self) -> None:
        """Open the path again if it no longer leads to the open file; empty it before the first line."""
        if self._path is None:
            return
        try:
            in_place = os.path.samestat(self._path.stat(), os.fstat(self._stream.fileno()))
        except FileNotFoundError:
            in_place = False
        if not in_place:
            self._stream.close()
            self._stream = _open_file(self._path)
        if not self._lines:
            os.truncate(self._stream.fileno(), 0)

    def _write_all(self, line: bytes) -> None:
        rest = memoryview(line)
        while rest:
            written = self._stream.write(rest)
            if written is None:  # a non-blocking descriptor whose buffer is full
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            rest = rest[written:]
        self._stream.flush()

    def _truncate(self, size: int) -> None:
        """Remove an incomplete line."""
        with contextlib.suppress(OSError):
            os.truncate(self._stream.fileno(), size)


def _open_file(path: Path) -> IO[bytes]:
    if path.is_dir():
        raise UsageError(f"{path}: expected a file for JSON Lines, got a folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Append mode leaves no gap after the file was truncated. Without a buffer each error is raised by its line.
        return path.open("ab", buffering=0)
    except OSError as error:
        raise SinkError(f"{path}: cannot be opened for writing ({error.strerror or error})") from error


def _open_stdout() -> IO[bytes]:
    """Return standard output without a buffer, so that no partial line is left for the interpreter's exit to flush."""
    stream = sys.stdout
    try:
        stream.flush()
        return io.FileIO(stream.fileno(), "wb", closefd=False)
    except (AttributeError, ValueError) as error:
        # A replacement without a descriptor, as in a notebook, has a buffer of bytes or is closed.
        buffer: IO[bytes] | None = getattr(stream, "buffer", None)
        if buffer is None or buffer.closed:
            raise SinkError("standard output is closed; write to a file instead") from error
        return buffer
    except OSError as error:
        raise SinkError(f"standard output: write failed ({error.strerror or error})") from error


def _is_regular_file(stream: IO[bytes]) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):
        return False
