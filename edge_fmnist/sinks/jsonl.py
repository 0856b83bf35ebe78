"""JSON Lines: one JSON object per result."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import secrets
import stat
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO

from edge_fmnist.data.files import advice, as_json
from edge_fmnist.errors import SinkClosedError, SinkError, UsageError
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.base import Sink
from edge_fmnist.sinks.formatting import rfc3339
from edge_fmnist.sources.base import Warn, log_warning

STDOUT = "-"
LINE_START = b'{"time": "'
# Rotated files that are kept, unless told otherwise.
KEPT_FILES = 5
# Bytes read at the beginning and at the end of an existing file to see whether it holds JSON Lines.
PROBE_BYTES = 1 << 20
# Minimum seconds between two syncs to disk: each wears an SD card.
SYNC_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class JsonLine:
    """A result as a line of JSON, with its line break, and the label of the result."""

    content: bytes
    label: str | None

    @property
    def nbytes(self) -> int:
        """Length of the line."""
        return len(self.content)


def json_line(result: LiveResult, run: str) -> JsonLine:
    """Return ``time`` (RFC 3339, UTC), ``run`` and ``result.as_dict()`` as a line of JSON."""
    facts = {"time": rfc3339(time.time()), "run": run, **result.as_dict()}
    return JsonLine(as_json(facts).encode() + b"\n", result.label)


def _without_links(path: Path) -> Path:
    """Return the file that a link names, so that it is renamed where it is; other things, such as pipes, as given."""
    target = Path(os.path.realpath(path))
    return target if target.is_file() or not path.exists() else path


def new_run_id() -> str:
    """Return a random name for a run, eight hexadecimal digits."""
    return secrets.token_hex(4)


class JsonLines(Sink):
    """Writes each result as one line of JSON, unbuffered.

    Lines are appended to a file of JSON Lines that exists; one with other content is refused. The file contains only
    complete lines at any time, even when the disk is full; the incomplete last line of a killed run is removed. When
    the file is renamed or deleted (logrotate), a new one is opened. A line with a new label is synced to disk, so that
    it is not lost with the power.
    """

    def __init__(
        self,
        target: str | Path,
        *,
        overwrite: bool = False,
        max_bytes: int | None = None,
        keep: int = KEPT_FILES,
        warn: Warn = log_warning,
    ) -> None:
        """Open the file; missing folders are created.

        Args:
            target: a path, or ``-`` for standard output.
            overwrite: whether to empty the file when the first result arrives, instead of appending.
            max_bytes: size at which the file is renamed to ``target.1``, and ``target.1`` to ``target.2``, and so on.
            keep: how many renamed files are kept.
            warn: receives a message about the removed end of a killed run's file.

        Raises:
            UsageError: the path is a folder, or a file that does not hold JSON Lines.
            SinkError: the file cannot be opened for writing.
        """
        self._path = None if str(target) == STDOUT else _without_links(Path(target))
        self._name = "standard output" if self._path is None else str(target)
        self._overwrite, self._max_bytes, self._keep = overwrite, max_bytes, keep
        self._run = new_run_id()
        self._lines = 0
        self._label: str | None = None
        self._changed = False
        self._synced_at = -SYNC_SECONDS
        self._warn = warn
        if self._path is None:
            self._stream = _open_stdout()
        else:
            older = [] if max_bytes is None else self._names(self._path)[1:]
            self._stream = _open_file(self._path, warn, older)
        self._regular = _is_regular_file(self._stream)

    def write(self, result: LiveResult | JsonLine) -> None:
        """Write one line.

        Raises:
            SinkClosedError: the reader of the pipe has closed it.
            SinkError: the line cannot be written, for example on a full disk; earlier lines stay.
        """
        line = json_line(result, self._run) if isinstance(result, LiveResult) else result
        size: int | None = None
        try:
            if self._regular:
                size = self._prepare_file(line.nbytes)
            self._write_all(line.content)
            self._sync(line.label)
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

    def reopen(self) -> None:
        """Open the file again by its path."""
        if self._path is not None and self._regular:
            self._stream.close()
            self._stream = _open_file(self._path, self._warn)

    def close(self) -> None:
        """Sync and close the file; standard output stays open.

        Raises:
            SinkError: a network file system could not store the lines.
        """
        try:
            if self._path is not None and not self._stream.closed:
                if self._regular and self._lines:
                    os.fsync(self._stream.fileno())
                self._stream.close()
        except OSError as error:
            raise SinkError(f"{self._name}: write failed ({error.strerror or error})") from error

    def _prepare_file(self, size: int) -> int:
        """Open the path again if it no longer leads to the open file, rotate, or empty it; return the file's size."""
        path = self._path
        if path is not None:
            try:
                in_place = os.path.samestat(path.stat(), os.fstat(self._stream.fileno()))
            except FileNotFoundError:
                in_place = False
            if not in_place:
                self.reopen()
            if self._overwrite and not self._lines:
                os.truncate(self._stream.fileno(), 0)
        before = os.fstat(self._stream.fileno()).st_size
        if path is None or self._max_bytes is None or not before or before + size <= self._max_bytes:
            return before
        self._rotate(path)
        return 0

    def _rotate(self, path: Path) -> None:
        """Rename the file to ``.1``, after ``.1`` to ``.2`` and so on; the last one is overwritten."""
        os.fsync(self._stream.fileno())
        for source, target in reversed(list(pairwise(self._names(path)))):
            with contextlib.suppress(FileNotFoundError):
                source.replace(target)
        path.unlink(missing_ok=True)
        self.reopen()

    def _names(self, path: Path) -> list[Path]:
        """Return the path of the file, and those of the renamed files, the newest first."""
        return [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, self._keep + 1))]

    def _sync(self, label: str | None) -> None:
        """Sync the file to disk after a label that differs from the previous one, at most once a second."""
        self._changed |= label != self._label
        self._label = label
        now = time.monotonic()
        if self._regular and self._changed and now - self._synced_at >= SYNC_SECONDS:
            self._changed, self._synced_at = False, now
            os.fsync(self._stream.fileno())

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


def _open_file(path: Path, warn: Warn, older: Iterable[Path] = ()) -> IO[bytes]:
    """Open a file to append to; ``older`` are names that it will get: free, or JSON Lines."""
    try:
        if path.is_dir():
            raise UsageError(f"{path}: expected a file for JSON Lines, got a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        for file in filter(Path.is_file, older):
            _check(file)
        if path.is_file():
            _repair(path, warn)
        # Append mode leaves no gap after the file was truncated. Without a buffer each error is raised by its line.
        return path.open("ab", buffering=0)
    except OSError as error:
        raise SinkError(f"{path}: cannot be opened for writing ({advice(error, path)})") from error


def _repair(path: Path, warn: Warn) -> None:
    """Complete or remove an unfinished last line, as a killed run or a power failure leaves it.

    Raises:
        UsageError: the file does not hold JSON Lines.
        OSError: it cannot be read or changed.
    """
    size, last = _check(path)
    if _is_object(last):
        with path.open("ab") as file:
            file.write(b"\n")
    elif last:
        os.truncate(path, size - len(last))
        warn(f"{path}: removed an incomplete last line ({len(last)} bytes), left by a run that was killed")


def _check(path: Path) -> tuple[int, bytes]:
    """Return the size of a file and its last line, empty if it is complete.

    Raises:
        UsageError: the file does not hold JSON Lines.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        first = file.readline(PROBE_BYTES)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - PROBE_BYTES))
        last = file.read().rpartition(b"\n")[2]
    # After a power failure, the end may consist of zeros.
    unfinished = not last.strip(b"\0") or last.startswith(b"{")
    ours = first.startswith(LINE_START) and (first == last or _is_object(first))
    if size and not ((ours or not first.strip(b"\0")) and (unfinished or _is_object(last))):
        raise UsageError(
            f"{path}: expected JSON Lines of this program or an empty file, got other content; choose another file"
        )
    return size, last


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


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
            state = (
                "closed" if getattr(stream, "closed", stream is None) else "replaced by an object that takes no bytes"
            )
            raise SinkError(f"standard output is {state}; write to a file instead") from error
        return buffer
    except OSError as error:
        raise SinkError(f"standard output: write failed ({error.strerror or error})") from error


def _is_regular_file(stream: IO[bytes]) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):
        return False
