"""How much more a file can take, for writers that do not report a full disk."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import tempfile
from pathlib import Path

from edge_fmnist.errors import SinkError

# For what else is written to the same disk between two looks.
FREE_BYTES = 16 << 20
# FAT, the file system of most USB sticks, takes no larger file.
FAT_LIMIT = (4 << 30) - 1
# A still scene gives frames of a few bytes, which gather in the writer's buffer before the file grows.
# After so many frames without growth a trial tells whether that is the cause.
FRAMES_BEFORE_TRIAL = 256
TRIAL_BYTES = 1 << 20


class Room:
    """Watches a file that grows: the disk under it, the limits on its size, and whether it grows at all."""

    def __init__(self, path: Path, name: str, largest: int | None = None) -> None:
        """Watch a file.

        Args:
            path: the file.
            name: what messages call it.
            largest: bytes that it may have; None where only the system sets a limit.
        """
        self._path = path
        self._name = name
        self._limit = _lower(largest, _process_limit())
        self._size = 0
        self._frames_without_growth = 0

    def check(self, needed: int) -> None:
        """Check that ``needed`` bytes more have room.

        Raises:
            SinkError: the disk is full, or the file as large as it may be.
        """
        if self._limit is not None and self._size + needed > self._limit:
            raise SinkError(
                f"{self._name}: as large as it may be ({self._limit >> 20} MiB); what is in it stays; "
                "start another file"
            )
        try:
            free = shutil.disk_usage(self._path.parent).free
        except OSError as error:
            raise SinkError(f"{self._name}: the disk does not answer ({error.strerror or error})") from error
        if free < needed + FREE_BYTES:
            raise SinkError(
                f"{self._name}: the disk is full ({free >> 20} MiB left, expected at least "
                f"{(needed + FREE_BYTES) >> 20}); what was saved before stays; make room and start again"
            )

    def after_frame(self) -> None:
        """Take note of the file's size after a frame.

        Raises:
            SinkError: the file has not grown for long and cannot: a quota is used up, the disk was taken away.
        """
        try:
            size = self._path.stat().st_size
        except OSError:
            size = 0
        if size > self._size:
            self._size, self._frames_without_growth = size, 0
            return
        self._frames_without_growth += 1
        if self._frames_without_growth % FRAMES_BEFORE_TRIAL == 0:
            self._try_disk()

    def _try_disk(self) -> None:
        try:
            if FAT_LIMIT - TRIAL_BYTES < self._size <= FAT_LIMIT:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            with tempfile.TemporaryFile(dir=self._path.parent) as trial:
                trial.write(bytes(TRIAL_BYTES))
        except OSError as error:
            raise SinkError(
                f"{self._name}: does not grow any more, at {self._size} bytes ({error.strerror or error}); "
                "what was saved before stays; make room and start again"
            ) from error


def _process_limit() -> int | None:
    """Return the largest file that this process may write, as ``ulimit -f`` and ``LimitFSIZE=`` set it."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def _lower(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)
