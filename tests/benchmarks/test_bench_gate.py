from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_fmnist.errors import SourceError
from edge_fmnist_bench import baseline as baselines
from edge_fmnist_bench import gate
from edge_fmnist_bench.baseline import BaselineError, Limits
from edge_fmnist_bench.gate import GateRow

Result = dict[str, Any]

MODEL = {
    "name": "edge",
    "described": True,
    "sha256": "aa",
    "bytes": 145_585,
    "float_top1": 0.9437,
    "operators": ["ADD", "CONV_2D"],
    "dtypes": {"input": "UINT8", "output": "UINT8", "layers": ["INT32", "INT8"]},
}


@pytest.fixture
def result() -> Result:
    """Return as much of a result as the gate looks at."""
    return {
        "model": copy.deepcopy(MODEL),
        "machine": {"architecture": "aarch64", "feature": "asimddp"},
        "reference": "litert-int8",
        "data": {"images": 10_000, "fashion_mnist": True, "sha256": ["1", "2"]},
        "versions": {"python": "3.11"},
        "commit": None,
        "variants": [
            {"name": "litert-int8", "accuracy": {"top1": 0.9435}, "error": None},
            {"name": "litert-float32", "accuracy": {"top1": 0.9437}, "error": None},
        ],
        "ratios": [
            {"of": "classifier", "to": "litert-int8", "ratio": 1.1, "low": 1.0, "high": 1.2},
            {"of": "onnx-float32", "to": "litert-int8", "ratio": 9.0, "low": 9.0, "high": 9.0},
            {"of": "litert-float32", "to": "litert-int8", "ratio": 2.0, "low": 1.95, "high": 2.05},
        ],
    }


@pytest.fixture
def baseline(tmp_path: Path, result: Result) -> Path:
    path = tmp_path / "baseline.json"
    baselines.update(result, path)
    return path


@pytest.fixture
def edit(baseline: Path) -> Callable[[Callable[[Any], None]], Path]:
    """Return a function that changes the baseline's JSON."""

    def change(how: Callable[[Any], None]) -> Path:
        value = json.loads(baseline.read_text("utf-8"))
        how(value)
        baseline.write_text(json.dumps(value), "utf-8")
        return baseline

    return change


def row(result: Result, baseline: Path, metric: str) -> GateRow:
    return next(row for row in gate.compare(result, baseline) if row.metric == metric)


def moved(result: Result, baseline: Path) -> list[str]:
    return [row.metric for row in gate.compare(result, baseline) if not row.passed]


def speedup(result: Result, ratio: float, spread: float = 0.0) -> Result:
    result["ratios"][2] |= {"ratio": ratio, "low": ratio - spread, "high": ratio + spread}
    return result


def test_the_same_result_passes(result: Result, baseline: Path) -> None:
    rows = gate.compare(result, baseline)
    assert [row.metric for row in rows] == ["top1", "drop_points", "bytes", "operators", "dtypes", "speedup"]
    assert {row.status for row in rows} == {"same"}
    assert gate.as_dict(rows, baseline)["passed"] is True


def test_one_percent_less_accuracy(result: Result, baseline: Path) -> None:
    result["variants"][0]["accuracy"]["top1"] = 0.9335
    assert moved(result, baseline) == ["top1", "drop_points"]


def test_more_accuracy_passes(result: Result, baseline: Path) -> None:
    result["variants"][0]["accuracy"]["top1"] = 0.95
    assert moved(result, baseline) == []


@pytest.mark.parametrize(("top1", "passes"), [(0.9425, True), (0.9424, False)])
def test_the_tolerance_ends_where_the_file_says(result: Result, baseline: Path, top1: float, passes: bool) -> None:
    result["variants"][0]["accuracy"]["top1"] = top1
    assert row(result, baseline, "top1").passed is passes


@pytest.mark.parametrize(("size", "passes"), [(100_000, True), (148_000, True), (149_000, False), (189_260, False)])
def test_a_larger_file(result: Result, baseline: Path, size: int, passes: bool) -> None:
    result["model"]["bytes"] = size
    assert moved(result, baseline) == ([] if passes else ["bytes"])


def test_other_operators_and_types(result: Result, baseline: Path) -> None:
    result["model"]["operators"] = ["ADD", "CONV_2D", "DEQUANTIZE"]
    result["model"]["dtypes"]["layers"] = ["FLOAT32"]
    assert moved(result, baseline) == ["operators", "dtypes"]
    assert "DEQUANTIZE" in row(result, baseline, "operators").measured


@pytest.mark.parametrize(
    ("ratio", "status", "note"),
    [(2.0, "same", ""), (1.55, "same", ""), (1.2, "moved", "slower beside float32"), (3.0, "moved", "unexpectedly")],
)
def test_latency_is_two_sided(result: Result, baseline: Path, ratio: float, status: str, note: str) -> None:
    found = row(speedup(result, ratio), baseline, "speedup")
    assert found.status == status
    assert note in found.note


def test_latency_fails_only_where_the_whole_interval_is_out(result: Result, baseline: Path) -> None:
    assert row(speedup(result, 1.4, spread=0.2), baseline, "speedup").passed
    assert not row(speedup(result, 1.4, spread=0.05), baseline, "speedup").passed


def test_latency_on_another_kind_of_machine_is_not_compared(result: Result, baseline: Path) -> None:
    result["machine"]["feature"] = "i8mm"
    found = row(speedup(result, 9.0), baseline, "speedup")
    assert (found.status, found.passed) == ("not compared", True)
    assert "aarch64 i8mm litert" in found.note


def test_what_could_not_be_measured_fails(result: Result, baseline: Path) -> None:
    result["variants"][0].update(accuracy=None, error="RuntimeError: broken")
    result["ratios"] = []
    assert moved(result, baseline) == ["top1", "drop_points", "speedup"]
    assert row(result, baseline, "speedup").note == "RuntimeError: broken"


def test_another_model(result: Result, baseline: Path) -> None:
    result["model"]["name"] = "camera"
    with pytest.raises(BaselineError, match="is the baseline of the model 'edge', not of 'camera'"):
        gate.compare(result, baseline)


def test_a_file_without_a_name_is_taken_for_the_model(result: Result, baseline: Path) -> None:
    result["model"] |= {"name": "some-file", "described": False}
    assert moved(result, baseline) == []


def test_other_data(result: Result, baseline: Path) -> None:
    result["data"]["sha256"] = ["3", "4"]
    with pytest.raises(BaselineError, match="measured on another data set"):
        gate.compare(result, baseline)


def test_no_baseline(result: Result, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such baseline; make one with --update-baseline"):
        gate.compare(result, tmp_path / "none.json")


@pytest.mark.parametrize("text", ["", "[]", "null", '{"schema": "edge-fmnist-baseline/7"}', "\x00"])
def test_what_is_no_baseline(result: Result, baseline: Path, text: str) -> None:
    baseline.write_text(text, "utf-8")
    with pytest.raises(BaselineError, match="baseline"):
        gate.compare(result, baseline)


@pytest.mark.parametrize("metric", baselines.METRICS)
def test_a_baseline_that_lacks_a_metric(result: Result, edit: Any, metric: str) -> None:
    path = edit(lambda value: value["metrics"].pop(metric))
    with pytest.raises(BaselineError, match=f"lacks the metric '{metric}'; measure it anew with --update-baseline"):
        gate.compare(result, path)


@pytest.mark.parametrize("key", ["model", "metrics", "speedup"])
def test_a_baseline_that_lacks_a_part(result: Result, edit: Any, key: str) -> None:
    with pytest.raises(BaselineError, match="expected the keys model, metrics and speedup"):
        gate.compare(result, edit(lambda value: value.pop(key)))


@pytest.mark.parametrize(
    "change", [{"value": "much"}, {"below": "a little"}, {"around": 1}, {"value": None}, {"above": []}]
)
def test_a_baseline_with_bad_numbers(result: Result, edit: Any, change: dict[str, Any]) -> None:
    with pytest.raises(BaselineError, match="expected numbers for value, below and above"):
        gate.compare(result, edit(lambda value: value["metrics"]["top1"].update(change)))


def test_update_keeps_tolerances_and_other_machines(result: Result, edit: Any) -> None:
    path = edit(lambda value: value["metrics"]["bytes"].update(above=0.5))
    result["machine"]["feature"] = "i8mm"
    baselines.update(speedup(result, 3.0), path)
    written = baselines.read(path)
    assert written["metrics"]["bytes"]["above"] == 0.5
    values = {kind: entry["value"] for kind, entry in written["speedup"].items()}
    assert values == {"aarch64 asimddp litert": 2.0, "aarch64 i8mm litert": 3.0}


def test_update_for_another_file_forgets_other_machines(result: Result, baseline: Path) -> None:
    result["machine"]["feature"], result["model"]["sha256"] = "i8mm", "bb"
    baselines.update(result, baseline)
    assert list(baselines.read(baseline)["speedup"]) == ["aarch64 i8mm litert"]


def test_update_writes_nothing_when_something_was_not_measured(result: Result, baseline: Path) -> None:
    before = baseline.read_bytes()
    result["variants"][0]["accuracy"] = None
    with pytest.raises(BaselineError, match="did not measure top1, drop_points"):
        baselines.update(result, baseline)
    assert baseline.read_bytes() == before


@pytest.mark.parametrize(
    ("limits", "bounds", "text"),
    [
        (Limits(2.0, 0.25, 0.5, True), (1.5, 3.0), "2, 1.5 to 3"),
        (Limits(-2.0, 0.5, None, True), (-3.0, float("inf")), "-2, at least -3"),
        (Limits(0.5, None, 0.1, False), (float("-inf"), 0.6), "0.5, at most 0.6"),
    ],
)
def test_limits(limits: Limits, bounds: tuple[float, float], text: str) -> None:
    assert limits.bounds() == pytest.approx(bounds)
    assert limits.text() == text


def test_the_projects_own_baseline_is_one() -> None:
    path = Path(__file__).parents[2] / "benchmarks" / "baseline.json"
    assert baselines.read(path)["model"] == "edge"
