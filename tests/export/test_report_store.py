from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_fmnist.data.files import check_replaceable
from edge_fmnist_export.report.base import ReportFigure, ReportSection, ReportTable, Tile
from edge_fmnist_export.report.store import RECORD, BuiltSection, drawn, load, save

KEY = {"model": "abc", "version": 1}
SVG = b"<svg>1</svg>"
TABLE = ReportTable("numbers", ["name", "value"], [["a, b", np.float64(0.1)], ["c", np.nan]], "Numbers.", shown=1)


def built(**changes: Any) -> BuiltSection:
    content: dict[str, Any] = {
        "text": ["Text."],
        "figures": [ReportFigure("one", SVG, "One.")],
        "tables": [TABLE],
        "summary": {"top1": np.float32(0.5)},
        "tiles": [Tile("Top-1", "50 %", "note")],
    }
    return BuiltSection("result", drawn(ReportSection("Result", **{**content, **changes})), 1.5)


def test_a_section_can_be_read_back(tmp_path: Path) -> None:
    save(built(), tmp_path, KEY)
    found = load("result", tmp_path, KEY)
    assert found is not None
    assert (found.name, found.seconds, found.cached) == ("result", 1.5, True)
    section = found.section
    assert (section.title, section.text, section.summary) == ("Result", ["Text."], {"top1": 0.5})
    assert section.tiles == [Tile("Top-1", "50 %", "note")]
    assert section.tables == [ReportTable("numbers", ["name", "value"], [["a, b", 0.1], ["c", None]], "Numbers.", 1)]
    assert [(figure.name, figure.content, figure.caption) for figure in section.figures] == [("one", SVG, "One.")]
    assert load("result", tmp_path, {**KEY, "version": 2}) is None


def test_tables_are_written_as_csv_and_json(tmp_path: Path) -> None:
    save(built(), tmp_path, KEY)
    assert {path.name for path in tmp_path.iterdir()} == {RECORD, "one.svg", "numbers.csv", "numbers.json"}
    rows = list(csv.reader((tmp_path / "numbers.csv").read_text().splitlines()))
    assert rows == [["name", "value"], ["a, b", "0.1"], ["c", ""]]
    content = json.loads((tmp_path / "numbers.json").read_text())
    assert content == {"columns": ["name", "value"], "rows": [["a, b", 0.1], ["c", None]]}


@pytest.mark.parametrize("name", ["one.svg", "numbers.json", RECORD])
@pytest.mark.parametrize("content", [None, b"changed"])
def test_changed_files_invalidate_the_cache(tmp_path: Path, name: str, content: bytes | None) -> None:
    save(built(), tmp_path, KEY)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert load("result", tmp_path, KEY) is None


def test_old_files_of_the_section_are_removed_and_others_are_kept(tmp_path: Path) -> None:
    folder, outside = tmp_path / "result", tmp_path / "one.svg"
    save(built(), folder, KEY)
    (folder / "note.txt").write_text("mine")
    outside.write_text("mine")
    # A changed record does not remove files in other folders.
    record = json.loads((folder / RECORD).read_text())
    record["figures"].append({**record["figures"][0], "name": "../one"})
    (folder / RECORD).write_text(json.dumps(record))
    save(built(figures=[ReportFigure("two", SVG, "Two.")], tables=[]), folder, KEY)
    assert {path.name for path in folder.iterdir()} == {RECORD, "two.svg", "note.txt"}
    assert outside.read_text() == "mine"


def test_a_section_that_was_not_written_whole_shows_whose_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path, text: str) -> None:
        raise OSError("no space left")

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr("edge_fmnist_export.report.store.write_text", fails)
            with pytest.raises(OSError, match="no space left"):
                save(built(), tmp_path, KEY)
        assert load("result", tmp_path, KEY) is None
        check_replaceable(tmp_path, [path.name for path in tmp_path.iterdir()], RECORD, "key")
        save(built(), tmp_path, KEY)
        assert load("result", tmp_path, KEY) is not None
