"""Where photographs are read from and parts are written to: local folders, or object stores through pyarrow."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from edge_fmnist import extras
from edge_fmnist.data.files import is_special, moved_into_place
from edge_fmnist.errors import EdgeFmnistError, RunError, SourceError, UsageError
from edge_fmnist.vision.read_image import MAX_BYTES, read_bytes, read_limited

# Reads at once from an object store, whose latency is tens of milliseconds.
READ_THREADS = 16


def is_uri(name: str) -> bool:
    """Return whether a name is a URI such as ``s3://bucket/folder``."""
    return "://" in name


def local_path(source: str) -> str:
    """Return the path of a ``file://`` URI; other sources are returned as they are.

    Raises:
        UsageError: a URI of another host, without a path, or with NUL in it.
    """
    if not source.startswith("file://"):
        return source
    host, slash, path = source.removeprefix("file://").partition("/")
    if host not in ("", "localhost") or not path:
        raise UsageError(f"{source}: expected file:///PATH")
    local = unquote(slash + path, errors="surrogateescape")
    if "\0" in local:
        raise UsageError(f"{source}: expected a path without NUL")
    return local


@functools.cache
def filesystem(uri: str) -> tuple[Any, str]:
    """Return the file system of a URI and the path on it.

    Raises:
        MissingExtraError: pyarrow is not installed.
        SourceError: an unknown kind of URI, or a file system that cannot be reached.
    """
    extras.require("bulk", f"reading {urlsplit(uri).scheme}:// locations")
    from pyarrow import fs

    try:
        found: tuple[Any, str] = fs.FileSystem.from_uri(uri)
    except (OSError, ValueError, NotImplementedError) as error:
        raise SourceError(f"{uri}: {error}; expected s3://, gs:// or file://") from error
    return found


def check_source(source: str, base: str, path: str) -> None:
    """Check that the folder that a photograph was found in, or its store, is still there.

    Raises:
        RunError: the folder is gone, as one that is no longer mounted, or the store cannot be reached.
    """
    place, effect = local_path(source), "so that none of its photographs can be read"
    if is_uri(place):
        system, name = filesystem(place)
        try:
            system.get_file_info(name)
        except OSError as error:
            raise RunError(f"{source}: {error}, {effect}") from error
    elif path.startswith(os.path.join(place, "")):  # noqa: PTH118 - else it is of a list or a glob
        folder = Path(base, place)
        # Where nothing is mounted, an empty folder is left.
        if not (folder.is_dir() and any(not each.name.startswith(".") for each in folder.iterdir())):
            raise RunError(f"{source}: not there any more, {effect}")


def read_photos(paths: Sequence[str], base: str) -> Iterator[bytes | EdgeFmnistError]:
    """Yield the content of each photograph, or its error; relative paths start from a base, a path or URI."""
    base = local_path(base)
    folder, _, query = base.partition("?") if is_uri(base) else (base, "", "")
    read = functools.partial(_read, folder=folder, query=query)
    if not is_uri(folder) and not any(map(is_uri, paths[:1])):
        yield from map(read, paths)
        return
    # Object stores are read ahead.
    ahead: deque[Future[bytes | EdgeFmnistError]] = deque()
    with ThreadPoolExecutor(READ_THREADS) as threads:
        for path in paths:
            if len(ahead) == READ_THREADS:
                yield ahead.popleft().result()
            ahead.append(threads.submit(read, path))
        yield from (future.result() for future in ahead)


def _read(path: str, folder: str, query: str) -> bytes | EdgeFmnistError:
    try:
        path = local_path(path)
        location = path if is_uri(path) else os.path.join(folder, path)  # noqa: PTH118 - a path of any bytes
        if not is_uri(location):
            if is_special(location):
                # Reading from a pipe may wait forever.
                raise SourceError(f"{path}: not a regular file")
            return read_bytes(location)[0]
        # Settings of a store, such as its region, are in the query of the source's URI.
        same_store = location.split("/")[:3] == folder.split("/")[:3]
        # Each read of an object store is a request.
        return read_limited(lambda: _opened(location, query if same_store else ""), path, MAX_BYTES)
    except EdgeFmnistError as error:
        return error


def _opened(uri: str, query: str) -> Any:
    scheme, _, rest = uri.partition("://")
    host, _, name = rest.partition("/")
    # Cached for each host, not for each photograph.
    system, start = filesystem(f"{scheme}://{host}{query and f'?{query}'}")
    return system.open_input_stream(f"{start.rstrip('/')}/{name}")


class Folder:
    """The output folder, local or mounted by all machines of a cluster; a file in it is complete or not there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> list[str]:
        """Return the names of the files in it; none if it does not exist."""
        return sorted(os.listdir(self._path)) if self._path.is_dir() else []  # noqa: PTH208 - names, not paths

    def open(self, name: str) -> Any:
        """Return an open binary file."""
        return (self._path / name).open("rb")

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[Any]:
        """Yield a binary file to write to; it gets its name when the block succeeds, and is synced before."""
        path = self._path / name
        try:
            with moved_into_place(path) as temporary, temporary.open("wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            # A full disk has no file name.
            error.filename = error.filename or str(path)
            raise

    def remove(self, name: str) -> None:
        """Delete a file."""
        (self._path / name).unlink(missing_ok=True)

    def rename(self, name: str, new: str) -> None:
        """Give a file another name."""
        (self._path / name).replace(self._path / new)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out of the folder, which is created, by a lock on it; removed again if it stays empty.

        Raises:
            UsageError: another run has the lock.
        """
        with contextlib.ExitStack() as opened:
            # A network file system may have no locks; that the folder cannot be written to shows later.
            with contextlib.suppress(OSError):
                if not self._path.exists():
                    self._path.mkdir(parents=True)
                    opened.callback(_remove_empty, self._path)
                folder = os.open(self._path, os.O_RDONLY)
                opened.callback(os.close, folder)
                try:
                    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise UsageError(f"{self._path}: another run writes to this folder; wait until it ends") from error
            yield

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        with self.open(name) as stream:
            return bytes(stream.read())

    def write(self, name: str, data: bytes) -> None:
        """Write a file, in the place of one of that name."""
        with self.create(name) as stream:
            stream.write(data)


class RemoteFolder(Folder):
    """A folder on a file system of pyarrow, whose files appear when they are closed: an object store."""

    def __init__(self, system: Any, path: str) -> None:
        self._system, self._root = system, path.rstrip("/")

    def names(self) -> list[str]:
        """Return the names of the files in it; none if it does not exist."""
        from pyarrow import fs

        found = self._system.get_file_info(fs.FileSelector(self._root, allow_not_found=True))
        return sorted(info.base_name for info in found)

    def open(self, name: str) -> Any:
        """Return an open binary file."""
        return self._system.open_input_file(f"{self._root}/{name}")

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[Any]:
        """Yield a binary file to write to."""
        with self._system.open_output_stream(f"{self._root}/{name}") as stream:
            yield stream

    def remove(self, name: str) -> None:
        """Delete a file."""
        self._system.delete_file(f"{self._root}/{name}")

    def rename(self, name: str, new: str) -> None:
        """Give a file another name."""
        self._system.move(f"{self._root}/{name}", f"{self._root}/{new}")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Do nothing: object stores have no locks."""
        yield


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def open_folder(output: str) -> Folder:
    """Return an output folder by path or URI.

    Raises:
        MissingExtraError: a URI, and pyarrow is not installed.
        SourceError: a URI of an unknown kind.
    """
    if not is_uri(output):
        return Folder(Path(output))
    system, path = filesystem(output)
    return Folder(Path(path)) if system.type_name == "local" else RemoteFolder(system, path)
