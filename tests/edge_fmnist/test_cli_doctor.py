from __future__ import annotations

import json
import platform
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_fmnist import extras
from edge_fmnist.data import dataset
from edge_fmnist.model import interpreter

RunCli = Callable[..., Any]


@pytest.fixture
def shipped(ship: Callable[..., Path], describe_model: Callable[..., Path]) -> Path:
    return ship(edge=describe_model())


@pytest.fixture
def data(small_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGE_FMNIST_DATA", str(small_data))
    return small_data


def test_json_and_text(run_cli: RunCli, shipped: Path, data: Path) -> None:
    facts = json.loads(run_cli("doctor", "--json").stdout)
    assert facts["problems"] == []
    assert facts["edge_fmnist"] == version("edge-fmnist")
    assert (facts["python"], facts["executable"]) == (platform.python_version(), sys.executable)
    assert facts["interpreter"]["name"] == next(iter(facts["interpreters_installed"]))
    assert isinstance(facts["interpreter"]["xnnpack"], bool)
    assert facts["interpreter"]["threads_available"] == facts["cores"]
    assert facts["opencv"]["version"]
    backends = facts["opencv"]["video_backends"]
    assert len(set(backends)) == len(backends) > 0
    assert facts["data"] == {"found": True, "folder": str(data)}
    assert facts["models"] == {"edge": True}
    result = run_cli("doctor")
    assert result.stderr == ""
    for text in ("edge-fmnist doctor", "interpreter", "XNNPACK", "OpenCV", str(data), "edge ok"):
        assert text in result.stdout


@pytest.mark.usefixtures("no_data_installed")
def test_missing_data_is_not_a_problem(run_cli: RunCli, shipped: Path) -> None:
    facts = json.loads(run_cli("doctor", "--json").stdout)
    assert facts["data"]["found"] is False
    assert "edge-fmnist data" in facts["data"]["why"]
    assert facts["problems"] == []
    assert "not found: " in run_cli("doctor").stdout


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "t10k-images-idx3-ubyte").write_bytes(b""), "data: "),
        (lambda folder: next(folder.glob("t10k-images*")).unlink(), "not a data set folder"),
        (shutil.rmtree, "no such folder"),
    ],
)
def test_a_folder_that_was_named_must_be_usable(
    run_cli: RunCli, shipped: Path, data: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(data)
    facts = json.loads(run_cli("doctor", "--json", code=1).stdout)
    assert facts["data"]["found"] is False
    assert message in "".join(facts["problems"])


@pytest.mark.usefixtures("no_data_installed")
def test_damaged_data_of_the_cache_is_a_problem(run_cli: RunCli, shipped: Path, small_data: Path) -> None:
    shutil.copytree(small_data, dataset.user_cache(), dirs_exist_ok=True)
    facts = json.loads(run_cli("doctor", "--json", code=1).stdout)
    assert "wrong hash" in "".join(facts["problems"])


def test_a_changed_model(run_cli: RunCli, shipped: Path, data: Path) -> None:
    path = shipped / "edge.tflite"
    path.write_bytes(path.read_bytes()[:-1])
    facts = json.loads(run_cli("doctor", "--json", code=1).stdout)
    assert facts["models"] == {"edge": False}
    (problem,) = facts["problems"]
    assert problem.startswith("model edge: ")
    assert "reinstall" in problem
    result = run_cli("doctor", code=1)
    assert "edge BROKEN" in result.stdout
    assert "Problem: model edge: " in result.stderr


def test_a_damaged_registry(run_cli: RunCli, ship: Callable[..., Path], data: Path) -> None:
    (ship() / "registry.json").write_text("{", "utf-8")
    facts = json.loads(run_cli("doctor", "--json", code=1).stdout)
    assert (facts["models"], facts["interpreter"]) == ({}, None)
    assert any(problem.startswith("models: ") for problem in facts["problems"])


def test_no_interpreter(run_cli: RunCli, shipped: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_FMNIST_INTERPRETER", "onnx")
    assert "Problem: interpreter: unknown interpreter 'onnx'" in run_cli("doctor", code=1).stderr
    monkeypatch.delenv("EDGE_FMNIST_INTERPRETER")
    monkeypatch.setattr(interpreter, "find_spec", lambda name: None)
    facts = json.loads(run_cli("doctor", "--json", code=1).stdout)
    assert (facts["interpreter"], facts["interpreters_installed"]) == (None, {})
    assert any("no TensorFlow Lite interpreter is installed" in problem for problem in facts["problems"])


def test_opencv_that_cannot_be_imported(
    run_cli: RunCli, shipped: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    facts = json.loads(run_cli("doctor", "--json", code=1).stdout)
    assert facts["opencv"] is None
    assert any(problem.startswith("OpenCV: cannot be imported") for problem in facts["problems"])


@pytest.mark.parametrize("present", [True, False])
def test_extras(run_cli: RunCli, shipped: Path, data: Path, monkeypatch: pytest.MonkeyPatch, present: bool) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: SimpleNamespace() if present else None)
    assert json.loads(run_cli("doctor", "--json").stdout)["extras"]["export"] is present
    assert f"export {'present' if present else 'absent'}" in run_cli("doctor").stdout


def test_more_cores_than_an_interpreter_may_use(
    run_cli: RunCli, shipped: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 96)
    assert json.loads(run_cli("doctor", "--json").stdout)["interpreter"]["threads_available"] == 64
