from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

Cli = Callable[..., Any]
# Kills the worker that reads a photograph of this name: imported by every Python process that finds it.
POISON = """
import builtins, os, signal
opened = builtins.open
def open(file, *arguments, **options):
    if isinstance(file, str) and file.endswith("poison.png"):
        os.kill(os.getpid(), signal.SIGKILL)
    return opened(file, *arguments, **options)
builtins.open = open
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder with a subfolder: five 28x28 images and a damaged one."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number in range(5):
        image = np.zeros((28, 28), np.uint8)
        image[4:24, 8:20] = 80 + 35 * number
        place = folder / "more" if number > 2 else folder
        assert cv2.imwrite(str(place / f"{number}.png"), image)
    (folder / "damaged.jpg").write_bytes(b"\xff\xd8\xff\xe0 no photograph")
    return folder


def rows(output: Path) -> list[dict[str, Any]]:
    """Return the rows of all parts, in the order of the parts."""
    return [row for part in sorted(output.glob("part-*.parquet")) for row in parquet.read_table(part).to_pylist()]


def command(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "edge_fmnist", "label", *map(str, arguments)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_label_gives_the_rows_of_classify(photos: Path, tmp_path: Path, cli: Cli) -> None:
    output = tmp_path / "labels"
    result = cli("label", photos, "--output", output, "--partition-size", "2", "--workers", "1", "--json")
    assert result.exit_code == 0, result.stderr
    end = json.loads(result.stdout.splitlines()[-1])
    assert end["status"] == {"ok": 5, "undecodable": 1}
    assert end == {"event": "end", **json.loads((output / "summary.json").read_text())}
    classified = {
        value["file"]: value
        for value in map(json.loads, cli("classify", photos, photos / "more", "--json").stdout.splitlines())
    }
    labelled = rows(output)
    assert [row["id"] for row in labelled] == list(range(6))
    assert {row["path"] for row in labelled} == classified.keys()
    for row in labelled:
        expected = classified[row["path"]]
        assert row["error"] == expected.get("error")
        assert [row[key] for key in ("answer", "label", "score")] == [
            expected.get(key) for key in ("answer", "label", "score")
        ]
    assert {row["width"] for row in labelled if row["status"] == "ok"} == {28}


def test_tables_carry_their_columns_through(photos: Path, tmp_path: Path, cli: Cli) -> None:
    # A label of the source, an identifier with leading zeros, and a name that is not UTF-8.
    weird = os.fsdecode(b"photos/\xff.png")
    (tmp_path / weird).write_bytes((photos / "0.png").read_bytes())
    table = tmp_path / "catalogue.csv"
    table.write_bytes(
        b"image;label;sku\n" + os.fsencode(weird) + b";Bag;007\nphotos/missing.png;Coat;8\nphotos/1.png\n"
    )
    output = tmp_path / "labels"
    result = cli("label", table, "--column", "image", "-o", output, "--workers", "1", "-k", "2", "--threshold", "1")
    assert result.exit_code == 0, result.stderr
    found = rows(output)
    assert [row["path"] for row in found] == ["photos/\\xff.png", "photos/missing.png", "photos/1.png"]
    assert [row["status"] for row in found] == ["ok", "unreadable", "ok"]
    assert [(row["source_label"], row["sku"]) for row in found] == [("Bag", "007"), ("Coat", "8"), ("", "")]
    assert found[0]["answer"] == "unknown"
    assert len(found[0]["top"]) == 2


def test_without_pyarrow_parts_are_json_lines(
    photos: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "ray", None)
    output = tmp_path / "labels"
    assert cli("label", photos, "--output", output, "--workers", "1").exit_code == 0
    lines = (output / "part-000000.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == list(range(6))
    # An interrupted run goes on with the same command, and refuses others.
    (output / "part-000000.jsonl").unlink()
    assert cli("label", photos, "--output", output, "--workers", "1").exit_code == 0
    assert (output / "part-000000.jsonl").read_text().splitlines() == lines
    for arguments, message in (
        (("--top-k", "1"), "--top-k 3, not 1"),
        (("--model", "edge"), "--model null, not edge"),
        (("--ray", "auto"), "edge-fmnist[ray]"),
    ):
        refused = cli("label", photos, "--output", output, *arguments)
        assert refused.exit_code == 2
        assert message in refused.stderr
    assert "edge-fmnist[bulk]" in cli("label", "s3://bucket/photos", "--output", tmp_path / "other").stderr


def test_unusable_arguments(photos: Path, tmp_path: Path, cli: Cli, closed_port: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "table.csv").write_text("file,name\n")
    port = closed_port.removeprefix("http://").strip("/")
    for arguments, code, message in (
        ((tmp_path / "missing",), 3, "no such file or folder"),
        ((tmp_path / "empty",), 3, "no photographs"),
        ((tmp_path / "table.csv",), 3, "--column (columns: file, name)"),
        ((photos, "--column", "file"), 2, "CSV and Parquet"),
        ((photos, "--ray", "ray://127.0.0.1:10001"), 2, "HOST:PORT"),
        ((photos, "--ray", port), 2, "nothing answers there"),
        ((photos, "--model", "missing"), 3, "missing"),
    ):
        result = cli("label", *arguments, "--output", tmp_path / "labels")
        assert result.exit_code == code, result.stderr
        assert message in result.stderr
        assert not (tmp_path / "labels").exists()
    refused = cli("label", photos, "--output", photos)
    assert refused.exit_code == 2
    assert "not empty" in refused.stderr
