"""Counting instructions: the marks, reading callgrind's dumps, the gate; valgrind itself runs in .ci/run."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_fmnist import Classifier
from edge_fmnist.errors import CheckError, DataError, SourceError, UsageError
from edge_fmnist.vision.preprocess import preprocess
from edge_fmnist_bench import callgrind_target as counted
from edge_fmnist_bench import instructions
from edge_fmnist_bench.callgrind_target import MARK, STAGES
from edge_fmnist_bench.instructions import Counted

TOTALS = {2: 3000, 3: 2000, 4: 900, 5: 100}


def callgrind(totals: dict[int, int], returncode: int = 0) -> Callable[..., Any]:
    """Return a stand-in for subprocess.run that leaves dumps as callgrind does."""

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        name = next(word for word in command if word.startswith("--callgrind-out-file="))
        file = Path(name.partition("=")[2])
        file.write_text("version: 1\ntotals: 7\n")
        for number, total in {1: 10**9, **totals}.items():
            file.with_name(f"{file.name}.{number}").write_text(
                f"events: Ir\nfn=(1)\n1 5\nsummary: {total}\ntotals: {total}\n"
            )
        return subprocess.CompletedProcess(command, returncode, "", "first\nsecond\nvalgrind: no\n")

    return run


@pytest.fixture
def valgrind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_fmnist_bench.instructions.shutil.which", lambda name: f"/usr/bin/{name}")


def counts(**changed: Any) -> dict[str, Any]:
    document = instructions.document(Counted("camera", 2, dict.fromkeys(STAGES, 1000)))
    return {**document, **changed}


@pytest.mark.usefixtures("valgrind")
def test_counts_are_those_between_marks_for_one_frame() -> None:
    found = instructions.count("edge", frames=2, run=callgrind(TOTALS))
    assert found.instructions == {"frame": 1500, "preprocess": 1000, "classify": 450, "smooth": 50}
    assert found.model == "camera"


@pytest.mark.usefixtures("valgrind")
def test_command_marks_where_the_program_does() -> None:
    seen: list[str] = []

    def run(command: list[str], **options: Any) -> Any:
        seen.extend(command)
        return callgrind(TOTALS)(command, **options)

    instructions.count("edge", frames=3, run=run)
    assert f"--dump-before={MARK}" in seen
    assert seen[-4:] == ["camera", "3", "640", "480"]


@pytest.mark.usefixtures("valgrind")
def test_missing_dump_is_an_error() -> None:
    with pytest.raises(CheckError, match="no counts at getsid, call 5"):
        instructions.count("edge", run=callgrind({2: 1, 3: 1, 4: 1}))


@pytest.mark.usefixtures("valgrind")
def test_failed_callgrind_is_an_error_with_its_last_words() -> None:
    with pytest.raises(CheckError, match="exit code 1: first second valgrind: no"):
        instructions.count("edge", run=callgrind(TOTALS, returncode=1))


@pytest.mark.usefixtures("valgrind")
def test_hanging_callgrind_is_an_error() -> None:
    def run(command: list[str], timeout: float, **_: Any) -> Any:
        raise subprocess.TimeoutExpired(command, timeout)

    with pytest.raises(CheckError, match="did not end within 900 seconds"):
        instructions.count("edge", run=run)


@pytest.mark.usefixtures("valgrind")
def test_no_frames_is_an_error() -> None:
    with pytest.raises(UsageError, match="at least 1 frame, got 0"):
        instructions.count("edge", frames=0)


def test_without_valgrind_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_fmnist_bench.instructions.shutil.which", lambda name: None)
    with pytest.raises(UsageError, match="sudo apt install valgrind"):
        instructions.count("edge")


def test_program_marks_before_and_after_each_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def noted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            order.append(name)
            return function(*arguments, **named)

        return call

    monkeypatch.setattr(counted, "mark", lambda: order.append("mark"))
    monkeypatch.setattr(counted, "preprocess", noted("preprocess", preprocess))
    classifier = Classifier.load("camera")
    monkeypatch.setattr(classifier, "predict", noted("classify", classifier.predict))
    counted.count(classifier, counted.pictures(2, 320, 240))
    frame = ["preprocess", "classify"] * 2
    stages = [frame, frame, ["preprocess"] * 2, ["classify"] * 2, [], []]
    assert [word for stage in stages[:-1] for word in [*stage, "mark"]] == order
    assert order.count("mark") == len(STAGES) + 1


def test_drawn_frames_show_a_garment() -> None:
    pictures = counted.pictures(2, 320, 240)
    assert [picture.shape for picture in pictures] == [(240, 320, 3)] * 2
    assert all(preprocess(picture).found for picture in pictures)
    assert not np.array_equal(pictures[0], pictures[1])


@pytest.mark.parametrize(
    ("factor", "status"), [(1.0, "same"), (1.049, "same"), (0.951, "same"), (1.06, "moved"), (0.94, "moved")]
)
def test_gate_is_five_percent_both_ways(factor: float, status: str) -> None:
    now = counts(instructions={**counts()["instructions"], "classify": round(1000 * factor)})
    rows = {row.metric: row for row in instructions.compare(now, counts())}
    assert rows["classify"].status == status
    assert rows["classify"].passed == (status == "same")
    assert rows["preprocess"].status == "same"


def test_other_libraries_are_not_compared_and_the_note_says_which() -> None:
    kind = {**instructions.kind(), "numpy": "1.0"}
    now = counts(instructions=dict.fromkeys(STAGES, 9999))
    rows = instructions.compare(now, counts(kind=kind))
    assert {row.status for row in rows} == {"not compared"}
    assert "numpy 1.0 then" in rows[0].note


def test_stage_that_the_baseline_lacks_fails() -> None:
    rows = instructions.compare(counts(), counts(instructions={"frame": 1000}))
    assert [row.status for row in rows] == ["same", "missing", "missing", "missing"]


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, SourceError, "no such file; write it with --instructions"),
        ("nonsense", DataError, "no counts of"),
        ('{"schema": "other/1"}', DataError, "expected counts of schema 'edge-fmnist-instructions/1', got 'other/1'"),
        ("[]", DataError, "got None"),
    ],
)
def test_unusable_baseline(tmp_path: Path, content: str | None, error: type[Exception], message: str) -> None:
    path = tmp_path / "counts.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(error, match=message):
        instructions.read(path)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count without valgrind."""
    found = Counted("camera", 2, {"frame": 3000, "preprocess": 2000, "classify": 900, "smooth": 100})
    monkeypatch.setattr(instructions, "count", lambda model: found)


@pytest.mark.usefixtures("quick")
def test_command_writes_and_holds(cli: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "counts.json"
    written = cli("bench", "--instructions", "--gate", path, "--update-baseline")
    assert written.exit_code == 0, written.stderr
    assert "30.0%" in written.stderr
    assert cli("bench", "--instructions", "--gate", path).exit_code == 0
    baseline = json.loads(path.read_text())
    baseline["instructions"]["classify"] = 800
    path.write_text(json.dumps(baseline))
    moved = cli("bench", "--instructions", "--gate", path, "--json")
    assert moved.exit_code == 4
    assert "900 (+12.50%)" in moved.stderr
    assert json.loads(moved.stdout)["instructions"]["classify"] == 900


def test_command_refuses_options_of_other_measurements(cli: Callable[..., Any]) -> None:
    result = cli("bench", "--instructions", "--profile")
    assert result.exit_code == 2
    assert "goes with --gate" in result.stderr


def test_command_wants_the_baseline_before_it_counts(cli: Callable[..., Any], tmp_path: Path) -> None:
    result = cli("bench", "--instructions", "--gate", tmp_path / "none.json")
    assert result.exit_code == 3
    assert "no such file" in result.stderr


def test_recorded_counts_can_be_read() -> None:
    recorded = sorted((Path(__file__).parents[2] / "benchmarks" / "results").glob("instructions-*.json"))
    assert recorded
    for path in recorded:
        assert set(instructions.read(path)["instructions"]) == set(STAGES)
