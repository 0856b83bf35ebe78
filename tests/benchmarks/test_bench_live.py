"""Frames per second of the live loop, and LiteRT's own benchmark tool."""

from __future__ import annotations

import sys

import pytest

from edge_fmnist.errors import InterpreterError, SinkError
from edge_fmnist_bench import litert_benchmark, live, tables
from edge_fmnist_bench.protocol import FrameToLabel


def test_the_live_loop_is_measured_with_each_output_and_all() -> None:
    found = live.measure("edge", FrameToLabel((160, 120), 1, 4))
    table = tables.live({"live": found})
    assert [row[0] for row in table.rows] == ["no output", "--jsonl", "--save", "--snapshot", "--serve", "all files"]
    assert all(rate["frames_per_second"] > 0 and rate["not_written"] == 0 for rate in found["rates"])


def test_an_output_that_fails_has_no_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise SinkError("disk full")

    monkeypatch.setattr("edge_fmnist.sinks.jsonl.JsonLines.write", fail)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    found = live.measure("nano", FrameToLabel((160, 120), 1, 4))
    assert found["model"] == "nano"
    rates = {rate["output"]: rate for rate in found["rates"]}
    assert rates["--jsonl"]["problem"] == rates["all files"]["problem"] == "disk full"
    assert "edge-fmnist[web]" in rates["--serve"]["problem"]
    assert [name for name, rate in rates.items() if rate["frames_per_second"]] == ["no output", "--save", "--snapshot"]
    assert ["--jsonl", "-", "disk full"] in tables.live({"live": found}).rows


def test_litert_benchmark() -> None:
    pytest.importorskip("ai_edge_litert.tools.benchmark_litert_model")
    found = litert_benchmark.measure("edge", 4, 1, 1)
    assert 0 < found["min_us"] <= found["p50_us"] <= found["max_us"]


def test_a_missing_litert_benchmark_says_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litert_benchmark, "MODULE", "absent")
    with pytest.raises(InterpreterError, match=r"litert-benchmark cannot be used \(.*absent.*ai-edge-litert 2\.3"):
        litert_benchmark.measure("edge", 4, 1, 1)
