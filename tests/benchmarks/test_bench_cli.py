"""``edge-fmnist bench`` from the command line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_fmnist import Classifier
from edge_fmnist.errors import InterpreterError
from edge_fmnist.model.registry import read_model
from edge_fmnist_bench import baseline as baselines
from edge_fmnist_bench import callgrind, device_report, document, machine
from edge_fmnist_bench import cli as command
from edge_fmnist_bench import gate as gates
from edge_fmnist_bench.protocol import SCENARIOS
from edge_fmnist_bench.suite import Suite
from edge_fmnist_export.web import browser

QUICK = ("--iterations", "4", "--scenario", "single-stream")


@pytest.fixture(autouse=True)
def only_litert(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide TensorFlow's interpreter, which takes seconds to import, and valgrind, which takes longer."""
    from edge_fmnist.model import interpreter

    monkeypatch.setattr(interpreter, "MODULES", {"ai-edge-litert": "ai_edge_litert.interpreter"})
    monkeypatch.setattr(callgrind, "available", lambda: False)
    # A few calls on a busy machine say little about speed.
    monkeypatch.setitem(baselines.KIND_TOLERANCES, "speedup", {"below": 0.95, "above": 20.0, "relative": True})
    for variable in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def bench(run_cli: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that runs ``edge-fmnist bench`` to an exit code."""
    return partial(run_cli, "bench")


@pytest.fixture
def baseline(bench: Callable[..., Any], small_data: Path, tmp_path: Path) -> Path:
    """Return a baseline of the shipped model on the small data set."""
    path = tmp_path / "baselines" / "baseline.json"
    bench("--gate", path, "--update-baseline", "--data", small_data, *QUICK)
    return path


def test_results_on_standard_output_and_progress_on_standard_error(bench: Any, small_data: Path) -> None:
    result = bench(*QUICK, "--data", small_data)
    for text in ("Classifier.predict, int8", "float32 reference", "a data set other than Fashion-MNIST"):
        assert text in result.stdout
    assert "bench: single-stream" in result.stderr
    assert "Warning: edge: accuracy is measured on another data set than it was trained on" in result.stderr
    assert "bench:" not in result.stdout
    last = result.stdout.splitlines()[-1]
    size = len(read_model("edge").content)
    assert re.fullmatch(
        rf"edge: p50 [\d,.]+ µs, [\d.]+ times as fast as float32, top-1 [\d.]+%, {size:,} bytes\.", last
    )


def test_json(bench: Any, small_data: Path) -> None:
    printed = bench(*QUICK, "--data", small_data, "--json")
    result = json.loads(printed.stdout)
    assert (result["schema"], result["complete"]) == (document.SCHEMA, True)
    assert result["protocol"]["scenarios"] == ["single-stream"]
    assert [variant["name"] for variant in result["variants"]] == ["classifier", "litert-int8", "litert-float32"]
    assert result["reference"] == "litert-int8"
    assert all(variant["accuracy"]["images"] == 40 for variant in result["variants"])
    assert printed.stderr.splitlines()[-1].startswith("edge: p50 ")


@pytest.mark.parametrize("installed", [True, False])
def test_a_browser_is_a_row_beside_the_others(
    bench: Any, small_data: Path, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    def measure(model: str, images: np.ndarray) -> browser.BrowserMeasurement:
        if not installed:
            raise InterpreterError("no browser found")
        return browser.BrowserMeasurement(Classifier(model).outputs(images)[0], np.full(len(images), 0.75))

    monkeypatch.setattr(browser, "measure", measure)
    result = json.loads(bench(*QUICK, "--data", small_data, "--web", "--json").stdout)
    *others, row = result["variants"]
    assert row["name"] == "litertjs-int8"
    assert [ratio["of"] for ratio in result["ratios"]] == ["classifier", "litert-float32"]
    if installed:
        assert row["accuracy"] == others[0]["accuracy"]
        assert row["single_stream"]["p50_us"] == 750
    else:
        assert (row["error"], row["single_stream"]) == ("no browser found", None)


def test_github_actions(bench: Any, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary, outputs = tmp_path / "summary.md", tmp_path / "outputs"
    summary.write_text("before\n", "utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setenv("GITHUB_OUTPUT", str(outputs))
    files = "--output", tmp_path / "a" / "b.json", "--action-benchmark", tmp_path / "c"
    printed = bench(*QUICK, "--data", small_data, "--markdown", *files).stdout
    assert printed.startswith("## edge-fmnist bench\n")
    assert summary.read_text("utf-8") == f"before\n{printed}"
    found = dict(line.split("=") for line in outputs.read_text("utf-8").splitlines())
    assert list(found) == ["p50-us", "speedup", "top1", "bytes", "peak-bytes", "gate"]
    assert float(found["p50-us"]) > 0
    assert (found["bytes"], found["peak-bytes"], found["gate"]) == (str(len(read_model("edge").content)), "", "")
    assert document.read(tmp_path / "a" / "b.json")["complete"] is True
    assert len(list((tmp_path / "c").glob("*.json"))) == 2


def test_files_of_github_that_cannot_be_written_are_a_warning(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"):
        monkeypatch.setenv(variable, "/proc/nothing")
    result = bench(*QUICK, "--json")
    assert json.loads(result.stdout)["complete"] is True
    for variable in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"):
        assert f"Warning: {variable}: /proc/nothing: " in result.stderr


def test_under_the_gate_no_variant_replaces_another(fake: Any, plan: Any) -> None:
    reference, others = fake("litert-float32"), [fake("litert-int8"), fake("litert-float32")]
    planned = plan(fake("litert-int8"), reference)
    names = ["litert-int8", "litert-float32", "litert-int8-export", "litert-float32-export"]
    gated = command._beside(planned, others, gated=True)
    assert [variant.name for variant in gated.variants] == names
    assert gated.variants[1] is reference
    free = command._beside(planned, [fake("litert-float32")], gated=False)
    assert [variant.name for variant in free.variants] == names[:2]
    assert free.variants[1] is not reference


@pytest.mark.usefixtures("no_data_installed")
def test_without_data(bench: Any, baseline: Path) -> None:
    result = bench(*QUICK)
    assert "Accuracy was not measured: no data set was found" in result.stdout
    assert "top-1" not in result.stdout.splitlines()[-1]
    assert "the gate compares accuracy, and no data set was found" in bench("--gate", baseline, *QUICK, code=3).stderr


def test_any_model_with_baseline_and_gate(
    bench: Any, rgb_model: Path, two_inputs: Path, small_data: Path, tmp_path: Path
) -> None:
    baseline, model = tmp_path / "person.json", tmp_path / "copy.tflite"
    model.write_bytes(rgb_model.read_bytes())
    bench("--model", model, "--gate", baseline, "--update-baseline", "--iterations", "4")
    assert set(json.loads(baseline.read_text("utf-8"))["metrics"]) == {"bytes", "operators", "dtypes"}
    passed = bench("--model", model, "--gate", baseline, "--iterations", "4").stdout
    assert "Gate passed" in passed
    assert "top-1" not in passed.splitlines()[-1]
    # Larger by 30 %.
    model.write_bytes(rgb_model.read_bytes() + bytes(round(rgb_model.stat().st_size * 0.3)))
    failed = bench("--model", model, "--gate", baseline, "--iterations", "4", code=4).stdout
    assert re.search(r"Gate FAILED: 1 of \d metrics", failed)
    assert re.search(r"bytes +moved", failed)
    result = json.loads(bench("--model", two_inputs, "--data", small_data, *QUICK, "--json").stdout)
    assert [entry["shape"] for entry in result["model"]["inputs"]] == [[1, 8], [1, 8]]
    assert result["variants"][0]["single_stream"]["count"] == 4
    assert result["data"] is None


@pytest.mark.slow
def test_all_scenarios_of_any_model(bench: Any, rgb_model: Path) -> None:
    printed = bench("--model", rgb_model, "--iterations", "2", "--profile", "--json")
    result = json.loads(printed.stdout)
    for variant in result["variants"]:
        assert variant["error"] is None
        assert variant["process"]["peak_bytes"] > 0
        assert {point["batch"] for point in variant["offline"]["points"]} == {1}
    assert result["frame"] is None
    assert "frame: not measured, since the model takes no images" in printed.stderr
    assert any(layer["macs"] for layer in result["profile"]["layers"])


def test_data_that_does_not_fit(bench: Any, rgb_model: Path, small_data: Path) -> None:
    result = bench("--model", rgb_model, "--data", small_data, *QUICK)
    reason = "the model takes int8 (1, 96, 96, 3), not 28x28 images"
    assert f"Warning: --data {small_data} is not used: {reason}" in result.stderr
    assert f"Accuracy was not measured: {reason}" in result.stdout


def test_nothing_measured_is_an_error(bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from edge_fmnist_bench.variants import edge

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("node 3 failed to prepare")

    monkeypatch.setattr(edge, "bare_loop", broken)
    monkeypatch.setattr(edge.ClassifierVariant, "open", broken)
    result = bench(*QUICK, "--output", tmp_path / "result.json", code=1)
    assert "no variant could be measured" in result.stderr
    assert "node 3 failed to prepare" in result.stderr
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(b"TFL3 but not really")
    assert "damaged.tflite" in bench("--model", damaged, *QUICK, code=1).stderr


def test_the_gate_passes_for_an_unchanged_tree(bench: Any, baseline: Path, small_data: Path) -> None:
    result = bench("--gate", baseline, "--data", small_data, *QUICK[:2], "--json")
    gated = json.loads(result.stdout)["gate"]
    assert gated["passed"] is True
    assert [row["metric"] for row in gated["rows"]] == [
        *("top1", "drop_points", "bytes", "operators", "dtypes", "speedup")
    ]


def test_an_unknown_machine_is_reported_and_instructions_are_compared(
    bench: Any, baseline: Path, small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[str] = []

    def count(model: str) -> int:
        counted.append(model)
        return 1_000_000

    monkeypatch.setattr(callgrind, "count_inference", count)
    gate = ("--gate", baseline, "--data", small_data, *QUICK)
    with monkeypatch.context() as patch:
        patch.setattr(callgrind, "available", lambda: True)
        bench(*gate, "--update-baseline")
        patch.setattr(machine, "feature", lambda: "amx_fp64")
        text = bench(*gate)
    assert counted == ["edge", "edge"]
    assert re.search(r"instructions +same", text.stdout)
    lines = [line for line in text.stderr.splitlines() if "did NOT compare speed" in line]
    assert len(lines) == 1
    monkeypatch.setattr(machine, "feature", lambda: "amx_fp64")
    assert "did NOT compare speed" in bench(*gate).stderr


def test_an_unusable_baseline_is_refused_before_measuring(bench: Any, baseline: Path, small_data: Path) -> None:
    gate = ("--gate", baseline, "--data", small_data, *QUICK)
    other = bench(*gate, "--model", "camera", code=1).stderr
    assert "is the baseline of the model 'edge', not of 'camera'" in other
    value = json.loads(baseline.read_text("utf-8"))
    next(iter(value["speedup"].values()))["value"] = float("nan")
    baseline.write_text(json.dumps(value), "utf-8")
    nan = bench(*gate, code=1).stderr
    assert "expected finite numbers" in nan
    assert "bench: " not in other + nan


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--iterations", "0"], 2, "0 is not in the range x>=1"),
        (["--scenario", "server"], 2, f"expected one of {', '.join(SCENARIOS)}, got 'server'"),
        (["--against", "int4"], 2, "expected float, got 'int4'"),
        (["--json", "--markdown"], 2, "both write to standard output"),
        (["--update-baseline"], 2, "needs --gate FILE"),
        (["--run", "edge"], 2, "needs --against or --peers"),
        (["--against", "float", "--run", "nano", "--gate", "baseline.json"], 2, "the model's own float network"),
        (["--output", "file", "--model", "./file"], 2, "file: is read; choose another file"),
        (["--gate", "file", "--output", "file"], 2, "file: is read; choose another file"),
        (["--model", ""], 3, "neither a file nor a shipped model"),
        (["--instructions", "--action-benchmark", "made"], 2, "can only be combined with"),
        (["--model", "no-such-model"], 3, "neither a file nor a shipped model"),
        (["--data", "nowhere"], 3, "no such folder"),
        (["--protocol", "nowhere.toml"], 3, "no such file; expected a protocol"),
        (["--gate", "nowhere.json"], 3, "no such baseline; create one with --update-baseline"),
        (["--output", "."], 2, "expected a file to write to, this is a folder"),
        (["--action-benchmark", "file"], 2, "expected a folder to write to, this is a file"),
        (["--report", "phone"], 2, "expected pi, got 'phone'"),
        (["--report", "pi", "--scenario", "paced"], 2, "measures all scenarios"),
        # Folders that cannot be written to, even by root.
        (["--output", "photo.jpg"], 2, "photo.jpg: holds something else than a result; choose another file"),
        (["--instructions", "--output", "photo.jpg"], 2, "photo.jpg: holds something else than a result"),
        (["--output", "baseline.json"], 2, "baseline.json: holds something else than a result"),
        (["--output", "instructions.json"], 2, "instructions.json: holds something else than a result"),
        (["--instructions", "--output", "bench.json"], 2, "bench.json: holds something else than a result"),
        (["--plot", "others"], 2, "latency.png: is not a plot of this version of `edge-fmnist bench`"),
        (["--action-benchmark", "deep"], 2, "smaller-is-better.json: holds something else than results"),
        (["--action-benchmark", "others"], 2, "smaller-is-better.json: holds something else than results"),
        (["--output", "/proc/results/a.json"], 1, "/proc/results: cannot write to this folder"),
        (["--action-benchmark", "/proc"], 1, "/proc: cannot write to this folder"),
        (["--gate", "/proc/baseline.json", "--update-baseline"], 1, "/proc: cannot write to this folder"),
        (["--instructions", "--output", "/proc/counts.json"], 1, "/proc: cannot write to this folder"),
    ],
)
def test_bad_input_is_refused_before_measuring(
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
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "smaller-is-better.json").write_text('{"mine": 1}')
    (tmp_path / "others" / "latency.png").write_bytes(b"\x89PNG")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "smaller-is-better.json").write_text("[" * 200_000)
    for schema in (baselines.SCHEMA, document.SCHEMA, callgrind.SCHEMA):
        (tmp_path / f"{schema.split('-')[2].partition('/')[0]}.json").write_text(json.dumps({"schema": schema}))
    monkeypatch.setenv("EDGE_FMNIST_DATA", str(small_data))
    text = bench(*arguments, code=code).stderr
    assert message in text
    assert "bench: " not in text


@pytest.mark.parametrize(
    ("option", "extra"), [("--peers", "peers"), ("--against=float", "export"), ("--plot=x", "plot")]
)
def test_a_missing_extra_is_named(
    bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, option: str, extra: str
) -> None:
    missing = {"peers": ("onnxruntime", "keras"), "export": ("keras",), "plot": ("matplotlib",)}[extra]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edge_fmnist.extras.find_spec", lambda name: None if name in missing else object())
    assert f"pip install 'edge-fmnist[{extra}]'" in bench(option, code=2).stderr


def test_a_missing_profiler_is_a_warning(bench: Any, rgb_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_fmnist_bench import profile

    monkeypatch.setattr(profile, "NAME", "another interpreter")
    result = bench("--model", rgb_model, *QUICK, "--profile")
    assert "Warning: --profile needs another interpreter" in result.stderr
    assert result.stdout.splitlines()[-1].startswith("person: p50 ")


def test_an_interruption_of_the_comparison_keeps_the_result(
    bench: Any, baseline: Path, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(gates, "compare", interrupted)
    path = tmp_path / "result.json"
    result = bench("--gate", baseline, "--data", small_data, *QUICK, "--output", path, code=130)
    assert "Interrupted: the comparison with the baseline is missing." in result.stderr
    assert "edge: p50 " in result.stdout
    assert document.read(path)["complete"] is False


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_keeps_what_was_measured(tmp_path: Path, small_data: Path, number: signal.Signals) -> None:
    """Interrupted between paced calls, which would continue for minutes."""
    path, protocol = tmp_path / "result.json", tmp_path / "protocol.toml"
    text = (Path(__file__).parents[2] / "benchmarks" / "protocol.toml").read_text("utf-8")
    protocol.write_text(text.replace("hertz = 30.0", "hertz = 0.5"), "utf-8")
    options = ["--protocol", protocol, "--data", small_data, "--scenario", "single-stream", "--scenario", "paced"]
    script = "from edge_fmnist.model import interpreter\ninterpreter.MODULES.pop('tensorflow')\n"
    script += "from edge_fmnist.cli.app import main\nmain()"
    arguments = [sys.executable, "-c", script, "bench", *map(str, options), "--output", str(path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(arguments, text=True, env={**os.environ, "COLUMNS": "250"}, **pipes) as run:  # type: ignore[call-overload]
        seen = ""
        while not seen.endswith("bench: paced\n"):
            line = run.stderr.readline()
            assert line, seen
            seen += line
        run.send_signal(number)
        printed, rest = run.communicate()
    assert run.returncode == 130, rest
    assert "Traceback" not in rest
    assert "Incomplete: interrupted" in printed
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


REPORT: dict[str, Any] = {
    "machine": {"board": "Raspberry Pi 5 Model B Rev 1.0", "cpu": "Cortex-A76"},
    "data": {"fashion_mnist": True},
    "marks": [],
}


@pytest.mark.parametrize(
    ("changed", "shortened", "message"),
    [
        ({}, False, "send in this file"),
        ({"machine": {"board": None, "cpu": "Xeon"}}, False, "not a Raspberry Pi (Xeon)"),
        ({"data": None}, False, "no accuracy"),
        ({"marks": ["throttled processor: throttled now"]}, False, "Validity checks failed"),
        ({}, True, "shortened"),
    ],
)
def test_remarks_of_a_device_report(changed: dict[str, Any], shortened: bool, message: str, tmp_path: Path) -> None:
    lines = device_report.remarks({**REPORT, **changed}, tmp_path / "a.json", shortened=shortened)
    assert len(lines) == (2 if changed or shortened else 1)
    assert message in lines[0]
    assert str(tmp_path / "a.json") in lines[-1]


def test_a_device_report_has_all_scenarios_and_a_profile(
    bench: Any, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[str] = []

    class OneScenario(Suite):
        def __init__(self, plan: Any, progress: Any) -> None:
            planned.extend(plan.scenarios)
            object.__setattr__(plan, "scenarios", ("single-stream",))
            super().__init__(plan, progress)

    board = tmp_path / "model"
    board.write_text("Raspberry Pi 5 Model B Rev 1.0\0")
    monkeypatch.setattr(machine, "BOARD", board)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "Suite", OneScenario)
    result = bench("--report", "pi", "--data", small_data, "--iterations", "2")
    assert planned == list(SCENARIOS)
    (file,) = tmp_path.glob("bench-raspberry-pi-5-model-b-rev-1-0-*.json")
    assert document.read(file)["profile"]["layers"]
    assert f"Wrote {file}" in result.stderr
