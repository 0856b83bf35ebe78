from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_fmnist.model.metadata import extract
from edge_fmnist.model.registry import read_model
from edge_fmnist.model.tflite_graph import file_schema
from edge_fmnist_bench import document
from edge_fmnist_bench.flatfile import IDENTIFIER
from edge_fmnist_bench.float32_reference import float_twin

QUICK = ("--iterations", "4", "--scenario", "single-stream")


@pytest.fixture(autouse=True)
def only_litert(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide TensorFlow's interpreter: importing it takes seconds and warns, and warnings are errors here."""
    from edge_fmnist.model import interpreter

    monkeypatch.setattr(interpreter, "MODULES", {"ai-edge-litert": "ai_edge_litert.interpreter"})
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


@pytest.fixture
def bench(cli: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that runs ``edge-fmnist bench``, checks the exit code and that no exception got out."""

    def run(*arguments: object, code: int = 0) -> Any:
        result = cli("bench", *arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
        assert result.exit_code == code, result.stderr
        assert "Traceback" not in result.stderr
        return result

    return run


@pytest.fixture
def baseline(bench: Callable[..., Any], small_data: Path, tmp_path: Path) -> Path:
    """Return a baseline of the shipped model on the small data set."""
    path = tmp_path / "baselines" / "baseline.json"
    bench("--gate", path, "--update-baseline", "--data", small_data, *QUICK)
    return path


def test_text(bench: Any, small_data: Path) -> None:
    result = bench(*QUICK, "--data", small_data)
    assert result.stdout == ""
    for text in ("Classifier.predict, int8", "float32 twin", "bench: single-stream", "another data set"):
        assert text in result.stderr


def test_json(bench: Any, small_data: Path) -> None:
    result = json.loads(bench(*QUICK, "--data", small_data, "--json").stdout)
    assert (result["schema"], result["complete"]) == (document.SCHEMA, True)
    assert result["protocol"]["scenarios"] == ["single-stream"]
    assert [variant["name"] for variant in result["variants"]] == ["classifier", "litert-int8", "litert-float32"]
    assert result["reference"] == "litert-int8"
    assert all(variant["accuracy"]["images"] == 40 for variant in result["variants"])
    assert {ratio["of"] for ratio in result["ratios"]} == {"classifier", "litert-float32"}


def test_markdown_goes_to_standard_output_and_to_the_step_summary(
    bench: Any, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n", "utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    printed = bench(*QUICK, "--data", small_data, "--markdown").stdout
    assert printed.startswith("## edge-fmnist bench\n")
    assert summary.read_text("utf-8") == f"before\n{printed}"


def test_files(bench: Any, small_data: Path, tmp_path: Path) -> None:
    bench(*QUICK, "--data", small_data, "--output", tmp_path / "a" / "b.json", "--action-benchmark", tmp_path / "c")
    assert document.read(tmp_path / "a" / "b.json")["complete"] is True
    assert len(list((tmp_path / "c").glob("*.json"))) == 2


@pytest.mark.usefixtures("no_data_installed")
def test_without_data_latency_is_measured_and_said_to_be_all(bench: Any) -> None:
    result = bench(*QUICK, "--json")
    assert all(variant["accuracy"] is None for variant in json.loads(result.stdout)["variants"])
    assert "Latency only: no data set was found" in bench(*QUICK).stderr


@pytest.mark.usefixtures("no_data_installed")
def test_the_gate_needs_data(bench: Any, baseline: Path) -> None:
    assert "the gate compares accuracy, and no data set was found" in bench("--gate", baseline, *QUICK, code=3).stderr


def test_the_gate_is_open_for_an_unchanged_tree(bench: Any, baseline: Path, small_data: Path) -> None:
    result = bench("--gate", baseline, "--data", small_data, *QUICK[:2], "--json")
    gated = json.loads(result.stdout)["gate"]
    assert gated["passed"] is True
    assert [row["metric"] for row in gated["rows"]] == [
        *("top1", "drop_points", "bytes", "operators", "dtypes", "speedup")
    ]


def closed(bench: Any, baseline: Path, data: Path, model: Path) -> dict[str, str]:
    """Run the gate, which must close, and return the status of the rows that did not pass."""
    result = bench("--gate", baseline, "--data", data, "--model", model, *QUICK, "--json", code=4)
    rows = json.loads(result.stdout)["gate"]["rows"]
    return {row["metric"]: row["status"] for row in rows if row["status"] in ("moved", "missing")}


def test_a_larger_file_closes_the_gate(bench: Any, baseline: Path, small_data: Path, altered: Any) -> None:
    # Hex compresses to about half, so that the file grows by about 30 %.
    size = len(read_model("edge").content)
    ballast = np.random.default_rng(0).bytes(3 * size // 10).hex()
    model = altered(ballast=ballast)
    assert 1.25 < model.stat().st_size / size < 1.4
    assert closed(bench, baseline, small_data, model) == {"bytes": "moved"}


def test_a_float_model_closes_the_gate(bench: Any, baseline: Path, small_data: Path, altered: Any) -> None:
    model = altered(float_twin(read_model("edge").content, "edge"))
    found = closed(bench, baseline, small_data, model)
    assert {"bytes", "operators", "dtypes", "speedup"} <= set(found)


def test_text_of_a_closed_gate(bench: Any, baseline: Path, small_data: Path, altered: Any) -> None:
    model = altered(float_twin(read_model("edge").content, "edge"))
    text = bench("--gate", baseline, "--data", small_data, "--model", model, *QUICK, code=4).stderr
    assert re.search(r"Gate: closed, \d of 6 moved or missing", text)
    assert re.search(r"dtypes *│ moved", text)


def less_accurate(content: bytes, favoured: int, steps: int) -> bytes:
    """Return a model that says one class more often: the bias of its last layer is raised."""
    import flatbuffers

    model = file_schema().ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    layer = next(operator for operator in reversed(graph.operators) if len(operator.inputs) == 3)
    buffer = model.buffers[graph.tensors[layer.inputs[2]].buffer]
    bias = np.frombuffer(bytes(bytearray(buffer.data)), np.int32).copy()
    bias[favoured] += steps
    buffer.data = np.frombuffer(bias.tobytes(), np.uint8)
    # Raw data after the flatbuffer is not needed: the caller appends its own.
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


@pytest.mark.data
def test_one_percent_less_accuracy_closes_the_gate(bench: Any, real_data: Path, altered: Any, tmp_path: Path) -> None:
    whole = read_model("edge").content
    baseline = tmp_path / "baseline.json"
    bench("--gate", baseline, "--update-baseline", "--data", real_data, *QUICK)
    model = altered(less_accurate(whole, 6, 20_000))
    metadata = extract(model.read_bytes(), "worse")
    assert metadata is not None
    assert metadata.name == "edge"
    result = bench("--gate", baseline, "--data", real_data, "--model", model, *QUICK, "--json", code=4)
    found = json.loads(result.stdout)
    assert 0.92 < found["variants"][0]["accuracy"]["top1"] < 0.94
    assert {"top1", "drop_points"} <= {row["metric"] for row in found["gate"]["rows"] if row["status"] == "moved"}


def test_a_baseline_of_another_schema(bench: Any, baseline: Path, small_data: Path) -> None:
    baseline.write_text('{"schema": "other"}', "utf-8")
    text = bench("--gate", baseline, "--data", small_data, *QUICK, code=1).stderr
    assert "Error: " in text
    assert "expected a baseline of schema 'edge-fmnist-baseline/1', got 'other'" in text


def test_a_baseline_of_another_model(bench: Any, baseline: Path, small_data: Path, altered: Any) -> None:
    model = altered(name="camera")
    text = bench("--gate", baseline, "--data", small_data, "--model", model, *QUICK, code=1).stderr
    assert "is the baseline of the model 'edge', not of 'camera'" in text
    # Told of before anything is measured.
    assert "bench: single-stream" not in text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--iterations", "0"], 2, "expected at least 1, got 0"),
        (["--scenario", "server"], 2, "expected one of single-stream, paced, offline, frame, process, got 'server'"),
        (["--against", "int4"], 2, "expected float, got 'int4'"),
        (["--json", "--markdown"], 2, "both write to standard output"),
        (["--update-baseline"], 2, "needs --gate FILE"),
        (["--model", "no-such-model"], 3, "neither a file nor a shipped model"),
        (["--data", "nowhere"], 3, "no such folder"),
        (["--protocol", "nowhere.toml"], 3, "no such file; expected a protocol"),
        (["--gate", "nowhere.json"], 3, "no such baseline; make one with --update-baseline"),
        (["--output", "."], 2, "expected a file to write to, this is a folder"),
        (["--action-benchmark", "file"], 2, "expected a folder to write to, this is a file"),
    ],
)
def test_bad_input(
    bench: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_data: Path,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setenv("EDGE_FMNIST_DATA", str(small_data))
    assert message in bench(*arguments, code=code).stderr


@pytest.mark.parametrize(
    ("option", "extra"), [("--peers", "peers"), ("--against=float", "export"), ("--plot=x", "plot")]
)
def test_an_extra_that_is_missing_is_named(
    bench: Any, monkeypatch: pytest.MonkeyPatch, option: str, extra: str
) -> None:
    missing = {"peers": "onnxruntime", "export": "tensorflow", "plot": "matplotlib"}[extra]
    monkeypatch.setattr("edge_fmnist.extras.find_spec", lambda name: None if name == missing else object())
    assert f"pip install 'edge-fmnist[{extra}]'" in bench(option, code=2).stderr


def test_ctrl_c_keeps_what_was_measured(tmp_path: Path, small_data: Path) -> None:
    """Interrupted while it waits between paced calls, which would go on for minutes."""
    path = tmp_path / "result.json"
    protocol = tmp_path / "protocol.toml"
    text = (Path(__file__).parents[2] / "benchmarks" / "protocol.toml").read_text("utf-8")
    protocol.write_text(text.replace("hertz = 30.0", "hertz = 0.5"), "utf-8")
    options = ["--protocol", protocol, "--data", small_data, "--scenario", "single-stream", "--scenario", "paced"]
    script = "from edge_fmnist.model import interpreter\ninterpreter.MODULES.pop('tensorflow')\n"
    script += "from edge_fmnist.cli.app import main\nmain()"
    command = [sys.executable, "-c", script, "bench", *map(str, options), "--output", str(path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "250"}) as run:
        assert run.stderr is not None
        seen = ""
        while not seen.endswith("bench: paced\n"):
            line = run.stderr.readline()
            assert line, seen
            seen += line
        run.send_signal(signal.SIGINT)
        rest = run.stderr.read()
    assert run.returncode == 130, rest
    assert "Traceback" not in rest
    assert "Incomplete: interrupted" in rest
    result = document.read(path)
    assert result["complete"] is False
    assert result["variants"][0]["single_stream"]["count"] > 0


def test_importing_is_light() -> None:
    script = (
        "import sys, edge_fmnist_bench.cli\n"
        "heavy = {'tensorflow', 'keras', 'matplotlib', 'onnxruntime', 'onnx', 'edge_fmnist_export', 'ai_edge_litert'}\n"
        "sys.exit(repr(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
