from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_fmnist.data.dataset import Split
from edge_fmnist.errors import DataError, SourceError
from edge_fmnist_bench import document, frame, images, process, protocol, tables
from edge_fmnist_bench.accuracy import accuracy
from edge_fmnist_bench.images import Images
from edge_fmnist_bench.protocol import Protocol
from edge_fmnist_bench.suite import BenchmarkPlan, Suite
from edge_fmnist_bench.variants.base import VariantError
from edge_fmnist_bench.variants.edge import edge_variants

MakePlan = Callable[..., BenchmarkPlan]


def measured(plan: BenchmarkPlan, steps: list[str] | None = None) -> document.Document:
    suite = Suite(plan, (steps if steps is not None else []).append)
    suite.run()
    return suite.document()


def one_class(index: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda pictures: np.eye(10, dtype=np.float32)[[index] * len(pictures)]


def test_every_scenario_is_in_the_result(plan: MakePlan, fake: Any) -> None:
    steps: list[str] = []
    result = measured(plan(fake("first-int8"), fake("second")), steps)
    assert result["schema"] == "edge-fmnist-bench/1"
    assert result["complete"] is True
    assert steps[-4:] == ["single-stream", "accuracy", "paced", "offline"]
    for variant in result["variants"]:
        single = variant["single_stream"]
        assert single["count"] == len(single["samples_us"]) == sum(single["rounds"]) == 6
        assert single["first_us"] > 0
        assert 0 < single["p50_us"] <= single["p90_us"] <= single["p99_us"] <= single["max_us"]
        assert variant["paced"]["count"] == 4
        assert variant["error"] is None
    assert [(ratio["of"], ratio["to"]) for ratio in result["ratios"]] == [("second", "first-int8")]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"error": VariantError("not on this machine")}, "not on this machine"),
        ({"late_error": RuntimeError("out of memory")}, "RuntimeError: out of memory"),
        ({"late_error": RuntimeError("later"), "good_calls": 5}, "RuntimeError: later"),
    ],
)
def test_a_failing_variant_does_not_stop_the_others(
    plan: MakePlan, fake: Any, settings: dict[str, Any], reason: str
) -> None:
    result = measured(plan(fake("good"), fake("bad", **settings)))
    good, bad = result["variants"]
    assert bad["error"] == reason
    assert (good["error"], good["single_stream"]["count"]) == (None, 6)
    assert bad["paced"] is None
    assert result["complete"] is True


def test_an_interruption_keeps_what_was_measured(plan: MakePlan, fake: Any) -> None:
    suite = Suite(plan(fake("a", late_error=KeyboardInterrupt(), good_calls=6)), lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        suite.run()
    result = suite.document()
    assert result["complete"] is False
    assert result["variants"][0]["single_stream"]["count"] == 4
    assert result["variants"][0]["paced"] is None
    assert json.loads(document.as_json(result)) == result


def test_accuracy_goes_through_the_timed_call(plan: MakePlan, fake: Any) -> None:
    targets = np.array([3, 3, 3, 1], np.uint8)
    split = Split(np.zeros((4, 28, 28), np.uint8), targets, ("", ""))
    given = Images(split.images, split)
    variant = fake("a", run=one_class(3))
    result = measured(plan(variant, images=given, scenarios=("single-stream",)))
    assert result["variants"][0]["accuracy"] == {"top1": 0.75, "images": 4, "batch": 1}
    assert variant.opened == [(1, 1)]


def test_outputs_that_are_not_finite_have_no_accuracy(fake: Any) -> None:
    split = Split(np.zeros((4, 28, 28), np.uint8), np.zeros(4, np.uint8), ("", ""))
    variant = fake("a", run=lambda images: np.full((len(images), 10), np.nan, np.float32))
    with pytest.raises(VariantError, match="not finite"):
        accuracy(variant, None, split, protocol.Accuracy(10.0, 4), 1)


def test_a_slow_variant_is_evaluated_in_batches(fake: Any) -> None:
    split = Split(np.zeros((10, 28, 28), np.uint8), np.full(10, 2, np.uint8), ("", ""))
    variant = fake("a", run=one_class(2))
    found = accuracy(variant, None, split, protocol.Accuracy(1e-9, 4), 1)
    assert found == {"top1": 1.0, "images": 10, "batch": 4}
    assert variant.opened == [(1, 1), (1, 4)]


def test_images_of_the_test_set(small_data: Path) -> None:
    found = images.load_images(small_data, 0)
    assert found.split is not None
    described = found.describe()
    assert described is not None
    assert (described["images"], described["fashion_mnist"]) == (40, False)
    assert found.batch(100).shape == (100, 28, 28)


def test_frames_stage_by_stage(quick: Protocol) -> None:
    found = frame.measure("edge", quick.frame, (50, 90))
    assert found["frames"] == 8
    assert found["size"] == [160, 120]
    assert 0 < found["found"] <= found["following"]["total"]["count"] <= 8
    for way in ("following", "alone"):
        assert set(found[way]) == {"preprocess", "classify", "smooth", "total"}
        assert found[way]["total"]["p50_us"] > max(found[way][stage]["p50_us"] for stage in ("preprocess", "classify"))


def test_frames_without_a_garment_are_a_note(plan: MakePlan, fake: Any, quick: Protocol) -> None:
    settings = dataclasses.replace(quick, frame=protocol.FrameToLabel((4, 4), 1, 2))
    result = measured(plan(fake("a"), protocol=settings, scenarios=["frame"]))
    assert "Frame to label was not measured: no garment was found in 2 frames of 4 x 4." in tables.notes(result)


def test_a_separate_process() -> None:
    classifier = edge_variants("edge")[0]
    found = process.measure(classifier, protocol.SeparateProcess(2, 60.0))
    assert len(found["first_label_ms"]) == 2
    assert all(milliseconds > 10 for milliseconds in found["first_label_ms"])
    # A Python process with NumPy takes this much; TensorFlow's would be many times as large.
    assert 20e6 < found["peak_bytes"] < 300e6


def test_a_process_that_fails(tmp_path: Path) -> None:
    (variant, *_) = edge_variants("edge")
    variant._model = str(tmp_path / "gone.tflite")  # type: ignore[attr-defined]
    with pytest.raises(VariantError, match="ended with exit code 1 and no label"):
        process.measure(variant, protocol.SeparateProcess(1, 1.0))


def test_a_result_is_written_and_read_again(tmp_path: Path, plan: MakePlan, fake: Any) -> None:
    result = measured(plan(fake("a")))
    path = tmp_path / "results" / "a.json"
    document.write(path, result)
    assert document.read(path) == result
    samples = next(line for line in path.read_text("utf-8").splitlines() if '"samples_us"' in line)
    assert samples.count(",") >= 5


@pytest.mark.parametrize(
    ("text", "error"),
    [(None, SourceError), ("{", DataError), ("[]", DataError), ('{"schema": "edge-fmnist-bench/0"}', DataError)],
)
def test_not_a_result(tmp_path: Path, text: str | None, error: type[Exception]) -> None:
    path = tmp_path / "result.json"
    if text is not None:
        path.write_text(text, "utf-8")
    with pytest.raises(error, match=r"not a result of|expected a result of schema|no such file"):
        document.read(path)
