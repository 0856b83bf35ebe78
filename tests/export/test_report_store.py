from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_fmnist.errors import UsageError
from edge_fmnist_export.report.base import Figure, Section, Table
from edge_fmnist_export.report.store import RECORD, StoredSection, draw, load, save

KEY = {"model": "abc", "version": 1}
SVG = b"<svg>1</svg>"


def section(**changes: object) -> StoredSection:
    tables = [Table("numbers", ["name", "value"], [["a, b", np.float64(0.1)], ["c", None]], "Numbers.", shown=1)]
    made = Section("Result", ["Text."], [Figure("one", SVG, "One.", wide=True)], tables, {"top1": np.float32(0.5)})
    return draw("result", replace(made, **changes), 1.5)  # type: ignore[arg-type]


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    save(section(), tmp_path, KEY)
    assert load("result", tmp_path, KEY) == replace(section(), cached=True)


def test_files(tmp_path: Path) -> None:
    save(section(), tmp_path, KEY)
    assert {path.name for path in tmp_path.iterdir()} == {RECORD, "one.svg", "numbers.csv", "numbers.json"}
    assert list(csv.reader((tmp_path / "numbers.csv").read_text().splitlines())) == [
        ["name", "value"],
        ["a, b", "0.1"],
        ["c", ""],
    ]
    assert json.loads((tmp_path / "numbers.json").read_text()) == {
        "columns": ["name", "value"],
        "rows": [["a, b", 0.1], ["c", None]],
    }


def test_another_key_is_not_read(tmp_path: Path) -> None:
    save(section(), tmp_path, KEY)
    assert load("result", tmp_path, {**KEY, "version": 2}) is None


@pytest.mark.parametrize("name", ["one.svg", "numbers.json", RECORD])
@pytest.mark.parametrize("content", [None, b"changed", b"{}"])
def test_changed_files_are_not_read(tmp_path: Path, name: str, content: bytes | None) -> None:
    save(section(), tmp_path, KEY)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert load("result", tmp_path, KEY) is None


def test_older_files_of_the_section_go_and_others_stay(tmp_path: Path) -> None:
    save(section(), tmp_path, KEY)
    (tmp_path / "note.txt").write_text("mine")
    save(section(figures=[Figure("two", SVG, "Two.")], tables=[]), tmp_path, KEY)
    assert {path.name for path in tmp_path.iterdir()} == {RECORD, "two.svg", "note.txt"}


def test_a_tampered_record_removes_nothing_elsewhere(tmp_path: Path) -> None:
    folder, other = tmp_path / "result", tmp_path / "one.svg"
    save(section(), folder, KEY)
    other.write_text("mine")
    record = json.loads((folder / RECORD).read_text())
    record["figures"][0]["file"] = "../one.svg"
    (folder / RECORD).write_text(json.dumps(record))
    save(section(), folder, KEY)
    assert other.read_text() == "mine"


def test_what_is_not_finite_becomes_null(tmp_path: Path) -> None:
    drawn = section(tables=[Table("t", ["a"], [[float("nan")], [np.inf]], "c")])
    save(drawn, tmp_path, KEY)
    assert json.loads((tmp_path / "t.json").read_text())["rows"] == [[None], [None]]


@pytest.mark.parametrize("names", [("one", "one"), ("One",), ("a/b",), ("..",), ("section",), ("",)])
def test_names_must_be_those_of_files(names: tuple[str, ...]) -> None:
    for kind in ({"figures": [Figure(n, SVG, "c") for n in names]}, {"tables": [Table(n, [], [], "c") for n in names]}):
        with pytest.raises(UsageError, match="a name of its own"):
            section(**kind)
