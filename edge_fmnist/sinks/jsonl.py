"""One JSON object for each result, a line each."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import stat
import sys
from pathlib import Path
from typing import IO

from edge_fmnist.errors import SinkClosedError, SinkError, UsageError
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.base import Sink

STDOUT = "-"


class JsonLines(Sink):
    """Writes ``result.as_dict()`` as a line of JSON, readable as soon as the result is there.

    A file that exists is emptied when the first result comes, not before. What
    is in the file are whole lines at any time, on a full disk too.
    """

    def __init__(self, target: str | Path) -> None:
        """Open the file, and the folders to it.

        Args:
            target: a path, or ``-`` for standard output.

        Raises:
            UsageError: the path is a folder.
            SinkError: it cannot be written to.
        """
        self._name = "standard output" if str(target) == STDOUT else str(target)
        self._lines = 0
        self._stream = _open_stdout() if str(target) == STDOUT else _open_file(Path(target))
        self._owned = str(target) != STDOUT
        self._regular = _is_regular_file(self._stream)

    def write(self, result: LiveResult) -> None:
        """Write one line.

        Raises:
            SinkClosedError: nobody reads the pipe any more.
            SinkError: the line cannot be written, as on a full disk; the lines before stay.
        """
        line = json.dumps(result.as_dict()).encode() + b"\n"
        before = 0
        try:
            if self._owned and self._regular and not self._lines:
                os.truncate(self._stream.fileno(), 0)
            before = self._size()
            self._write_all(line)
        except BrokenPipeError as error:
            raise SinkClosedError(f"{self._name}: nobody reads it any more") from error
        except OSError as error:
            self._cut_to(before)
            raise SinkError(
                f"{self._name}: cannot be written ({error.strerror or error}); "
                f"the {self._lines} lines before are whole; make room and start again"
            ) from error
        self._lines += 1

    def close(self) -> None:
        """Close the file; standard output stays open.

        Raises:
            SinkError: a network file system says only now that it could not keep the lines.
        """
        try:
            if self._owned:
                self._stream.close()
        except OSError as error:
            raise SinkError(f"{self._name}: cannot be written ({error.strerror or error})") from error

    def _size(self) -> int:
        return os.fstat(self._stream.fileno()).st_size if self._regular else 0

    def _write_all(self, line: bytes) -> None:
        rest = memoryview(line)
        while rest:
            written = self._stream.write(rest)
            if written is None:  # a descriptor that somebody made non-blocking, and that is full
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            rest = rest[written:]
        self._stream.flush()

    def _cut_to(self, size: int) -> None:
        """Take back half a line."""
        if self._regular:
            with contextlib.suppress(OSError):
                os.truncate(self._stream.fileno(), size)


def _open_file(path: Path) -> IO[bytes]:
    if path.is_dir():
        raise UsageError(f"{path}: a folder, expected a file for JSON lines")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Appending neither empties the file nor leaves a gap after it was cut shorter; unbuffered, each
        # error shows at the line that it belongs to.
        return path.open("ab", buffering=0)
    except OSError as error:
        raise SinkError(f"{path}: cannot be opened for writing ({error.strerror or error})") from error


def _open_stdout() -> IO[bytes]:
    """Return standard output without a buffer, so that no half of a line is left for the interpreter's end to flush."""
    stream = sys.stdout
    try:
        stream.flush()
        return io.FileIO(stream.fileno(), "wb", closefd=False)
    except (AttributeError, ValueError) as error:
        # A stand-in without a descriptor, as in a notebook, has a buffer of bytes or is no output at all.
        buffer: IO[bytes] | None = getattr(stream, "buffer", None)
        if buffer is None or buffer.closed:
            raise SinkError("standard output is closed; write to a file instead") from error
        return buffer
    except OSError as error:
        raise SinkError(f"standard output: cannot be written ({error.strerror or error})") from error


def _is_regular_file(stream: IO[bytes]) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):
        return False
