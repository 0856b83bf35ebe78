"""The photographs to label: a folder, a glob, a text list, a table with a column of paths, or a location of a store."""

from __future__ import annotations

import codecs
import csv
import glob
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from edge_fmnist import extras
from edge_fmnist.data.files import is_special
from edge_fmnist.errors import SourceError, UsageError
from edge_fmnist.vision.picture_files import SUFFIXES, Warn, identify_file, is_picture, matches, walk
from edge_fmnist_export.bulk.files import filesystem, is_uri, local_path

TABLES = (".csv", ".tsv", ".parquet")
LISTS = (".txt", ".list", ".lst")
JSON = (".json", ".jsonl", ".ndjson")
PICTURES = (*SUFFIXES, ".heic", ".heif")
# A list longer than this without a line break is not a list.
LONGEST_LINE = 64_000
EXPECTED = "expected a picture, a table or a text file with one path a line"
# A byte that is not UTF-8, as Python has it in text.
FOREIGN = re.compile("[\udc80-\udcff]")
# Names in the heading of a CSV file that may contain delimiters.
QUOTED = re.compile(r'"[^"]*"')
SEPARATOR = re.compile('"?sep=(.)"?')
# Arrow types of a column of paths.
PATH_TYPES = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")
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


def open_source(source: str, column: str | None, skip: str | None, warn: Warn) -> PhotoSource:
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
    source = local_path(source)
    name = source.partition("?")[0] if is_uri(source) else source
    suffix = Path(name).suffix.lower()
    if column is not None and (suffix not in TABLES or os.path.isdir(source)):  # noqa: PTH112
        raise UsageError(f"--column is for CSV and Parquet files, not for {source}")
    if is_uri(source):
        return _at_uri(source, name, suffix, column, warn)
    if os.path.isdir(source):  # noqa: PTH112 - False for names that are too long
        return _pictures(os.getcwd(), _walk(source, skip, warn))  # noqa: PTH109
    if os.path.isfile(source):  # noqa: PTH113
        if suffix not in TABLES + LISTS:
            if is_picture(source):
                return _pictures(os.getcwd(), [source])  # noqa: PTH109
            if kind := identify_file(source):
                raise SourceError(f"{source}: {kind}; {EXPECTED}")
        folder = os.path.dirname(os.path.abspath(source))  # noqa: PTH100, PTH120
        return _in_file(lambda: open(source, "rb"), source, suffix, column, folder, warn)  # noqa: PTH123
    if glob.has_magic(source):
        return _pictures(os.getcwd(), filter(os.path.isfile, sorted(matches(source))))  # noqa: PTH109
    if is_special(source):
        raise SourceError(f"{source}: expected a folder or a regular file")
    raise SourceError(f"{source}: no such file or folder")


def _pictures(base: str, paths: Iterable[str]) -> PhotoSource:
    return PhotoSource(base, ((path, ()) for path in paths))


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

    for place, folders, names in walk(folder, refused):
        shown = sorted(name for name in folders if not name.startswith("."))
        folders[:] = [name for name in shown if os.path.realpath(os.path.join(place, name)) != left_out]  # noqa: PTH118
        for name in sorted(names):
            path = os.path.join(place, name)  # noqa: PTH118
            if name.startswith("."):
                continue
            if name.lower().endswith(PICTURES) or is_picture(path):
                yield path
            else:
                others += 1
    if others:
        warn(f"{folder}: {others} files skipped that are not pictures")


def _at_uri(source: str, name: str, suffix: str, column: str | None, warn: Warn) -> PhotoSource:
    system, path = filesystem(source)
    query = source[len(name) :]
    # As the store names it: a URI may have %20 for a space.
    name = f"{'/'.join(name.split('/')[:3])}/{path.partition('/')[2]}".rstrip("/")
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
        found = system.get_file_info(fs.FileSelector(path, recursive=True))
        below = sorted(info.path[len(path.rstrip("/")) :] for info in found if info.is_file)
        shown = [each for each in below if "/." not in each]
        pictures = [each for each in shown if each.lower().endswith(PICTURES)]
        if others := len(shown) - len(pictures):
            warn(f"{source}: {others} files skipped whose names do not end as those of pictures")
        return _pictures(name + query, (name + each for each in pictures))
    folder = name.rpartition("/")[0] + query
    if suffix in TABLES + LISTS:
        return _in_file(lambda: system.open_input_file(path), source, suffix, column, folder, warn)
    return _pictures(folder, [name])


def _in_file(
    opened: Callable[[], Any], source: str, suffix: str, column: str | None, folder: str, warn: Warn
) -> PhotoSource:
    """Return the photographs of a list or table, whose relative paths start from its folder."""
    if suffix in JSON:
        raise SourceError(f"{source}: JSON is not read; expected a text file with one path a line, CSV or Parquet")
    if suffix not in TABLES:
        return _pictures(folder, _listed(opened, source))
    types: list[Any] | None = None
    rows: Iterator[Sequence[Any]]
    if suffix == ".parquet":
        schema, rows = _parquet(opened, source)
        names, types = schema.names, schema.types
    else:
        rows = _csv_rows(opened, source, suffix, warn)
        names = next(rows, ())
    if len(names) != len(set(names)):
        raise SourceError(f"{source}: two columns of the same name; expected different names")
    wanted = column or "path"
    if wanted not in names:
        raise SourceError(
            f"{source}: no column {wanted!r}; name the column of paths with --column (columns: {', '.join(names)})"
        )
    position = names.index(wanted)
    # The categories of pandas are a dictionary.
    kind = types and (types[position].value_type if hasattr(types[position], "index_type") else types[position])
    if types and str(kind) not in PATH_TYPES:
        raise SourceError(f"{source}: expected paths in {wanted!r}, got {types[position]}")

    def others(values: Sequence[Any]) -> tuple[Any, ...]:
        return (*values[:position], *values[position + 1 :])

    photos = ((os.fsdecode(row[position] or ""), others(row)) for row in rows)
    return PhotoSource(folder, photos, others(names), None if types is None else others(types))


def _parquet(opened: Callable[[], Any], source: str) -> tuple[Any, Iterator[Sequence[Any]]]:
    """Return the Arrow schema and the rows of a Parquet file."""
    extras.require("bulk", "reading Parquet files")
    import pyarrow
    import pyarrow.parquet

    try:
        stream = opened()
        file = pyarrow.parquet.ParquetFile(stream)
    except (OSError, pyarrow.ArrowException) as error:
        raise SourceError(f"{source}: not a Parquet file that can be read ({error})") from error

    def rows() -> Iterator[Sequence[Any]]:
        try:
            with stream:
                for batch in file.iter_batches(1000):
                    yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
        except (OSError, OverflowError, ValueError, pyarrow.ArrowException) as error:
            raise SourceError(f"{source}: a value that cannot be carried through ({error})") from error

    return file.schema_arrow, rows()


def _listed(opened: Callable[[], Any], source: str) -> Iterator[str]:
    for line in _lines(opened, source):
        if path := line.rstrip("\r\n"):
            if "\0" in path or len(path) > LONGEST_LINE:
                raise SourceError(f"{source}: {EXPECTED}")
            yield path


def _lines(opened: Callable[[], Any], source: str) -> Iterator[str]:
    """Yield the lines of a text file; bytes that are not UTF-8 become lone surrogates, as in file names."""
    try:
        with io.BufferedReader(opened()) as binary:
            if binary.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                raise SourceError(f"{source}: is UTF-16; expected UTF-8, in Excel: CSV UTF-8")
            with io.TextIOWrapper(binary, "utf-8-sig", "surrogateescape", newline="") as text:
                yield from text
    except OSError as error:
        raise SourceError(f"{source}: cannot be read ({error.strerror or error})") from error


def _csv_rows(opened: Callable[[], Any], source: str, suffix: str, warn: Warn) -> Iterator[Sequence[str]]:
    """Yield the heading, then the rows; a warning tells how many have more cells, or letters that are not UTF-8."""
    lines = _lines(opened, source)
    first: list[str] = []
    stated = ""
    # The heading, after blank lines and Excel's line with the delimiter.
    for line in lines:
        if found := SEPARATOR.fullmatch(line.strip("\r\n")):
            stated = found[1]
            first.append("\n")
            continue
        first.append(line)
        if line.strip("\r\n"):
            break
    names = QUOTED.sub("", "".join(first))
    delimiter = stated or ("\t" if suffix == ".tsv" else max(",;\t", key=names.count))
    # Strict: a quote that is not closed would swallow the rows after it.
    table = csv.reader(chain(first, lines), delimiter=delimiter, strict=True)
    width, longer, foreign = 0, 0, 0
    try:
        for row in filter(None, table):
            # Several empty names at the end of the heading are of empty columns.
            unnamed = next((i for i, name in enumerate(reversed(row)) if name), 0)
            width = width or len(row) - (unnamed if unnamed > 1 else 0)
            longer += any(row[width:])
            foreign += FOREIGN.search("".join(row)) is not None
            yield [*row, *[""] * (width - len(row))][:width]
    except csv.Error as error:
        raise SourceError(f"{source}: line {table.line_num}: {error}") from error
    finally:
        if longer:
            warn(f"{source}: {longer} rows have more cells than the heading, and the rest is dropped; quote such cells")
        if foreign:
            warn(f"{source}: {foreign} lines are not UTF-8; except in paths, such letters become \\x and two digits")
