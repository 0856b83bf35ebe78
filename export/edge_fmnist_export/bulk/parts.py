"""The files of a job: the manifest, which lists the photographs by partition, and one part for each partition.

Parquet with pyarrow, else JSON lines. Paths are kept as bytes in the manifest: names of files need not be text.
"""

from __future__ import annotations

import io
import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from edge_fmnist.errors import SinkError
from edge_fmnist_export.bulk.files import Folder
from edge_fmnist_export.bulk.sources import Source

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
        paths: as the source has them.
        carried: their values of the carried columns.
    """

    first: int
    paths: list[str]
    carried: list[tuple[Any, ...]]

    def __len__(self) -> int:
        return len(self.paths)

    def halves(self) -> tuple[Chunk, Chunk]:
        """Return the first and the second half."""
        middle = len(self) // 2
        first = replace(self, paths=self.paths[:middle], carried=self.carried[:middle])
        return first, Chunk(self.first + middle, self.paths[middle:], self.carried[middle:])


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
    def of(cls, source: Source, parquet: bool) -> Layout:
        """Return the layout for a source."""
        columns = tuple(f"{PREFIX}{name}" if name in COLUMNS else name for name in source.columns)
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


def printable(text: str) -> str:
    r"""Return text as UTF-8 can hold it: bytes of a file name that are not UTF-8 become ``\xff``."""
    return text if text.isascii() else os.fsencode(text).decode("utf-8", "backslashreplace")


def _clean(values: Iterable[Any]) -> list[Any]:
    return [printable(value) if isinstance(value, str) else value for value in values]


def write_manifest(folder: Folder, layout: Layout, source: Source, group: int, limit: int | None) -> int:
    """Write the manifest, without holding it in memory, and return the number of photographs."""
    rows = islice(iter(source.rows), limit)
    count = 0
    with tempfile.TemporaryDirectory(prefix="edge-fmnist-") as place:
        draft = Path(place) / layout.manifest
        with _ManifestWriter(draft, layout) as writer:
            while batch := list(islice(rows, group)):
                writer.write(batch)
                count += len(batch)
        if count:
            folder.take(layout.manifest, draft)
    return count


class _ManifestWriter:
    """Writes groups of photographs: row groups, or lines of JSON."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self._layout = layout
        if layout.parquet:
            import pyarrow
            import pyarrow.parquet

            self._schema = pyarrow.schema([pyarrow.field("path", pyarrow.binary()), *layout.carried_fields()])
            self._writer: Any = pyarrow.parquet.ParquetWriter(path, self._schema, compression="zstd")
        else:
            self._writer = path.open("w", encoding="ascii")

    def __enter__(self) -> _ManifestWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def write(self, rows: list[tuple[str, tuple[Any, ...]]]) -> None:
        """Write one group."""
        carried = [_clean(values) for _, values in rows]
        if not self._layout.parquet:
            groups = [[path, *values] for (path, _), values in zip(rows, carried, strict=True)]
            self._writer.write(json.dumps(groups) + "\n")
            return
        import pyarrow

        columns = zip(*carried, strict=True) if self._layout.columns else ()
        values = [[os.fsencode(path) for path, _ in rows], *map(list, columns)]
        arrays = [pyarrow.array(each, field.type) for each, field in zip(values, self._schema, strict=True)]
        self._writer.write_table(pyarrow.table(arrays, schema=self._schema), row_group_size=len(rows))


class Manifest:
    """The written manifest, read one partition at a time."""

    def __init__(self, folder: Folder, layout: Layout, group: int, size: int) -> None:
        """Open it; a partition of ``size`` photographs is ``size // group`` groups of the file."""
        self._group, self._each = group, size // group
        self._groups: int
        self._stream = folder.open(layout.manifest)
        if layout.parquet:
            import pyarrow.parquet

            self._file = pyarrow.parquet.ParquetFile(self._stream)
            self._groups = self._file.num_row_groups
        else:
            self._file = None
            self._offsets = [0]
            for line in self._stream:
                self._offsets.append(self._offsets[-1] + len(line))
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
        rows = [row for group in range(first, min(first + self._each, self._groups)) for row in self._read(group)]
        return Chunk(first * self._group, [row[0] for row in rows], [tuple(row[1:]) for row in rows])

    def _read(self, group: int) -> list[Any]:
        if self._file is None:
            self._stream.seek(self._offsets[group])
            rows: list[Any] = json.loads(self._stream.readline())
            return rows
        paths, *carried = (column.to_pylist() for column in self._file.read_row_group(group).columns)
        return list(zip(map(os.fsdecode, paths), *carried, strict=True))


def write_part(folder: Folder, layout: Layout, partition: int, rows: list[dict[str, Any]], chunk: Chunk) -> None:
    """Write the part of a partition.

    Raises:
        SinkError: it cannot be written.
    """
    name = layout.part(partition)
    try:
        folder.write(name, _parquet_part(layout, rows, chunk) if layout.parquet else _json_part(layout, rows, chunk))
    except OSError as error:
        raise SinkError(f"{name}: cannot be written ({error.strerror or error})") from error


def _json_part(layout: Layout, rows: list[dict[str, Any]], chunk: Chunk) -> bytes:
    carried = (dict(zip(layout.columns, values, strict=True)) for values in chunk.carried)
    return b"".join(
        json.dumps({**row, **values}, ensure_ascii=False).encode() + b"\n"
        for row, values in zip(rows, carried, strict=True)
    )


def _parquet_part(layout: Layout, rows: list[dict[str, Any]], chunk: Chunk) -> bytes:
    import pyarrow
    import pyarrow.parquet

    text, size = pyarrow.string(), pyarrow.int32()
    top = pyarrow.list_(pyarrow.struct([("label", text), ("score", pyarrow.float64())]))
    kinds = {"id": pyarrow.int64(), "score": pyarrow.float64(), "top": top, "confidence": pyarrow.float64()}
    kinds |= {"width": size, "height": size}
    results = [(name, pyarrow.array([row[name] for row in rows], kinds.get(name, text))) for name in COLUMNS]
    carried = [
        (field.name, pyarrow.array([values[position] for values in chunk.carried], field.type))
        for position, field in enumerate(layout.carried_fields())
    ]
    stream = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(dict(results + carried)), stream, compression="zstd")
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
