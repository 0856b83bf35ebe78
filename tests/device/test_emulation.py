"""What emulate.sh compares with: the first images of a data set, peak memory, and when two machines agree."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edge_fmnist.data.dataset import load

FOLDER = Path(__file__).parents[2] / "device" / "emulation"


def script(name: str) -> ModuleType:
    """Import a script of the folder, which is no package."""
    spec = importlib.util.spec_from_file_location(f"emulation_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Where dataclasses look for the module that they are in.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


compare, first_images = script("compare"), script("first_images")


def outputs(*labels: int, lead: int = 20) -> np.ndarray:
    """Return raw int8 outputs that say these labels, each by ``lead`` steps."""
    result = np.zeros((len(labels), 10), np.int8)
    result[np.arange(len(labels)), labels] = lead
    return result


def answers(folder: Path, raw: np.ndarray, *, top1: float = 0.95, peak: int = 100_000_000, **doctor: Any) -> Path:
    """Write what exercise.sh writes."""
    folder.mkdir()
    facts = {
        "edge_fmnist": "1",
        "python": "3.11",
        "machine": "aarch64",
        "numpy": "2",
        "interpreter": {},
        "problems": [],
    }
    content = {
        "doctor.json": {**facts, "opencv": {"version": "5"}, **doctor},
        "verify.json": [{"name": "edge", "ok": True}],
        "classify.jsonl": {"label": "Bag"},
        "evaluate.json": [{"top1": top1, "images": len(raw)}],
        "memory.json": {"peak_bytes": peak},
        "sizes.json": {"base_bytes": 1, "all_bytes": 2, "base": {}},
    }
    for name, value in content.items():
        (folder / name).write_text(json.dumps(value) + "\n")
    (folder / "live.jsonl").write_text(
        json.dumps({"label": "Bag"}) + "\n" if not raw.size else '{"label": "Bag"}\n' * 100
    )
    np.savez(folder / "answers.npz", outputs=raw, targets=np.zeros(len(raw), np.uint8))
    return folder


def failed(here: Path, there: Path) -> list[str]:
    return [check.name for check in compare.compare(here, there) if not check.passed]


def test_equal_answers_pass(tmp_path: Path) -> None:
    raw = outputs(*range(10))
    assert failed(answers(tmp_path / "a", raw), answers(tmp_path / "b", raw)) == []


def test_tie_within_one_step_passes_where_few_labels_differ(tmp_path: Path) -> None:
    here = outputs(*[3] * 1000)
    here[0, 5] = 19
    there = here.copy()
    there[0, 5] = 21
    assert compare.steps_apart(here, there).tolist() == [1]
    assert failed(answers(tmp_path / "a", here), answers(tmp_path / "b", there)) == []


def test_difference_of_two_steps_fails(tmp_path: Path) -> None:
    here = outputs(*[3] * 1000)
    here[0, 5] = 18
    there = here.copy()
    there[0, 5] = 21
    assert failed(answers(tmp_path / "a", here), answers(tmp_path / "b", there)) == ["other labels"]


def test_too_many_ties_fail(tmp_path: Path) -> None:
    here = outputs(*[3] * 1000)
    here[:3, 5] = 20
    there = here.copy()
    there[:3, 5] = 21
    assert failed(answers(tmp_path / "a", here), answers(tmp_path / "b", there)) == ["same labels"]


@pytest.mark.parametrize(
    ("top1", "expected"), [(0.948, []), (0.952, []), (0.9479, ["accuracy"]), (0.9521, ["accuracy"])]
)
def test_accuracy_is_held_both_ways(tmp_path: Path, top1: float, expected: list[str]) -> None:
    raw = outputs(1)
    assert failed(answers(tmp_path / "a", raw), answers(tmp_path / "b", raw, top1=top1)) == expected


def test_memory_and_problems(tmp_path: Path) -> None:
    raw = outputs(1)
    there = answers(tmp_path / "b", raw, peak=200_000_001, problems=["OpenCV: no"])
    assert failed(answers(tmp_path / "a", raw), there) == ["doctor", "live, peak memory"]


def test_memory_has_no_limit_on_32_bit(tmp_path: Path) -> None:
    raw = outputs(1)
    there = answers(tmp_path / "b", raw, peak=200_000_001, machine="armv7l")
    assert failed(answers(tmp_path / "a", raw), there) == []


def test_command_writes_the_comparison(tmp_path: Path) -> None:
    here, there = answers(tmp_path / "a", outputs(1)), answers(tmp_path / "b", outputs(2))
    command = [sys.executable, FOLDER / "compare.py", here, there, "--output", tmp_path / "out.json"]
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert "NOT" in result.stderr
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["passed"] is False
    assert document["there"]["base_bytes"] == 1


def test_first_images(small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_FMNIST_DATA", str(small_data))
    first_images.write(7, tmp_path / "first")
    few, whole = load("test", tmp_path / "first"), load("test", small_data)
    assert np.array_equal(few.images, whole.images[:7])
    assert np.array_equal(few.targets, whole.targets[:7])


def test_first_images_of_fewer_are_all(small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_FMNIST_DATA", str(small_data))
    first_images.write(10_000, tmp_path / "first")
    assert len(load("test", tmp_path / "first")) == len(load("test", small_data))


def test_peak_memory_of_a_command(tmp_path: Path) -> None:
    file = tmp_path / "memory.json"
    program = "b = bytearray(60_000_000); b[::4096] = b'x' * len(b[::4096]); raise SystemExit(3)"
    command = [sys.executable, str(FOLDER / "peak_memory.py"), str(file), sys.executable, "-c", program]
    assert subprocess.run(command, timeout=60, check=False).returncode == 3
    assert 60_000_000 < json.loads(file.read_text())["peak_bytes"] < 200_000_000


@pytest.mark.parametrize("argument", ["--arch=x", "--what", "--arch"])
def test_wrong_arguments_of_emulate(argument: str) -> None:
    result = subprocess.run(
        ["bash", str(FOLDER.parent / "emulate.sh"), argument], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 2
    assert "see --help" in result.stderr


def test_emulate_says_what_is_missing(tmp_path: Path) -> None:
    # Root, and no debootstrap on the path.
    (tmp_path / "id").write_text("#!/bin/sh\necho 0\n")
    (tmp_path / "dirname").write_text('#!/bin/sh\n/usr/bin/dirname "$@"\n')
    for name in ("id", "dirname"):
        (tmp_path / name).chmod(0o755)
    command = ["/bin/bash", str(FOLDER.parent / "emulate.sh")]
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (0, "arm64 check: skipped: debootstrap is not installed\n")
    forced = subprocess.run(
        command, env={**environment, "EDGE_FMNIST_ARM64": "1"}, capture_output=True, text=True, timeout=60
    )
    assert forced.returncode == 1
    assert "cannot run: debootstrap is not installed" in forced.stderr
