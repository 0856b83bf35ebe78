"""``edge-fmnist bench --report pi``: the file's name, what is said of it, what it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_fmnist_bench import cli as command
from edge_fmnist_bench import device_report, machine
from edge_fmnist_bench.protocol import SCENARIOS

RESULT: dict[str, Any] = {
    "machine": {"board": "Raspberry Pi 5 Model B Rev 1.0", "cpu": "Cortex-A76"},
    "data": {"fashion_mnist": True},
    "marks": [],
}


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_text("Raspberry Pi 5 Model B Rev 1.0\0")
    monkeypatch.setattr(machine, "BOARD", path)


@pytest.mark.usefixtures("board")
def test_file_is_named_after_the_board() -> None:
    name = str(device_report.default_path())
    assert re.fullmatch(r"bench-raspberry-pi-5-model-b-rev-1-0-\d{4}-\d\d-\d\d\.json", name)


def test_whole_report_needs_no_excuse(tmp_path: Path) -> None:
    lines = device_report.remarks(RESULT, tmp_path / "a.json", shortened=False)
    assert len(lines) == 1
    assert str(tmp_path / "a.json") in lines[0]


@pytest.mark.parametrize(
    ("changed", "shortened", "message"),
    [
        ({"machine": {"board": None, "cpu": "Xeon"}}, False, "no Raspberry Pi (Xeon)"),
        ({"data": None}, False, "no accuracy"),
        ({"marks": ["throttled processor: throttled now"]}, False, "reasons to doubt"),
        ({}, True, "shortened"),
    ],
)
def test_what_is_wrong_is_said(changed: dict[str, Any], shortened: bool, message: str, tmp_path: Path) -> None:
    lines = device_report.remarks({**RESULT, **changed}, tmp_path / "a.json", shortened=shortened)
    assert len(lines) == 2
    assert message in lines[0]


def test_command_measures_all_and_says_where_the_file_lies(
    cli: Callable[..., Any], small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[object] = []

    class NoSuite:
        def __init__(self, plan: Any, progress: Any) -> None:
            measured.extend(plan.scenarios)

        def run(self) -> None:
            pass

        def document(self) -> dict[str, Any]:
            return {**RESULT, "complete": True}

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "Suite", NoSuite)
    monkeypatch.setattr(command, "_profile", lambda result, model: result.update(profile={"layers": []}))
    monkeypatch.setattr(command, "_print", lambda *_, **__: None)
    result = cli("bench", "--report", "pi", "--data", small_data)
    assert result.exit_code == 0, result.stderr
    assert sorted(map(str, measured)) == sorted(SCENARIOS)
    (file,) = tmp_path.glob("bench-*.json")
    assert json.loads(file.read_text())["profile"] == {"layers": []}
    assert f"Wrote {file}" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--report", "mainframe"), "expected pi, got 'mainframe'"),
        (("--report", "pi", "--scenario", "frame"), "measures all scenarios"),
        (("--report", "pi", "--gate", "x.json"), "measures all scenarios"),
    ],
)
def test_refused(cli: Callable[..., Any], arguments: tuple[str, ...], message: str) -> None:
    result = cli("bench", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
