"""The profile by operator."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from edge_fmnist.errors import InterpreterError
from edge_fmnist.model import interpreter as interpreters
from edge_fmnist.model.registry import read_model
from edge_fmnist.model.tflite_graph import read_graph
from edge_fmnist_bench import profile, tables


@pytest.fixture(scope="module", autouse=True)
def litert() -> None:
    if profile.NAME not in interpreters.installed():
        pytest.skip("LiteRT is not installed")


def test_operators_have_time_and_macs() -> None:
    found = profile.measure("edge")
    graph = read_graph(read_model("edge").content, "edge")
    macs = [layer["macs"] for layer in found["layers"]]
    assert [count for count in macs if count] == [operator.macs for operator in graph.operators if operator.macs]
    assert found["sum_us"] == pytest.approx(sum(layer["time_us"] for layer in found["layers"]), abs=0.1)
    # One and the same model: the sum cannot be far from the whole, even on a busy machine.
    assert 0.1 < found["sum_us"] / found["whole_us"] < 10
    slowest = max(found["layers"], key=lambda layer: float(layer["time_us"]))
    assert "Convolution" in slowest["operator"]
    table = tables.profile({"profile": found})
    assert table.columns == ["", "operator", "MACs", "µs", "share"]
    assert len(table.rows) == len(macs)


@pytest.mark.parametrize("name", ["rgb_model", "two_inputs"])
def test_models_with_other_inputs(name: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(name)
    found = profile.measure(str(path))
    assert sum(layer["macs"] for layer in found["layers"]) == read_graph(path.read_bytes(), name).macs


@pytest.mark.parametrize("output", ["", "nonsense"])
def test_a_library_with_another_interface(monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    def crash(command: list[str], **_: Any) -> Any:
        if not output:
            raise subprocess.CalledProcessError(-11, command, stderr="first\nundefined symbol: LiteRtStartProfiler")
        return subprocess.CompletedProcess(command, 0, output, "")

    monkeypatch.setattr(subprocess, "run", crash)
    with pytest.raises(InterpreterError, match=r"its profiler cannot be used \(.+\); --profile was tested with 2\.3"):
        profile.measure("edge")


def test_without_litert(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreters, "installed", lambda: {"tflite-runtime": "2.14.0"})
    with pytest.raises(InterpreterError, match="--profile needs ai-edge-litert"):
        profile.measure("edge")
