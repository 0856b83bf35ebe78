"""The scripts of device/emulation: comparison of two machines, small data set; arguments of emulate.sh."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edge_fmnist.data.dataset import load

DEVICE = Path(__file__).parents[2] / "device"
SCRIPTS = DEVICE / "emulation"


def import_script(name: str) -> ModuleType:
    """Import a script of the folder, which is not a package."""
    spec = importlib.util.spec_from_file_location(f"emulation_{name}", SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Required by dataclasses.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


compare, photographs = map(import_script, ("compare", "photographs"))


def outputs(*labels: int, margin: int = 20) -> np.ndarray:
    """Return raw int8 outputs that predict these labels with a margin in quantization steps."""
    result = np.zeros((len(labels), 10), np.int8)
    result[np.arange(len(labels)), labels] = margin
    return result


def results(
    folder: Path, raw: np.ndarray, *, top1: float = 0.95, peak: int = 100_000_000, brightest: int = 255, **doctor: Any
) -> Path:
    """Write the files that run_commands.sh writes."""
    folder.mkdir()
    versions = {"edge_fmnist": "1", "python": "3.11", "machine": "aarch64", "numpy": "2", "interpreter": {}}
    content = {
        "doctor.json": {**versions, "problems": [], "opencv": {"version": "5"}, **doctor},
        "verify.json": [{"name": "edge", "ok": True}],
        "classify.jsonl": {"label": "Bag"},
        "evaluate.json": [{"top1": top1, "images": len(raw)}],
        "memory.json": {"peak_bytes": peak},
        "sizes.json": {"base_bytes": 1, "all_bytes": 2, "base": {}},
    }
    for name, value in content.items():
        (folder / name).write_text(json.dumps(value) + "\n")
    (folder / "live.jsonl").write_text('{"label": "Bag"}\n' * 100)
    np.save(folder / "outputs.npy", raw)
    images = np.zeros((2, 28, 28), np.uint8)
    images[1, 14, 14] = brightest
    np.savez(folder / "photographs.npz", images=images, confidences=[0.2, 0.3])
    return folder


def failed(native: Path, emulated: Path) -> list[str]:
    return [check.name for check in compare.compare(native, emulated) if not check.passed]


@pytest.mark.parametrize(
    ("images", "margin", "expected"), [(0, 0, []), (1, 1, []), (1, 2, ["different labels"]), (3, 0, ["labels"])]
)
def test_only_few_ties_may_differ(tmp_path: Path, images: int, margin: int, expected: list[str]) -> None:
    native = outputs(*[3] * 1000)
    native[:images, 5] = 20 - margin
    emulated = native.copy()
    emulated[:images, 5] = 21
    assert failed(results(tmp_path / "a", native), results(tmp_path / "b", emulated)) == expected


@pytest.mark.parametrize(
    ("top1", "expected"), [(0.948, []), (0.952, []), (0.9479, ["accuracy"]), (0.9521, ["accuracy"])]
)
def test_accuracy_may_differ_by_two_tenths_in_both_directions(tmp_path: Path, top1: float, expected: list[str]) -> None:
    assert failed(results(tmp_path / "a", outputs(1)), results(tmp_path / "b", outputs(1), top1=top1)) == expected


@pytest.mark.parametrize(
    ("machine", "expected"), [("aarch64", ["doctor", "live: peak memory"]), ("armv7l", ["doctor"])]
)
def test_problems_and_peak_memory(tmp_path: Path, machine: str, expected: list[str]) -> None:
    emulated = results(tmp_path / "b", outputs(1), peak=200_000_001, problems=["OpenCV: no"], machine=machine)
    assert failed(results(tmp_path / "a", outputs(1)), emulated) == expected


def test_photographs_may_not_differ_by_a_grey_level(tmp_path: Path) -> None:
    emulated = results(tmp_path / "b", outputs(1), brightest=254)
    assert failed(results(tmp_path / "a", outputs(1)), emulated) == ["photographs"]


def test_photographs_are_written_and_preprocessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGE_FMNIST_PHOTOS", raising=False)
    monkeypatch.setattr(photographs, "COUNT", 6)
    photographs.write(tmp_path / "photographs")
    photographs.preprocess_all(tmp_path / "photographs", tmp_path / "photographs.npz")
    found = np.load(tmp_path / "photographs.npz")
    assert found["images"].shape == (6, 28, 28)
    assert found["images"].any()


def test_compare_writes_a_report_and_fails(tmp_path: Path) -> None:
    native, emulated = results(tmp_path / "a", outputs(1)), results(tmp_path / "b", outputs(2))
    command = [sys.executable, SCRIPTS / "compare.py", native, emulated, "--output", tmp_path / "out.json"]
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert "FAILED" in result.stdout
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["passed"] is False
    assert document["emulated"]["base_bytes"] == 1


@pytest.mark.parametrize("count", [7, 10_000])
def test_first_images(small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setenv("EDGE_FMNIST_DATA", str(small_data))
    photographs.write_images(tmp_path / "first", count)
    first, whole = load("test", tmp_path / "first"), load("test", small_data)
    assert np.array_equal(first.images, whole.images[:count])
    assert np.array_equal(first.targets, whole.targets[:count])


def emulate(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["/bin/bash", str(DEVICE / "emulate.sh"), *arguments]
    variables = {**os.environ, **environment}
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("argument", ["--arch=x", "--what", "--arch"])
def test_invalid_arguments_of_emulate(argument: str) -> None:
    result = emulate(argument)
    assert result.returncode == 2
    assert "see --help" in result.stderr


def test_emulate_is_skipped_without_debootstrap(tmp_path: Path) -> None:
    # Root, and a path without debootstrap.
    for name, lines in (("id", "echo 0"), ("dirname", '/usr/bin/dirname "$@"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{lines}\n")
        (tmp_path / name).chmod(0o755)
    result = emulate(PATH=str(tmp_path), EDGE_FMNIST_ARM64="")
    assert (result.returncode, result.stdout) == (0, "arm64 check: skipped: debootstrap is not installed\n")
    required = emulate(PATH=str(tmp_path), EDGE_FMNIST_ARM64="1")
    assert required.returncode == 1
    assert "cannot run: debootstrap is not installed" in required.stderr
