"""The gate: a result compared with a baseline."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_fmnist_bench import baseline as baselines
from edge_fmnist_bench import gate
from edge_fmnist_bench.baseline import BaselineError, Limits
from edge_fmnist_bench.gate import GateRow

Result = dict[str, Any]
NAN = float("nan")
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
    """Return the part of a result that the gate reads."""
    return {
        "model": copy.deepcopy(MODEL),
        "machine": {"architecture": "aarch64", "feature": "asimddp"},
        "reference": "litert-int8",
        "data": {"images": 10_000, "fashion_mnist": True, "sha256": ["1", "2"]},
        "versions": {"python": "3.11", "ai-edge-litert": "2.3.0"},
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
    baselines.update(result, path, 9_000_000)
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


def without_accuracy_and_float32(result: Result) -> Result:
    """Return a result of a float model of another kind: no data set, no metadata, no float32 reference."""
    result |= {"data": None, "ratios": [], "variants": result["variants"][:1]}
    result["variants"][0]["accuracy"] = None
    result["model"] |= {"float_top1": None, "described": False, "name": "person"}
    return result


def test_the_same_result_passes(result: Result, baseline: Path) -> None:
    rows = gate.compare(result, baseline)
    assert [row.metric for row in rows] == ["top1", "drop_points", "bytes", "operators", "dtypes", "speedup"]
    assert {row.status for row in rows} == {"same"}
    assert gate.as_dict(rows, baseline)["passed"] is True
    assert (gate.verdict(rows), gate.warnings(rows)) == ("Gate passed", [])


@pytest.mark.parametrize(("top1", "failed"), [(0.95, []), (0.9425, []), (0.9424, ["top1", "drop_points"])])
def test_accuracy_may_rise_but_not_fall(result: Result, baseline: Path, top1: float, failed: list[str]) -> None:
    result["variants"][0]["accuracy"]["top1"] = top1
    assert moved(result, baseline) == failed


@pytest.mark.parametrize(("size", "passes"), [(100_000, True), (148_000, True), (149_000, False)])
def test_a_larger_file(result: Result, baseline: Path, size: int, passes: bool) -> None:
    result["model"]["bytes"] = size
    assert moved(result, baseline) == ([] if passes else ["bytes"])


def test_the_classifier_answers_for_a_model_with_flip_averaging(result: Result) -> None:
    result["variants"].append({"name": "classifier", "accuracy": {"top1": 0.95}, "error": None})
    assert baselines.measured(result)["top1"] == 0.9435
    result["model"]["flip_tta"] = True
    assert baselines.measured(result)["top1"] == 0.95
    assert baselines.measured(result)["drop_points"] == pytest.approx(-0.63)


def test_other_operators_and_types(result: Result, baseline: Path) -> None:
    result["model"]["operators"] = ["ADD", "CONV_2D", "DEQUANTIZE"]
    result["model"]["dtypes"]["layers"] = ["FLOAT32"]
    assert moved(result, baseline) == ["operators", "dtypes"]
    assert gate.verdict(gate.compare(result, baseline)) == "Gate FAILED: 2 of 6 metrics moved or missing"


@pytest.mark.parametrize(
    ("ratio", "spread", "status", "note"),
    [
        (2.0, 0.0, "same", ""),
        (1.2, 0.0, "moved", "slower relative to float32"),
        (3.0, 0.0, "moved", "unexpectedly fast"),
        # Fails only if the whole interval is outside the limits.
        (1.4, 0.2, "same", ""),
        (1.4, 0.05, "moved", "slower"),
        (NAN, 0.0, "moved", ""),
    ],
)
def test_speed_has_two_limits(
    result: Result, baseline: Path, ratio: float, spread: float, status: str, note: str
) -> None:
    found = row(speedup(result, ratio, spread), baseline, "speedup")
    assert found.status == status
    assert note in found.note


def test_nan_never_passes(result: Result, baseline: Path) -> None:
    result["variants"][0]["accuracy"]["top1"] = NAN
    assert moved(result, baseline) == ["top1", "drop_points"]
    with pytest.raises(BaselineError, match="did not measure top1, drop_points"):
        baselines.update(result, baseline)


def test_another_machine_compares_instructions_instead_of_speed(result: Result, baseline: Path) -> None:
    result["machine"]["feature"] = "i8mm"
    rows = gate.compare(result, baseline)
    assert (rows[-1].status, rows[-1].passed) == ("not compared", True)
    (line,) = gate.warnings(rows)
    assert line.startswith("the gate did NOT compare speed: no baseline for this kind of machine (aarch64 i8mm litert)")
    assert "instead" not in line
    for count, passes in ((9_100_000, True), (9_900_000, False), (8_000_000, False)):
        rows = gate.compare(result, baseline, lambda count=count: count)  # type: ignore[misc]
        assert rows[-1].metric == "instructions"
        assert rows[-1].passed is passes
        assert gate.warnings(rows)[0].endswith("it compared the instruction count instead")


def test_instructions_are_not_counted_where_speed_or_nothing_can_be_compared(result: Result, baseline: Path) -> None:
    def fail() -> int:
        raise AssertionError

    assert gate.compare(result, baseline, fail)
    result["machine"]["feature"], result["versions"]["ai-edge-litert"] = "i8mm", "2.4.0"
    assert gate.compare(result, baseline, fail)


def test_what_could_not_be_measured_fails(result: Result, baseline: Path) -> None:
    result["variants"][0]["accuracy"] = None
    result["variants"][1]["error"] = "RuntimeError: broken"
    result["ratios"] = []
    assert moved(result, baseline) == ["top1", "drop_points", "speedup"]
    assert row(result, baseline, "speedup").note == "RuntimeError: broken"


def test_metrics_that_do_not_apply_are_left_out(result: Result, tmp_path: Path) -> None:
    path = tmp_path / "person.json"
    baselines.update(without_accuracy_and_float32(result), path)
    rows = gate.compare(result, path)
    assert [(row.metric, row.status) for row in rows] == [
        *(("bytes", "same"), ("operators", "same"), ("dtypes", "same"), ("speedup", "not compared"))
    ]
    assert "did NOT compare speed: only an int8 model has a float32 reference" in gate.warnings(rows)[0]


def test_a_metric_that_only_the_result_has_fails(result: Result, edit: Any) -> None:
    path = edit(lambda value: value["metrics"].pop("top1"))
    assert row(result, path, "top1").status == "missing"
    assert moved(result, path) == ["top1"]


def test_another_model_and_other_data(result: Result, baseline: Path) -> None:
    result["model"] |= {"name": "camera"}
    with pytest.raises(BaselineError, match="is the baseline of the model 'edge', not of 'camera'"):
        gate.compare(result, baseline)
    # A file without metadata cannot contradict.
    result["model"] |= {"described": False}
    assert moved(result, baseline) == []
    result["data"]["sha256"] = ["3", "4"]
    with pytest.raises(BaselineError, match="measured on another data set"):
        gate.compare(result, baseline)


@pytest.mark.parametrize("text", ["", "[]", '{"schema": "edge-fmnist-baseline/7"}', "\x00", "[" * 5000])
def test_not_a_baseline(result: Result, baseline: Path, text: str) -> None:
    baseline.write_text(text, "utf-8")
    with pytest.raises(BaselineError, match=r"not a baseline|expected a baseline of schema"):
        gate.compare(result, baseline)


@pytest.mark.parametrize("key", ["model", "metrics", "speedup"])
def test_a_baseline_that_lacks_a_part(result: Result, edit: Any, key: str) -> None:
    with pytest.raises(BaselineError, match="expected the keys model, metrics and speedup"):
        gate.compare(result, edit(lambda value: value.pop(key)))


@pytest.mark.parametrize(
    "change",
    [
        *({"value": value} for value in ("much", None, True, NAN, 10**400)),
        *({"below": value} for value in ("a little", NAN)),
        *({"above": []}, {"below": -0.1}, {"above": float("inf")}, {"around": 1}, {"relative": 1}),
    ],
)
def test_a_baseline_with_unusable_numbers(result: Result, edit: Any, change: dict[str, Any]) -> None:
    path = edit(lambda value: value["metrics"]["top1"].update(change))
    with pytest.raises(BaselineError, match="expected"):
        gate.compare(result, path)


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        *(("operators", value) for value in (None, "ADD", {"ADD": "CONV_2D"}, ["ADD", 1])),
        *(("dtypes", value) for value in (5, ["INT8"], {"input": None}, {"layers": ["INT8", 8]})),
    ],
)
def test_a_baseline_with_unusable_names(result: Result, edit: Any, metric: str, value: Any) -> None:
    path = edit(lambda content: content["metrics"][metric].update(value=value))
    with pytest.raises(BaselineError, match=f"{metric}: expected names"):
        gate.compare(result, path)


@pytest.mark.parametrize(("metric", "value"), [("speedup", NAN), ("speedup", 0.0), ("instructions", -1)])
def test_a_baseline_with_unusable_speed(result: Result, edit: Any, metric: str, value: float) -> None:
    path = edit(lambda content: next(iter(content[metric].values())).update(value=value))
    with pytest.raises(BaselineError, match=f"{metric} of aarch64"):
        gate.compare(result, path)


def test_update_keeps_tolerances_and_other_machines(result: Result, edit: Any) -> None:
    path = edit(lambda value: value["metrics"]["bytes"].update(above=0.5))
    result["machine"]["feature"] = "i8mm"
    baselines.update(speedup(result, 3.0), path)
    written = baselines.read(path)
    assert written["metrics"]["bytes"]["above"] == 0.5
    values = {kind: entry["value"] for kind, entry in written["speedup"].items()}
    assert values == {"aarch64 asimddp litert": 2.0, "aarch64 i8mm litert": 3.0}
    assert written["instructions"]["aarch64 litert 2.3.0"]["value"] == 9_000_000


@pytest.mark.parametrize("text", ['{"notes": "mine"}', "damaged"])
def test_update_does_not_replace_another_file(result: Result, tmp_path: Path, text: str) -> None:
    path = tmp_path / "notes.json"
    path.write_text(text)
    with pytest.raises(BaselineError):
        baselines.update(result, path)
    assert path.read_text() == text


def test_update_does_not_discard_tolerances_that_cannot_be_read(result: Result, edit: Any) -> None:
    path = edit(lambda value: value["metrics"]["bytes"].update(above=-1))
    with pytest.raises(BaselineError, match="bytes: expected finite numbers"):
        baselines.update(result, path)


def test_update_for_another_file_drops_other_machines(result: Result, baseline: Path) -> None:
    result["machine"]["feature"], result["model"]["sha256"] = "i8mm", "bb"
    baselines.update(result, baseline)
    written = baselines.read(baseline)
    assert (list(written["speedup"]), written["instructions"]) == (["aarch64 i8mm litert"], {})


def test_update_changes_nothing_if_a_metric_was_not_measured(result: Result, baseline: Path) -> None:
    before = baseline.read_bytes()
    result["variants"][0]["accuracy"], result["ratios"] = None, []
    with pytest.raises(BaselineError, match="did not measure top1, drop_points, speedup"):
        baselines.update(result, baseline)
    assert baseline.read_bytes() == before


@pytest.mark.parametrize(
    ("limits", "bounds", "text"),
    [
        (Limits(2.0, 0.25, 0.5, True), (1.5, 3.0), "2, 1.5 to 3"),
        (Limits(-2.0, 0.5, None, True), (-3.0, float("inf")), "-2, at least -3"),
        (Limits(0.5, 0.0, 0.0, False), (0.5, 0.5), "0.5, 0.5 to 0.5"),
        (Limits(0.5, None, 0.1, False), (float("-inf"), 0.6), "0.5, at most 0.6"),
    ],
)
def test_limits(limits: Limits, bounds: tuple[float, float], text: str) -> None:
    assert limits.bounds() == pytest.approx(bounds)
    assert limits.text() == text


def test_the_shipped_baseline() -> None:
    shipped = baselines.read(Path(__file__).parents[2] / "benchmarks" / "baseline.json")
    assert shipped["model"] == "edge"
    assert set(shipped["metrics"]) == set(baselines.METRICS)


def test_a_file_that_does_not_state_its_float_accuracy(result: Result, tmp_path: Path) -> None:
    result["model"]["float_top1"] = None
    baselines.update(result, tmp_path / "new.json")
    assert moved(result, tmp_path / "new.json") == []
    assert "drop_points" not in baselines.read(tmp_path / "new.json")["metrics"]


def test_a_speed_that_one_side_lacks_fails(result: Result, edit: Any) -> None:
    result["ratios"] = []
    # The baseline has none for any machine, and the result should have one.
    assert row(result, edit(lambda value: value["speedup"].clear()), "speedup").status == "missing"


def test_a_lost_float32_reference_fails(result: Result, baseline: Path) -> None:
    result |= {"ratios": [], "variants": result["variants"][:1]}
    assert moved(result, baseline) == ["speedup"]


def test_a_baseline_without_instructions(result: Result, edit: Any) -> None:
    assert moved(result, edit(lambda value: value.pop("instructions"))) == []


@pytest.mark.parametrize("change", [{"top5": {"value": 1.0}}, {"top1": {}}, {"top1": 0.9}])
def test_a_baseline_with_metrics_that_cannot_be_compared(result: Result, edit: Any, change: dict[str, Any]) -> None:
    with pytest.raises(BaselineError, match=r"metric 'top[15]': expected"):
        gate.compare(result, edit(lambda value: value["metrics"].update(change)))
