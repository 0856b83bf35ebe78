"""Write files atomically: a reader never sees half of one."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def moved_into_place(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it when the block succeeds.

    If the block raises, the temporary file is removed and ``path`` is unchanged.

    Raises:
        OSError: the folder cannot be created or written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp creates private files; these are the permissions of open().
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` through a temporary file."""
    with moved_into_place(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8 through a temporary file."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` to ``path`` as indented JSON through a temporary file."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def advice(error: OSError, path: Path) -> str:
    """Return why a file cannot be read or written, and what to do about it where that is known."""
    reason = error.strerror or str(error)
    if error.errno in (errno.EACCES, errno.EPERM):
        path = path.absolute()
        closed = next((each for each in (path, *path.parents) if os.path.lexists(each)), path)
        return f"{reason}: choose another path, or give this user access to {closed}"
    if error.errno == errno.EROFS:
        return f"{reason}: choose another path"
    return f"{reason}: free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else reason


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
