"""Disk space checks for writers that do not report a full disk, such as OpenCV's video writer."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import tempfile
from pathlib import Path

from edge_fmnist.errors import SinkError

# Reserve for whatever else is written to the same disk between two checks.
RESERVE_BYTES = 16 << 20
# Largest file on FAT32, the file system of most USB sticks.
FAT_LIMIT = (4 << 30) - 1
# A static scene encodes to a few bytes per frame, which stay in the writer's buffer for a while. After this many
# frames without growth, a test write decides whether the disk is the cause.
FRAMES_BEFORE_TEST = 256
TEST_BYTES = 1 << 20


class DiskSpace:
    """Monitors a growing file: free disk space, file size limits, and whether it still grows."""

    def __init__(self, path: Path, name: str, max_bytes: int | None = None) -> None:
        """Monitor a file.

        Args:
            path: the file.
            name: its name in messages.
            max_bytes: size limit; None for the limit of the process (``ulimit -f``, ``LimitFSIZE=``) only.
        """
        self._path = path
        self._name = name
        process_limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        limits = [limit for limit in (max_bytes, process_limit) if limit not in (None, resource.RLIM_INFINITY)]
        self._limit = min(limits, default=None)
        self._size = 0
        self._frames_without_growth = 0

    def check(self, needed: int) -> None:
        """Check, before each frame, that another ``needed`` bytes can be written.

        Raises:
            SinkError: the disk is full, the file has reached its size limit, or it has stopped growing and cannot be
                written (quota exceeded, disk removed).
        """
        size = self._path.stat().st_size if self._path.exists() else 0
        if self._limit is not None and size + needed > self._limit:
            raise self._error(f"size limit reached ({self._limit >> 20} MiB)")
        try:
            free = shutil.disk_usage(self._path.parent).free
        except OSError as error:
            raise self._error(f"cannot read the free disk space ({error.strerror or error})") from error
        if free < needed + RESERVE_BYTES:
            required = (needed + RESERVE_BYTES) >> 20
            raise self._error(f"the disk is full ({free >> 20} MiB free, expected at least {required})")
        self._frames_without_growth = self._frames_without_growth + 1 if size == self._size else 0
        self._size = size
        if self._frames_without_growth < FRAMES_BEFORE_TEST:
            return
        self._frames_without_growth = 0
        try:
            if FAT_LIMIT - TEST_BYTES < size <= FAT_LIMIT:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            with tempfile.TemporaryFile(dir=self._path.parent) as test:
                test.write(bytes(TEST_BYTES))
        except OSError as error:
            raise self._error(f"no longer grows, at {size} bytes ({error.strerror or error})") from error

    def _error(self, problem: str) -> SinkError:
        return SinkError(f"{self._name}: {problem}; recorded frames are kept; free some space or choose another disk")
