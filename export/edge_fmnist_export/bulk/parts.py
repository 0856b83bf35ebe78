"""The files of a job: the manifest, which lists the photographs by partition, and one part for each partition.

Parquet with pyarrow, else JSON lines. Paths are kept as bytes in the manifest: names of files need not be text.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import Any

from edge_fmnist.errors import SinkError
from edge_fmnist_export.bulk.files import Folder
from edge_fmnist_export.bulk.sources import Photo, PhotoSource

Row = dict[str, Any]

# Photographs in a row group of the manifest; a partition is one or several of them.
LEAST_PARTITION, LARGEST_PARTITION = 250, 5000
MOST_PARTITIONS = 20_000
PART = re.compile(r"part-(\d{6,})\.(parquet|jsonl)")
COLUMNS = (
    "id", "path", "status", "answer", "label", "score", "top", "confidence", "width", "height", "model_sha256", "error"
)  # fmt: skip
# Carried columns of the same name as one of the results get this prefix.
PREFIX = "source_"


@dataclass(frozen=True)
class Chunk:
    """Photographs that follow each other in the manifest.

    Attributes:
        first: the number of the first one.
        photos: their paths, as the source has them, and their values of the carried columns.
    """

    first: int
    photos: list[Photo]

    def __len__(self) -> int:
        return len(self.photos)

    @property
    def paths(self) -> list[str]:
        """The paths."""
        return [path for path, _ in self.photos]

    def halves(self) -> tuple[Chunk, Chunk]:
        """Return the first and the second half."""
        middle = len(self) // 2
        return Chunk(self.first, self.photos[:middle]), Chunk(self.first + middle, self.photos[middle:])


@dataclass(frozen=True)
class Layout:
    """How the files of a job are written.

    Attributes:
        parquet: Parquet or JSON lines.
        columns: names of the carried columns, as in the parts.
        schema: Arrow schema of the carried columns, serialized; None for JSON lines.
    """

    parquet: bool
    columns: tuple[str, ...] = ()
    schema: bytes | None = None

    @classmethod
    def of(cls, source: PhotoSource, parquet: bool) -> Layout:
        """Return the layout for a source."""
        taken = {*COLUMNS, *source.columns}
        columns = tuple(_renamed(name, taken) if name in COLUMNS else name for name in source.columns)
        if not parquet:
            return cls(False, columns)
        import pyarrow

        types = source.types or (pyarrow.string(),) * len(columns)
        schema = pyarrow.schema(list(zip(columns, types, strict=True)))
        return cls(True, columns, schema.serialize().to_pybytes())

    @classmethod
    def of_manifest(cls, folder: Folder, parquet: bool, columns: tuple[str, ...]) -> Layout:
        """Return the layout of a job that was planned before."""
        if not parquet:
            return cls(False, columns)
        import pyarrow.parquet

        with folder.open(cls(True).manifest) as stream:
            schema = pyarrow.parquet.read_schema(stream)
        return cls(True, columns, schema.remove(0).serialize().to_pybytes())

    @property
    def suffix(self) -> str:
        """The suffix of the files."""
        return "parquet" if self.parquet else "jsonl"

    @property
    def manifest(self) -> str:
        """The name of the manifest."""
        return f"manifest.{self.suffix}"

    def part(self, partition: int) -> str:
        """Return the name of a part."""
        return f"part-{partition:06d}.{self.suffix}"

    def carried_fields(self) -> list[Any]:
        """Return the Arrow fields of the carried columns."""
        import pyarrow

        return list(pyarrow.ipc.read_schema(pyarrow.py_buffer(self.schema)))

    @contextlib.contextmanager
    def manifest_writer(self, stream: Any) -> Iterator[Callable[[list[Photo]], None]]:
        """Yield a function that writes a group of photographs: a row group, or a line of JSON."""
        if not self.parquet:
            yield lambda group: stream.write(json.dumps(group).encode() + b"\n")
            return
        import pyarrow
        import pyarrow.parquet

        schema = pyarrow.schema([pyarrow.field("path", pyarrow.binary()), *self.carried_fields()])
        with pyarrow.parquet.ParquetWriter(stream, schema, compression="zstd") as writer:

            def write(group: list[Photo]) -> None:
                columns = zip(*((os.fsencode(path), *values) for path, values in group), strict=True)
                arrays = [pyarrow.array(each, field.type) for each, field in zip(columns, schema, strict=True)]
                writer.write_table(pyarrow.table(arrays, schema=schema), row_group_size=len(group))

            yield write


def _renamed(name: str, taken: set[str]) -> str:
    while name in taken:
        name = f"{PREFIX}{name}"
    return name


def printable(text: str) -> str:
    r"""Return text as UTF-8 can hold it: bytes of a file name that are not UTF-8 become ``\xff``."""
    return text if text.isascii() else os.fsencode(text).decode("utf-8", "backslashreplace")


def _printable_value(value: Any) -> Any:
    return printable(value) if isinstance(value, str) else value


def write_manifest(folder: Folder, layout: Layout, source: PhotoSource, group: int, limit: int | None) -> int:
    """Write the manifest without holding it in memory, and return the number of photographs; 0 writes none."""
    photos = ((path, tuple(map(_printable_value, values))) for path, values in islice(source.rows, limit))
    batch = list(islice(photos, group))
    if not batch:
        return 0
    count = 0
    with folder.create(layout.manifest) as stream, layout.manifest_writer(stream) as write:
        while batch:
            write(batch)
            count += len(batch)
            batch = list(islice(photos, group))
    return count


class Manifest:
    """The written manifest, read one partition at a time."""

    def __init__(self, folder: Folder, layout: Layout, group: int, size: int) -> None:
        """Open it; a partition of ``size`` photographs is ``size // group`` groups of the file."""
        self._group, self._each = group, size // group
        self._stream = folder.open(layout.manifest)
        self._groups: int
        self._file: Any = None
        if layout.parquet:
            import pyarrow.parquet

            self._file = pyarrow.parquet.ParquetFile(self._stream)
            self._groups = self._file.num_row_groups
        else:
            self._offsets = list(accumulate(map(len, self._stream), initial=0))
            self._groups = len(self._offsets) - 1

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def __len__(self) -> int:
        """Return the number of partitions."""
        return -(-self._groups // self._each)

    def chunk(self, partition: int) -> Chunk:
        """Return the photographs of a partition."""
        first = partition * self._each
        groups = range(first, min(first + self._each, self._groups))
        return Chunk(first * self._group, [photo for group in groups for photo in self._read(group)])

    def _read(self, group: int) -> list[Photo]:
        if self._file is None:
            self._stream.seek(self._offsets[group])
            return [(path, tuple(values)) for path, values in json.loads(self._stream.readline())]
        columns = (column.to_pylist() for column in self._file.read_row_group(group).columns)
        return [(os.fsdecode(path), tuple(values)) for path, *values in zip(*columns, strict=True)]


def write_part(folder: Folder, layout: Layout, partition: int, rows: list[Row], chunk: Chunk) -> None:
    """Write the part of a partition.

    Raises:
        SinkError: it cannot be written.
    """
    name = layout.part(partition)
    rows = [
        row | dict(zip(layout.columns, values, strict=True))
        for row, (_, values) in zip(rows, chunk.photos, strict=True)
    ]
    try:
        folder.write(name, _parquet_part(layout, rows) if layout.parquet else _json_part(rows))
    except OSError as error:
        raise SinkError(f"{name}: cannot be written ({error.strerror or error})") from error


def _json_part(rows: list[Row]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def _parquet_part(layout: Layout, rows: list[Row]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    text, number, size = pyarrow.string(), pyarrow.float64(), pyarrow.int32()
    top = pyarrow.list_(pyarrow.struct([("label", text), ("score", number)]))
    kinds = {"id": pyarrow.int64(), "score": number, "top": top, "confidence": number, "width": size, "height": size}
    results = [pyarrow.field(name, kinds.get(name, text)) for name in COLUMNS]
    table = pyarrow.Table.from_pylist(rows, pyarrow.schema([*results, *layout.carried_fields()]))
    stream = io.BytesIO()
    pyarrow.parquet.write_table(table, stream, compression="zstd")
    return stream.getvalue()


def read_counts(folder: Folder, layout: Layout, partition: int) -> Counter[tuple[str, str | None]]:
    """Return the number of photographs of a part by status and answer."""
    data = io.BytesIO(folder.read(layout.part(partition)))
    if not layout.parquet:
        return Counter((row["status"], row["answer"]) for row in map(json.loads, data))
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(data, columns=["status", "answer"])
    return Counter(zip(*(column.to_pylist() for column in table.columns), strict=True))


def finished_parts(folder: Folder, layout: Layout) -> set[int]:
    """Return the partitions that have a part."""
    matches = (PART.fullmatch(name) for name in folder.names())
    return {int(match[1]) for match in matches if match and match[2] == layout.suffix}
