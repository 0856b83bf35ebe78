"""The photographs to label: a folder, a glob, a text list, a table with a column of paths, or a location of a store."""

from __future__ import annotations

import csv
import glob
import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_fmnist import extras
from edge_fmnist.errors import SourceError, UsageError
from edge_fmnist.vision.picture_files import SUFFIXES, Warn, is_picture, log_warning
from edge_fmnist_export.bulk.files import filesystem, is_uri

TABLES = (".csv", ".tsv", ".parquet")
LISTS = (".txt", ".list", ".lst")
HEIF_SUFFIXES = frozenset((".heic", ".heif"))
# A list longer than this without a line break is not a list.
LONGEST_LINE = 64_000
PATH = "path"
# A path, and the values of the carried columns.
Photo = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True)
class PhotoSource:
    """Photographs with the columns that are carried through.

    Attributes:
        base: folder or URI that relative paths start from.
        rows: path and carried values of each photograph.
        columns: names of the carried columns.
        types: their Arrow types; None for text.
    """

    base: str
    rows: Iterable[Photo]
    columns: tuple[str, ...] = ()
    types: tuple[Any, ...] | None = None

    @classmethod
    def of(cls, base: str, paths: Iterable[str]) -> PhotoSource:
        """Return photographs without further columns."""
        return cls(base, ((path, ()) for path in paths))


def open_source(
    source: str, column: str | None = None, skip: str | None = None, warn: Warn = log_warning
) -> PhotoSource:
    """Return the photographs that an argument stands for.

    Args:
        source: a folder, searched with its subfolders; a glob; a text file with one path a line; a CSV, TSV or Parquet
            file; a picture; or a URI of a folder or of such a file.
        column: of a table: the column of paths; None takes ``path``.
        skip: a folder to leave out: the output.
        warn: receives what is left out.

    Raises:
        SourceError: it does not exist, cannot be read, or does not have that column.
        UsageError: a column for what is not a table, or a glob in a URI.
        MissingExtraError: a Parquet file or a URI, and pyarrow is not installed.
    """
    name = source.partition("?")[0] if is_uri(source) else source
    suffix = Path(name).suffix.lower()
    if column is not None and suffix not in TABLES:
        raise UsageError(f"--column is for CSV and Parquet files, not for {source}")
    if is_uri(source):
        return _at_uri(source, name, suffix, column)
    here = os.getcwd()  # noqa: PTH109
    if os.path.isdir(source):  # noqa: PTH112 - False for names that are too long
        return PhotoSource.of(here, _walk(source, skip, warn))
    if not os.path.isfile(source):  # noqa: PTH113
        if glob.has_magic(source):
            return PhotoSource.of(here, _matches(source))
        raise SourceError(f"{source}: no such file or folder")
    if suffix in TABLES or suffix in LISTS or not is_picture(source):
        folder = os.path.dirname(os.path.abspath(source))  # noqa: PTH100, PTH120
        return _in_file(lambda: open(source, "rb"), source, suffix, column, folder)  # noqa: PTH123
    return PhotoSource.of(here, [source])


def _walk(folder: str, skip: str | None, warn: Warn) -> Iterator[str]:
    """Yield the pictures in a folder and its subfolders, in the order of their names, hidden ones left out.

    Files with the suffix of a picture are not opened here; a damaged one gets a row later.
    """
    others = 0
    left_out = None if skip is None else os.path.realpath(skip)

    def refused(error: OSError) -> None:
        if error.filename == folder:
            raise SourceError(f"{folder}: cannot be read ({error.strerror or error})") from error
        warn(f"{error.filename}: folder skipped ({error.strerror or error})")

    for place, folders, names in os.walk(folder, onerror=refused):
        shown = sorted(name for name in folders if not name.startswith("."))
        folders[:] = [name for name in shown if os.path.realpath(os.path.join(place, name)) != left_out]  # noqa: PTH118
        for name in sorted(names):
            path = os.path.join(place, name)  # noqa: PTH118
            if name.startswith("."):
                continue
            if _promises_picture(name) or is_picture(path):
                yield path
            else:
                others += 1
    if others:
        warn(f"{folder}: {others} files skipped that are not pictures")


def _promises_picture(name: str) -> bool:
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
    return suffix in SUFFIXES or suffix in HEIF_SUFFIXES


def _matches(pattern: str) -> Iterator[str]:
    return (path for path in sorted(glob.iglob(pattern, recursive=True)) if os.path.isfile(path))  # noqa: PTH113, PTH207


def _at_uri(source: str, name: str, suffix: str, column: str | None) -> PhotoSource:
    system, path = filesystem(source)
    from pyarrow import fs

    try:
        kind = system.get_file_info(path).type
    except OSError as error:
        raise SourceError(f"{source}: cannot be reached ({error})") from error
    if kind == fs.FileType.NotFound:
        if glob.has_magic(name):
            raise UsageError(f"{source}: globs are for local files; give the folder, or a list")
        raise SourceError(f"{source}: no such file or folder")
    if kind == fs.FileType.Directory:
        start = name.rstrip("/")
        selector = fs.FileSelector(path, recursive=True)
        found = sorted(info.path for info in system.get_file_info(selector) if _is_photo(info, path))
        return PhotoSource.of(source, (start + each[len(path.rstrip("/")) :] for each in found))
    folder = name.rpartition("/")[0] + source[len(name) :]
    if suffix in TABLES or suffix in LISTS:
        return _in_file(lambda: system.open_input_file(path), source, suffix, column, folder)
    return PhotoSource.of(folder, [name])


def _is_photo(info: Any, root: str) -> bool:
    hidden = any(part.startswith(".") for part in info.path[len(root) :].split("/"))
    return info.is_file and not hidden and _promises_picture(info.base_name)


def _in_file(opened: Any, source: str, suffix: str, column: str | None, folder: str) -> PhotoSource:
    if suffix == ".parquet":
        return _parquet(opened, source, column, folder)
    if suffix in TABLES:
        return _csv(opened, source, column, folder)
    return PhotoSource.of(folder, _listed(opened, source))


def _listed(opened: Any, source: str) -> Iterator[str]:
    for line in _text(opened, source):
        if path := line.rstrip("\r\n"):
            if "\0" in path or len(path) > LONGEST_LINE:
                raise SourceError(f"{source}: expected a picture, a table or a text file with one path a line")
            yield path


def _text(opened: Any, source: str) -> Iterator[str]:
    """Yield the lines of a text file; bytes that are not UTF-8 become lone surrogates, as in file names."""
    try:
        binary = io.BufferedReader(opened())
        with io.TextIOWrapper(binary, "utf-8-sig", "surrogateescape", newline="") as text:
            yield from text
    except OSError as error:
        raise SourceError(f"{source}: cannot be read ({error.strerror or error})") from error


def _csv(opened: Any, source: str, column: str | None, folder: str) -> PhotoSource:
    heading = next(_text(opened, source), "")
    delimiter = max(",;\t", key=heading.count)
    columns = next(csv.reader([heading], delimiter=delimiter), [])
    position, carried = _columns(source, columns, column)

    def rows() -> Iterator[Photo]:
        table = csv.reader(_text(opened, source), delimiter=delimiter)
        try:
            next(table)
            for row in table:
                if row:
                    # Rows that are too short or too long are no reason to stop.
                    values = [*row, *[""] * (len(columns) - len(row))]
                    yield values[position], tuple(values[each] for each in carried)
        except csv.Error as error:
            raise SourceError(f"{source}: line {table.line_num}: {error}") from error

    return PhotoSource(folder, rows(), tuple(columns[each] for each in carried))


def _parquet(opened: Any, source: str, column: str | None, folder: str) -> PhotoSource:
    extras.require("bulk", "reading Parquet files")
    import pyarrow
    import pyarrow.parquet

    try:
        stream = opened()
        file = pyarrow.parquet.ParquetFile(stream)
    except (OSError, pyarrow.ArrowException) as error:
        raise SourceError(f"{source}: not a Parquet file that can be read ({error})") from error
    schema = file.schema_arrow
    position, carried = _columns(source, schema.names, column)
    kinds = pyarrow.types
    if not any(check(schema.types[position]) for check in (kinds.is_string, kinds.is_large_string, kinds.is_binary)):
        raise SourceError(f"{source}: expected paths in {schema.names[position]!r}, got {schema.types[position]}")

    def rows() -> Iterator[Photo]:
        with stream:
            for batch in file.iter_batches(1000):
                values = [batch.column(each).to_pylist() for each in carried]
                for path, *others in zip(batch.column(position).to_pylist(), *values, strict=True):
                    yield os.fsdecode(path or ""), tuple(others)

    names, types = (tuple(found[each] for each in carried) for found in (schema.names, schema.types))
    return PhotoSource(folder, rows(), names, types)


def _columns(source: str, columns: list[str], column: str | None) -> tuple[int, list[int]]:
    """Return the position of the paths and those of the other columns."""
    wanted = column or PATH
    if len(columns) != len(set(columns)):
        raise SourceError(f"{source}: two columns of the same name; expected different names")
    if wanted not in columns:
        raise SourceError(
            f"{source}: no column {wanted!r}; name the column of paths with --column (columns: {', '.join(columns)})"
        )
    position = columns.index(wanted)
    return position, [each for each in range(len(columns)) if each != position]
