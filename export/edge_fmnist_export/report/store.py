"""Sections as files: figures as SVG or PNG, tables as CSV and JSON, and what the cache needs to take them again.

::

    REPORT/
    ├── index.html            the page
    ├── report.json           what it is on, the summaries, seconds, memory
    └── SECTION/
        ├── section.json      text, captions, summary; what it was computed from
        ├── NAME.svg          a figure (or NAME.png)
        └── NAME.csv, .json   a table
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_fmnist.data.files import write_bytes, write_json, write_text
from edge_fmnist.errors import UsageError
from edge_fmnist_export.report.base import Section, Table
from edge_fmnist_export.report.figures import render

RECORD = "section.json"
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class StoredFigure:
    """A figure's file: name without suffix, suffix, bytes, caption and whether it takes the whole width."""

    name: str
    suffix: str
    content: bytes
    caption: str
    wide: bool


@dataclass(frozen=True)
class StoredSection:
    """A section with its figures drawn.

    Attributes:
        name: of its module, and of its folder.
        title: its heading.
        text: paragraphs.
        figures: in the order of the page.
        tables: in the order of the page.
        summary: plain values.
        seconds: how long it took to compute.
        cached: whether it was taken from an earlier report.
    """

    name: str
    title: str
    text: tuple[str, ...]
    figures: tuple[StoredFigure, ...]
    tables: tuple[Table, ...]
    summary: dict[str, Any]
    seconds: float
    cached: bool = False


def draw(name: str, section: Section, seconds: float) -> StoredSection:
    """Turn a section's figures into files' bytes.

    Raises:
        UsageError: a name that is no file's or is taken, or content that is no figure.
    """
    for kind, names in (("figure", [f.name for f in section.figures]), ("table", [t.name for t in section.tables])):
        if len(set(names)) < len(names) or not all(map(NAME.fullmatch, names)) or "section" in names:
            raise UsageError(
                f"section {name}: expected for each {kind} a name of its own, of lower-case letters, digits and "
                f"hyphens, and not 'section'; got {', '.join(names)}"
            )
    drawn = []
    for figure in section.figures:
        content, suffix = render(figure.content)
        drawn.append(StoredFigure(figure.name, suffix, content, figure.caption, figure.wide))
    tables = tuple(replace(table, rows=plain(table.rows)) for table in section.tables)
    return StoredSection(
        name, section.title, tuple(section.text), tuple(drawn), tables, plain(section.summary), round(seconds, 3)
    )


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: NumPy's numbers as Python's, None for what is not finite."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def save(section: StoredSection, folder: Path, key: dict[str, Any]) -> None:
    """Write a section's files into its folder, in place of older ones of the section.

    Args:
        section: what to write.
        folder: the section's folder.
        key: what it was computed from.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _remove_old(folder)
    for figure in section.figures:
        write_bytes(folder / f"{figure.name}{figure.suffix}", figure.content)
    for table in section.tables:
        write_text(folder / f"{table.name}.csv", as_csv(table))
        write_json(folder / f"{table.name}.json", {"columns": list(table.columns), "rows": table.rows})
    # Last, so that it vouches for files that are all there.
    write_json(folder / RECORD, _record(section, key))


def _record(section: StoredSection, key: dict[str, Any]) -> dict[str, Any]:
    return {
        "key": key,
        "title": section.title,
        "text": list(section.text),
        "figures": [
            {
                "file": f"{figure.name}{figure.suffix}",
                "caption": figure.caption,
                "wide": figure.wide,
                "sha256": hashlib.sha256(figure.content).hexdigest(),
            }
            for figure in section.figures
        ],
        "tables": [{"name": t.name, "caption": t.caption, "shown": t.shown} for t in section.tables],
        "summary": section.summary,
        "seconds": section.seconds,
    }


def load(name: str, folder: Path, key: dict[str, Any]) -> StoredSection | None:
    """Return a section as it was written, or None where there is none of this key, or its files were changed.

    Args:
        name: the section's.
        folder: the section's folder.
        key: what it must have been computed from.
    """
    try:
        record = json.loads((folder / RECORD).read_text("utf-8"))
        if record["key"] != key:
            return None
        found = tuple(_load_figure(folder, entry) for entry in record["figures"])
        tables = tuple(_load_table(folder, entry) for entry in record["tables"])
        return StoredSection(
            name, record["title"], tuple(record["text"]), found, tables, record["summary"], record["seconds"], True
        )
    except (OSError, ValueError, KeyError, TypeError):
        # Whatever is wrong with it, it is computed again.
        return None


def _load_figure(folder: Path, entry: dict[str, Any]) -> StoredFigure:
    path = folder / entry["file"]
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise ValueError(f"{path}: was changed")
    return StoredFigure(path.stem, path.suffix, content, entry["caption"], entry["wide"])


def _load_table(folder: Path, entry: dict[str, Any]) -> Table:
    content = json.loads((folder / f"{entry['name']}.json").read_text("utf-8"))
    return Table(entry["name"], content["columns"], content["rows"], entry["caption"], entry["shown"])


def _remove_old(folder: Path) -> None:
    """Remove the files of the section that the folder's record names; nothing else."""
    try:
        record = json.loads((folder / RECORD).read_text("utf-8"))
        names = [entry["file"] for entry in record["figures"]]
        names += [f"{entry['name']}{suffix}" for entry in record["tables"] for suffix in (".csv", ".json")]
    except (OSError, ValueError, KeyError, TypeError):
        return
    for name in [*names, RECORD]:
        # The name alone: a record that was tampered with reaches no other folder.
        (folder / Path(name).name).unlink(missing_ok=True)


def as_csv(table: Table) -> str:
    """Return a table as CSV with a line of headings; None becomes an empty cell."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(_cells(table.rows))
    return stream.getvalue()


def _cells(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    return [["" if cell is None else cell for cell in row] for row in rows]
