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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, chain, islice
from typing import Any

from edge_fmnist.data.files import as_utf8
from edge_fmnist.errors import SinkError, SourceError
from edge_fmnist_export.bulk.files import Folder
from edge_fmnist_export.bulk.sources import Photo, PhotoSource

Row = dict[str, Any]
# The number of photographs by status and answer.
Counts = Counter[tuple[str, str | None]]

JOB = "job.json"
PART = re.compile(r"part-(\d{6,})\.(parquet|jsonl)")
# Arrow types of the results.
COLUMNS = {
    "id": "int64",
    "path": "string",
    "status": "string",
    "answer": "string",
    "label": "string",
    "score": "double",
    "top": "list",
    "confidence": "double",
    "width": "int32",
    "height": "int32",
    "model_sha256": "string",
    "error": "string",
}
# Carried columns of the same name as one of the results get this prefix.
PREFIX = "source_"


@dataclass(frozen=True)
class Task:
    """Photographs to label: a whole partition, whose part the worker writes, or some of it, whose rows it returns.

    Attributes:
        first: the position of the first photograph in the source.
        whole: whether these are all photographs of the partition.
        attempt: counts the workers that it was submitted to.
        overdue: how many times it was submitted again because no result came in time.
        seconds: after this time, its worker is ended.
    """

    partition: int
    first: int
    photos: list[Photo]
    whole: bool = True
    attempt: int = 1
    overdue: int = 0
    seconds: float = 0.0

    @property
    def paths(self) -> list[str]:
        """The paths, as the source has them."""
        return [path for path, _ in self.photos]

    def halves(self) -> tuple[Task, Task]:
        """Return the first and the second half, to be submitted for the first time."""
        middle = len(self.photos) // 2
        first = replace(self, photos=self.photos[:middle], whole=False, attempt=1, overdue=0)
        return first, replace(first, first=self.first + middle, photos=self.photos[middle:])


@dataclass(frozen=True)
class Layout:
    """How the files of a job are written.

    Attributes:
        columns: names of the carried columns, as in the parts.
        schema: Arrow schema of the carried columns; None for JSON lines.
    """

    columns: tuple[str, ...]
    schema: Any = None

    @classmethod
    def of(cls, source: PhotoSource, parquet: bool) -> Layout:
        """Return the layout for a source."""
        taken = {*COLUMNS, *source.columns}
        columns = tuple(as_utf8(_renamed(name, taken) if name in COLUMNS else name) for name in source.columns)
        if not parquet:
            return cls(columns)
        import pyarrow

        types = source.types or (pyarrow.string(),) * len(columns)
        return cls(columns, pyarrow.schema(list(zip(columns, types, strict=True))))

    @property
    def suffix(self) -> str:
        """The suffix of the files."""
        return "jsonl" if self.schema is None else "parquet"

    def finished(self, folder: Folder, count: int) -> frozenset[int]:
        """Return which of the first ``count`` partitions have a part; others may have been copied into the folder."""
        matches = (PART.fullmatch(name) for name in folder.names())
        return frozenset(int(match[1]) for match in matches if match and match[2] == self.suffix) & {*range(count)}

    def write_part(self, folder: Folder, task: Task, rows: list[Row]) -> None:
        """Write the part of a partition.

        Raises:
            SinkError: it cannot be written.
        """
        name = self._part(task.partition)
        carried = (dict(zip(self.columns, values, strict=True)) for _, values in task.photos)
        try:
            folder.write(name, self._encoded([row | values for row, values in zip(rows, carried, strict=True)]))
        except OSError as error:
            raise SinkError(f"{name}: cannot be written ({error.strerror or error})") from error

    def read_counts(self, folder: Folder, partition: int) -> Counts:
        """Return the counts of a part; ``ValueError`` if it is damaged."""
        data = io.BytesIO(folder.read(self._part(partition)))
        try:
            if self.schema is None:
                return counted(map(json.loads, data))
            import pyarrow.parquet

            return counted(pyarrow.parquet.read_table(data, columns=["status", "answer"]).to_pylist())
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self._part(partition)} is damaged ({error}); delete it") from error

    def _part(self, partition: int) -> str:
        return f"part-{partition:06d}.{self.suffix}"

    def _encoded(self, rows: list[Row]) -> bytes:
        if self.schema is None:
            return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)
        import pyarrow.parquet

        top = pyarrow.list_(pyarrow.struct([("label", "string"), ("score", "double")]))
        results = [pyarrow.field(name, top if name == "top" else kind) for name, kind in COLUMNS.items()]
        stream = io.BytesIO()
        table = pyarrow.Table.from_pylist(rows, pyarrow.schema([*results, *self.schema]))
        pyarrow.parquet.write_table(table, stream, compression="zstd")
        return stream.getvalue()


def is_part(folder: Folder, name: str) -> bool:
    """Return whether a file is a part, by its columns, and not only named like one."""
    try:
        with folder.open(name) as stream:
            if name.endswith(".jsonl"):
                return bool(json.loads(stream.readline()).keys() >= COLUMNS.keys())
            import pyarrow.parquet

            return bool({*pyarrow.parquet.ParquetFile(stream).schema_arrow.names} >= COLUMNS.keys())
    except (AttributeError, ImportError, OSError, ValueError):
        return False


def _renamed(name: str, taken: set[str]) -> str:
    while name in taken:
        name = f"{PREFIX}{name}"
    return name


def counted(rows: Iterable[Row]) -> Counts:
    """Return the number of rows by status and answer."""
    return Counter((row["status"], row["answer"]) for row in rows)


def write_manifest(
    folder: Folder, name: str, layout: Layout, source: PhotoSource, group: int, limit: int | None
) -> int:
    """Write the manifest without holding it in memory, and return the number of photographs; 0 writes none."""
    photos = ((path, tuple(map(as_utf8, values))) for path, values in islice(source.rows, limit))
    first = list(islice(photos, group))
    if not first:
        return 0
    count = 0
    with folder.create(name) as stream, _manifest_writer(layout, stream) as write:
        for batch in chain([first], iter(lambda: list(islice(photos, group)), [])):
            write(batch)
            count += len(batch)
    return count


@contextlib.contextmanager
def _manifest_writer(layout: Layout, stream: Any) -> Iterator[Callable[[list[Photo]], None]]:
    """Yield a function that writes a group of photographs: a row group, or a line of JSON."""
    if layout.schema is None:
        yield lambda group: stream.write(json.dumps(group).encode() + b"\n")
        return
    import pyarrow.parquet

    schema = layout.schema.insert(0, pyarrow.field("path", pyarrow.binary()))
    with pyarrow.parquet.ParquetWriter(stream, schema, compression="zstd") as writer:

        def write(group: list[Photo]) -> None:
            columns = zip(*((os.fsencode(path), *values) for path, values in group), strict=True)
            arrays = []
            for each, field in zip(columns, schema, strict=True):
                try:
                    arrays.append(pyarrow.array(each, field.type))
                except (OverflowError, pyarrow.ArrowException) as error:
                    raise SourceError(f"column {field.name!r}: a value cannot be carried through ({error})") from error
            writer.write_batch(pyarrow.record_batch(arrays, schema))

        yield write


class Manifest:
    """The written manifest, read one partition at a time.

    Attributes:
        layout: how the files of the job are written.
        size: photographs in a partition.
    """

    def __init__(self, folder: Folder, suffix: str, columns: tuple[str, ...], group: int, size: int) -> None:
        """Open it; a group is what was written at a time, and a partition is one or several of them."""
        self.size, self._group, self._each = size, group, size // group
        self._stream = folder.open(f"manifest.{suffix}")
        self._file: Any = None
        if suffix == "parquet":
            import pyarrow.parquet

            try:
                self._file = pyarrow.parquet.ParquetFile(self._stream)
            except ValueError:
                self.close()
                raise
            self._groups: int = self._file.num_row_groups
            self.layout = Layout(columns, self._file.schema_arrow.remove(0))
        else:
            self._offsets = list(accumulate(map(len, self._stream), initial=0))
            self._groups = len(self._offsets) - 1
            self.layout = Layout(columns)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def __len__(self) -> int:
        """Return the number of partitions."""
        return -(-self._groups // self._each)

    def task(self, partition: int) -> Task:
        """Return the photographs of a partition."""
        first = partition * self._each
        groups = range(first, min(first + self._each, self._groups))
        return Task(partition, first * self._group, [photo for group in groups for photo in self._read(group)])

    def _read(self, group: int) -> list[Photo]:
        if self._file is None:
            self._stream.seek(self._offsets[group])
            return [(path, tuple(values)) for path, values in json.loads(self._stream.readline())]
        columns = (column.to_pylist() for column in self._file.read_row_group(group).columns)
        return [(os.fsdecode(path), tuple(values)) for path, *values in zip(*columns, strict=True)]
