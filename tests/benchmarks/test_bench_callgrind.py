"""Instruction counts: the marks, callgrind's dumps, the comparison; valgrind itself runs in one slow test."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_fmnist import Classifier
from edge_fmnist.data.files import write_json
from edge_fmnist.errors import CheckError, DataError, SourceError, UsageError
from edge_fmnist.pipeline.pipeline import Pipeline
from edge_fmnist_bench import callgrind, callgrind_target
from edge_fmnist_bench.callgrind import STAGES
from edge_fmnist_bench.callgrind_target import MARK

TOTALS = {2: 30_000, 3: 20_000, 4: 9_000, 5: 1_000}


def started(totals: dict[int, int], returncode: int = 0) -> Callable[..., Any]:
    """Return a replacement for subprocess.run that leaves dumps like callgrind's."""

    def start(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        name = next(word for word in command if word.startswith("--callgrind-out-file="))
        assert f"--dump-before={MARK}" in command
        file = Path(name.partition("=")[2])
        for number, total in {1: 10**9, **totals}.items():
            file.with_name(f"{file.name}.{number}").write_text(f"events: Ir\nfn=(1)\n1 5\ntotals: {total}\n")
        return subprocess.CompletedProcess(command, returncode, "", "first\nvalgrind: no\n==1== I refs: 5\n")

    return start


@pytest.fixture
def valgrind(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], None]:
    """Return a function that installs a replacement for valgrind."""
    monkeypatch.setattr(callgrind, "available", lambda: True)
    return lambda start: monkeypatch.setattr(subprocess, "run", start)


def counts(**changed: Any) -> dict[str, Any]:
    return {**callgrind.document("camera", dict.fromkeys(STAGES, 1000)), **changed}


def test_counts_are_those_between_marks_per_frame(valgrind: Any) -> None:
    valgrind(started(TOTALS))
    found = callgrind.count_frame("edge")
    assert found == {"frame": 3000, "preprocess": 2000, "classify": 900, "smooth": 100}
    valgrind(started({2: 20_000}))
    assert callgrind.count_inference("edge") == 1000


def hang(command: list[str], timeout: float, **_: Any) -> Any:
    raise subprocess.TimeoutExpired(command, timeout)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (started({2: 1, 3: 1, 4: 1}), "no counts at call 5 of getsid"),
        (started(TOTALS, returncode=1), "exit code 1: valgrind: no$"),
        (hang, "did not finish within 900 seconds"),
    ],
)
def test_failures(valgrind: Any, start: Callable[..., Any], message: str) -> None:
    valgrind(start)
    with pytest.raises(CheckError, match=message):
        callgrind.count_frame("edge")


def test_without_valgrind_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UsageError, match="sudo apt install valgrind"):
        callgrind.count_inference("edge")


def test_each_stage_runs_between_its_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def recorded(name: str) -> None:
        method = getattr(Pipeline, name)

        def call(*arguments: Any) -> Any:
            order.append(name)
            return method(*arguments)

        monkeypatch.setattr(Pipeline, name, call)

    for name in STAGES[1:]:
        recorded(name)
    monkeypatch.setattr(callgrind_target, "mark", lambda: order.append("mark"))
    scene = callgrind_target.pictures(2, 320, 240)
    callgrind_target.count_frames(Classifier.load("camera"), scene)
    frame = ["preprocess", "classify", "smooth"] * 2
    parts = [frame, frame, ["preprocess"] * 2, ["classify"] * 2, ["smooth"] * 2]
    assert order == [word for part in parts for word in [*part, "mark"]]


@pytest.mark.slow
def test_valgrind_counts_an_inference(rgb_model: Path) -> None:
    if not callgrind.available():
        pytest.skip("valgrind is not installed")
    # At least one instruction for eight multiply-accumulates.
    assert callgrind.count_inference(str(rgb_model)) > 24 * 24 * 4 * 27 / 8


@pytest.mark.parametrize(("factor", "status"), [(1.049, "same"), (0.951, "same"), (1.06, "moved"), (0.94, "moved")])
def test_limits_are_five_percent_both_ways(factor: float, status: str) -> None:
    now = counts(instructions={**counts()["instructions"], "classify": round(1000 * factor)})
    rows = {row.metric: row for row in callgrind.compare(now, counts())}
    assert rows["classify"].status == status
    assert rows["preprocess"].status == "same"


@pytest.mark.parametrize(("smooth", "status"), [(106, "same"), (94, "same"), (111, "moved"), (89, "moved")])
def test_a_change_of_less_than_a_thousandth_of_the_frame_passes(smooth: int, status: str) -> None:
    before = {**counts()["instructions"], "frame": 10_000, "smooth": 100}
    rows = {
        row.metric: row.status
        for row in callgrind.compare(counts(instructions={**before, "smooth": smooth}), counts(instructions=before))
    }
    assert rows == {**dict.fromkeys(STAGES, "same"), "smooth": status}


def test_other_libraries_are_not_compared() -> None:
    now = counts(instructions=dict.fromkeys(STAGES, 9999))
    rows = callgrind.compare(now, counts(kind={**callgrind.kind(), "numpy": "1.0"}))
    assert {row.status for row in rows} == {"not compared"}
    assert "numpy 1.0 in the baseline" in rows[0].note


@pytest.mark.parametrize(("key", "value"), [("size", [320, 240]), ("frames", 3)])
def test_other_frames_are_not_compared(key: str, value: Any) -> None:
    rows = callgrind.compare(counts(), {**counts(), key: value})
    assert {row.status for row in rows} == {"not compared"}
    assert f"{key} {value} in the baseline" in rows[0].note


def test_a_stage_that_the_baseline_lacks_fails() -> None:
    rows = callgrind.compare(counts(), counts(instructions={"frame": 1000}))
    assert [row.status for row in rows] == ["same", "missing", "missing", "missing"]


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, SourceError, "no such file; write it with --instructions"),
        ("nonsense", DataError, "no counts of"),
        ('{"schema": "other/1"}', DataError, "expected counts of schema 'edge-fmnist-instructions/1', got 'other/1'"),
        ("[]", DataError, "got None"),
        (json.dumps(counts(instructions={"frame": float("nan")})), DataError, "with positive integers"),
        (json.dumps(counts(instructions={"frame": 10**400})), DataError, "with positive integers"),
        (json.dumps(counts(kind=None)), DataError, "expected kind and instructions"),
    ],
)
def test_unusable_baseline(tmp_path: Path, content: str | None, error: type[Exception], message: str) -> None:
    path = tmp_path / "counts.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(error, match=message):
        callgrind.read(path)


def test_command_writes_and_compares(cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"frame": 3000, "preprocess": 2000, "classify": 900, "smooth": 100}
    monkeypatch.setattr(callgrind, "count_frame", lambda model: found)
    path = tmp_path / "counts.json"
    written = cli("bench", "--instructions", "--gate", path, "--update-baseline")
    assert written.exit_code == 0, written.stderr
    assert "30.0%" in written.stdout
    assert written.stdout.endswith("camera: 3,000 instructions for a frame of 640 x 480.\n")
    assert "Gate passed" in cli("bench", "--instructions", "--gate", path).stdout
    baseline = json.loads(path.read_text())
    baseline["instructions"]["classify"] = 800
    path.write_text(json.dumps(baseline))
    moved = cli("bench", "--instructions", "--gate", path, "--json")
    assert moved.exit_code == 4
    assert "900 (+12.50%)" in moved.stderr
    assert json.loads(moved.stdout)["instructions"]["classify"] == 900


def test_command_refuses_before_it_counts(run_cli: Callable[..., Any], tmp_path: Path) -> None:
    result = run_cli("bench", "--instructions", "--profile", code=2)
    assert "can only be combined with --gate" in result.stderr
    result = run_cli("bench", "--instructions", "--gate", tmp_path / "none.json", code=3)
    assert "no such file" in result.stderr


def test_recorded_counts_can_be_read() -> None:
    recorded = sorted((Path(__file__).parents[2] / "benchmarks" / "results").glob("instructions-*.json"))
    assert recorded
    for path in recorded:
        assert set(callgrind.read(path)["instructions"]) == set(STAGES)


def test_a_baseline_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    write_json(path, callgrind.document("camera", dict.fromkeys(STAGES, 1000)))
    with pytest.raises(DataError, match="the baseline of the model 'camera', not of 'nano'"):
        callgrind.command("nano", gate=path, update=False, output=None, json=False)
