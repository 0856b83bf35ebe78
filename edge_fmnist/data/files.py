"""Write files atomically, so that a reader never sees half of one, and read TOML."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from edge_fmnist.errors import SinkError, UsageError

# A larger file is not one of settings, or a device without an end.
MAX_TOML_BYTES = 1 << 20
# Of the name and the suffix in that of a temporary file; file systems allow 255.
NAME_BYTES, SUFFIX_BYTES = 200, 20
_UMASK = threading.Lock()


@contextlib.contextmanager
def moved_into_place(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it when the block succeeds.

    If the block raises, the temporary file is removed and ``path`` is unchanged. A symbolic link stays one.

    Raises:
        OSError: the folder cannot be created or written to, or ``path`` is a device or another special file.
    """
    path = path.resolve() if path.is_symlink() else path
    if is_special(path):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = os.fsdecode(os.fsencode(path.name)[:NAME_BYTES])
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= SUFFIX_BYTES else ""
    handle, name = tempfile.mkstemp(prefix=f".{prefix}.", suffix=suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp creates private files; these are the permissions that open() would leave.
        temporary.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        # A full disk names no file.
        error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def is_special(path: str | Path) -> bool:
    """Return whether a path is neither a regular file nor a folder: a device or a pipe; False if it does not exist."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - also a path of any bytes
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` through a temporary file."""
    with moved_into_place(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8 (see :func:`as_utf8`) through a temporary file."""
    write_bytes(path, as_utf8(text).encode())


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` to ``path`` as indented JSON through a temporary file."""
    write_text(path, as_json(value, indent=2) + "\n")


def as_json(value: Any, indent: int | None = None) -> str:
    """Return JSON that every reader accepts: invalid Unicode, as in some file names, is escaped by :func:`as_utf8`."""
    return json.dumps(as_utf8(value), indent=indent)


def as_utf8(value: Any) -> Any:
    r"""Return plain values whose text UTF-8 can hold: bytes of a file name that are not become ``\xff``."""
    if isinstance(value, str) and not value.isascii():
        try:
            data = value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            data = value.encode("utf-8", "backslashreplace")
        return data.decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {as_utf8(key): as_utf8(each) for key, each in value.items()}
    if isinstance(value, tuple):
        # Entries of maps in Parquet files have to be tuples.
        return tuple(map(as_utf8, value))
    return list(map(as_utf8, value)) if isinstance(value, list) else value


def has_key(path: Path, key: str) -> bool:
    """Return whether a JSON file holds an object with a key."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, RecursionError, ValueError):
        return False
    return isinstance(found, dict) and key in found


def check_replaceable(folder: Path, files: Iterable[str], mark: str, key: str) -> None:
    """Check that files to be written to a folder replace none but earlier results.

    Earlier results have the JSON file ``mark``, with an object that has ``key``.

    Raises:
        UsageError: a file of somebody else has one of the names.
    """
    taken = [name for name in files if (folder / name).exists()]
    if taken and not has_key(folder / mark, key):
        raise UsageError(
            f"{folder}: holds other files ({taken[0]}); expected an empty folder, or one with earlier results"
        )


def check_outputs(files: Iterable[Path] = (), folders: Iterable[Path] = ()) -> None:
    """Check that results can be written, before minutes are spent on them; creates the folders.

    Raises:
        UsageError: a file is a folder, or a folder is a file.
        SinkError: a folder cannot be written to.
    """
    files, folders = list(files), list(folders)
    for path in (*files, *folders):
        try:
            path.lstat()
        except ValueError as error:
            raise UsageError(f"{str(path)!r}: cannot be the name of a file ({error})") from error
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise UsageError(f"{path}: too long for the name of a file or folder") from error
    for file in files:
        if file.is_dir():
            raise UsageError(f"{file}: expected a file to write to, this is a folder")
    for folder in folders:
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder}: expected a folder to write to, this is a file")
    for folder in {*(file.parent for file in files), *folders}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise SinkError(f"{folder}: cannot write to this folder ({advice(error, folder)})") from error


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


def read_toml(path: Path) -> dict[str, Any]:
    """Return the contents of a TOML file.

    Raises:
        UsageError: it does not exist, cannot be read, or is not TOML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_TOML_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: the settings cannot be read ({advice(error, path)})") from error
    if len(content) > MAX_TOML_BYTES:
        raise UsageError(f"{path}: expected settings in TOML, got a file of more than {MAX_TOML_BYTES >> 20} MiB")
    try:
        # Editors on Windows put a byte-order mark first.
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: expected text in UTF-8, got the byte {content[error.start]:#04x}") from error
    return parse_toml(text, str(path))


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """Return the values in a TOML text; ``where`` names it in messages.

    Raises:
        UsageError: not TOML, or more than Python's parser takes.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise UsageError(f"{where}: not valid settings: nested too deeply") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where}: not valid TOML: {error}") from error
    except ValueError as error:
        # Python's limit on the digits of an integer.
        raise UsageError(f"{where}: not valid settings: an integer with too many digits") from error


def _umask() -> int:
    with _UMASK:
        # It can only be read by setting it. A file that another thread creates meanwhile is private.
        mask = os.umask(0o077)
        os.umask(mask)
    return mask
