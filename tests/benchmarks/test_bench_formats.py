from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_fmnist.data.dataset import Split
from edge_fmnist_bench import action, tables
from edge_fmnist_bench.gate import GateRow
from edge_fmnist_bench.images import Images
from edge_fmnist_bench.suite import BenchmarkPlan, Suite
from edge_fmnist_bench.variants.base import VariantError

Result = dict[str, Any]


@pytest.fixture
def result(plan: Callable[..., BenchmarkPlan], fake: Any) -> Result:
    split = Split(np.zeros((4, 28, 28), np.uint8), np.zeros(4, np.uint8), ("", ""))
    variants = fake("litert-int8"), fake("litert-float32"), fake("odd", error=VariantError("no | here"))
    suite = Suite(plan(*variants, images=Images(split.images, split)), lambda _: None)
    suite.run()
    found = suite.document()
    stage = {"count": 3, "p50_us": 1500.0, "p90_us": 1600.0, "max_us": 2000.0}
    stages = dict.fromkeys(("preprocess", "classify", "smooth", "total"), stage)
    found["frame"] = {
        "model": "camera",
        "size": [640, 480],
        "frames": 3,
        "found": 3,
        "following": stages,
        "alone": None,
    }
    found["variants"][0]["process"] = {"peak_bytes": 50_000_000, "first_label_ms": [300.0, 100.0, 200.0]}
    found["ratios"][0] |= {"ratio": 2.0, "low": 1.6, "high": 2.5}
    found["marks"] = []
    return dict(found)


def by_title(result: Result) -> dict[str, tables.ResultTable]:
    return {table.title.partition(",")[0]: table for table in tables.tables(result)}


def test_what_a_variant_is(result: Result) -> None:
    table = tables.tables(result)[0]
    assert "file bytes" not in table.columns
    first = dict(zip(table.columns, table.rows[0], strict=True))
    assert first == {
        "variant": "litert int8",
        "device": "CPU",
        "top-1": "100.00%",
        "peak MB": "50",
        "first label ms": "200",
    }


def test_ratios_have_their_interval(result: Result) -> None:
    assert by_title(result)["Time relative to litert int8"].rows == [["litert float32", "2.00", "1.60 to 2.50"]]


@pytest.mark.parametrize(("ratio", "text"), [(0.894, "0.89"), (22.64, "22.6"), (1234.5, "1,234")])
def test_large_ratios_have_no_needless_digits(result: Result, ratio: float, text: str) -> None:
    result["ratios"][0] |= {"ratio": ratio}
    assert by_title(result)["Time relative to litert int8"].rows[0][1] == text


def test_markdown(result: Result) -> None:
    assert all(len(row) == len(table.columns) for table in tables.tables(result) for row in table.rows)
    lines = tables.markdown(result).splitlines()
    assert lines[0] == "## edge-fmnist bench"
    assert "| variant | ratio | 95% |" in lines
    assert "| --- | ---: | ---: |" in lines
    assert any("odd: no \\| here" in line for line in lines)


def test_markdown_of_the_gate(result: Result) -> None:
    rows = [GateRow("top1", "same", "1", "1"), GateRow("bytes", "moved", "1", "2", "above")]
    text = tables.markdown(result, [*rows, GateRow("speedup", "not compared", "-", "1", "no baseline")])
    assert "### Gate FAILED: 1 of 3 metrics moved or missing" in text
    assert "| bytes | moved | 1 | 2 | above |" in text
    assert "- Warning: the gate did NOT compare speed: no baseline." in text
    assert tables.gate(rows[:1]).title == "Gate passed"


def test_the_result_in_one_sentence(result: Result) -> None:
    result["variants"][0]["single_stream"]["p50_us"] = 71.84
    assert tables.sentence(result) == (
        "edge: p50 71.8 µs, 2.00 times as fast as float32, top-1 100.00%, 145,585 bytes."
    )
    result["variants"][0] |= {"single_stream": None, "accuracy": None}
    result["ratios"] = []
    assert tables.sentence(result) == "edge: 145,585 bytes."


@pytest.mark.parametrize("width", [80, 40])
def test_tables_keep_their_figures_in_a_narrow_terminal(
    result: Result, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for table in tables.tables(result):
        tables.show(table)
        shown = capsys.readouterr().out
        figures = re.findall(r"\d[\d,.]*", " ".join(cell for row in table.rows for cell in row))
        assert [figure for figure in figures if figure not in shown] == []
        assert "…" not in shown


def test_profile(result: Result) -> None:
    layers = [
        {"index": 0, "operator": "Convolution", "macs": 1_806_336, "time_us": 15.0},
        {"index": 1, "operator": "Clamp", "macs": None, "time_us": 5.0},
    ]
    result["profile"] = {
        "interpreter": "litert 2",
        "threads": 1,
        "method": "some method",
        "whole_us": 21.0,
        "sum_us": 20.0,
        "layers": layers,
    }
    assert by_title(result)["Profile by operator"].rows == [
        ["0", "Convolution", "1,806,336", "15.0", "75%"],
        ["1", "Clamp", "-", "5.0", "25%"],
    ]
    assert "Profile: whole model 21.0 µs without profiling, operators 20.0 µs." in tables.notes(result)


def test_notes(result: Result) -> None:
    assert tables.notes(result) == ["Accuracy was measured on a data set other than Fashion-MNIST."]
    result |= {"complete": False, "data": None, "marks": ["busy machine"]}
    assert tables.notes(result) == [
        "Incomplete: interrupted; the result holds what was measured before.",
        "Accuracy was not measured: no data set was found (see `edge-fmnist data`).",
        "Warning: busy machine.",
    ]


def test_github_action_benchmark_files(result: Result, tmp_path: Path) -> None:
    action.write(tmp_path / "new", result)
    smaller, bigger = (
        json.loads((tmp_path / "new" / name).read_text("utf-8")) for name in (action.SMALLER, action.BIGGER)
    )
    for entry in [*smaller, *bigger]:
        assert {"name", "unit", "value"} <= set(entry) <= {"name", "unit", "value", "range", "extra"}
        assert isinstance(entry["value"], (int, float))
    assert len({entry["name"] for entry in smaller}) == len(smaller)
    values = {entry["name"]: entry["value"] for entry in [*smaller, *bigger]}
    assert values["size of the model file"] == 145_585
    # The file that is gated stands above the line: it grows when int8 gets slower.
    assert values["time of litert-int8 to litert-float32"] == 0.5
    assert values["litert-int8: peak memory"] == 50_000_000
    assert values["frame to label: p50"] == 1500.0
    assert values["litert-int8: top-1"] == 100.0
    assert values["litert-int8: offline throughput"] > 0
