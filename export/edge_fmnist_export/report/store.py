"""Sections on disk: figures as SVG, tables as CSV and JSON, and a record for the cache (docs/report.md)."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_fmnist.data.files import write_bytes, write_json, write_text
from edge_fmnist_export.report.base import ReportFigure, ReportSection, ReportTable, Tile
from edge_fmnist_export.report.figures import as_svg

RECORD = "section.json"


@dataclass(frozen=True, eq=False)
class BuiltSection:
    """A section whose figures are the bytes of SVG files, under the name of its module and its folder.

    Attributes:
        seconds: time to compute.
        cached: whether it was loaded from an earlier report.
    """

    name: str
    section: ReportSection
    seconds: float
    cached: bool = False


def drawn(section: ReportSection) -> ReportSection:
    """Return a section with figures as SVG files and all values as JSON can hold them."""
    return replace(
        section,
        figures=[
            replace(f, content=f.content if isinstance(f.content, bytes) else as_svg(f.content))
            for f in section.figures
        ],
        tables=[replace(table, rows=plain(table.rows)) for table in section.tables],
        summary=plain(section.summary),
    )


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: Python numbers for NumPy's, None for NaN and infinity."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def save(built: BuiltSection, folder: Path, key: dict[str, Any]) -> None:
    """Write the files of a section, in place of those of an earlier report.

    ``key`` holds everything that the content depends on.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _remove_old(folder)
    # Marks the folder as ours, so that an interrupted report can be repeated; load() ignores it without the key.
    write_json(folder / RECORD, {"key": None})
    section, figures = built.section, []
    for figure in section.figures:
        content = bytes(figure.content)  # type: ignore[arg-type] # drawn
        write_bytes(folder / f"{figure.name}.svg", content)
        sha256 = hashlib.sha256(content).hexdigest()
        figures.append({"name": figure.name, "caption": figure.caption, "sha256": sha256})
    for table in section.tables:
        write_text(folder / f"{table.name}.csv", _as_csv(table))
        write_json(folder / f"{table.name}.json", {"columns": list(table.columns), "rows": table.rows})
    record = {
        "key": key,
        "title": section.title,
        "text": list(section.text),
        "figures": figures,
        "tables": [{"name": table.name, "caption": table.caption, "shown": table.shown} for table in section.tables],
        "summary": section.summary,
        "tiles": [asdict(tile) for tile in section.tiles],
        "seconds": built.seconds,
    }
    # Written last: with the key, all other files exist.
    write_json(folder / RECORD, record)


def load(name: str, folder: Path, key: dict[str, Any]) -> BuiltSection | None:
    """Return a cached section, or None if there is none with this key or its files were changed."""
    try:
        record = json.loads((folder / RECORD).read_text("utf-8"))
        if record["key"] != key:
            return None
        section = ReportSection(
            record["title"],
            record["text"],
            [_load_figure(folder, entry) for entry in record["figures"]],
            [_load_table(folder, entry) for entry in record["tables"]],
            record["summary"],
            [Tile(**tile) for tile in record["tiles"]],
        )
        return BuiltSection(name, section, record["seconds"], cached=True)
    except (OSError, ValueError, KeyError, TypeError):
        # Damaged: compute it again.
        return None


def _load_figure(folder: Path, entry: dict[str, Any]) -> ReportFigure:
    path = folder / f"{entry['name']}.svg"
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise ValueError(f"{path}: was changed")
    return ReportFigure(entry["name"], content, entry["caption"])


def _load_table(folder: Path, entry: dict[str, Any]) -> ReportTable:
    content = json.loads((folder / f"{entry['name']}.json").read_text("utf-8"))
    return ReportTable(entry["name"], content["columns"], content["rows"], entry["caption"], entry["shown"])


def _remove_old(folder: Path) -> None:
    """Remove the files that the folder's record lists, and nothing else."""
    try:
        record = json.loads((folder / RECORD).read_text("utf-8"))
        names = [f"{entry['name']}.svg" for entry in record["figures"]]
        names += [f"{entry['name']}{suffix}" for entry in record["tables"] for suffix in (".csv", ".json")]
    except (OSError, ValueError, KeyError, TypeError):
        return
    for name in names:
        # Only the last part: a changed record must not remove files elsewhere.
        (folder / Path(name).name).unlink(missing_ok=True)


def _as_csv(table: ReportTable) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    # None becomes an empty cell.
    writer.writerows([table.columns, *table.rows])
    return stream.getvalue()
