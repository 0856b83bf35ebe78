"""The plots of a result."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_fmnist.errors import DataError, UsageError
from edge_fmnist_bench import plots
from edge_fmnist_bench.document import Document
from edge_fmnist_bench.plots import footer, points_of

pytest.importorskip("matplotlib", reason="the extra [plot] is not installed")

TITLES = {
    "classifier": "Classifier.predict, int8",
    "litert-int8": "LiteRT 2.3.0, int8",
    "litert-float32": "LiteRT 2.3.0, float32",
    "litert-float16": "LiteRT 2.3.0, float16",
    "litert-dynamic": "LiteRT 2.3.0, dynamic",
    "keras-predict": "Keras 3.15.1 on TensorFlow, predict",
    "keras-compiled": "Keras 3.15.1 on TensorFlow, tf.function",
    "onnx-float32": "ONNX Runtime 1.31.1, float32",
    "onnx-int8": "ONNX Runtime 1.31.1, int8",
}
NAMES = ["accuracy-latency", "accuracy-size", "latency"]


def variant(name: str, microseconds: float, **changes: Any) -> dict[str, Any]:
    spread = np.random.default_rng(0).lognormal(0, 0.1, 300)
    made = {
        "name": name,
        "title": TITLES[name],
        "device": "CPU",
        "error": None,
        "file_bytes": None if "keras" in name else 145_000,
        "accuracy": {"top1": 0.9435},
        "single_stream": {"samples_us": (microseconds * spread).round(2).tolist()},
    }
    return {**made, **changes}


@pytest.fixture
def result() -> Callable[..., Document]:
    def make(*variants: dict[str, Any], **changes: Any) -> Document:
        made = {
            "complete": True,
            "created": "2026-01-02T03:04:05+00:00",
            "marks": [],
            "protocol": {"single_stream": {"threads": 1}},
            "machine": {"cpu": "Some CPU", "board": None},
            "commit": "0123456789abcdef",
            "model": {"name": "edge"},
            "reference": "litert-int8",
            "variants": list(variants) or [variant(name, 150.0 * 1.2**place) for place, name in enumerate(TITLES)],
        }
        return {**made, **changes}

    return make


@pytest.mark.slow
def test_three_figures_the_same_bytes_for_the_same_result(result: Callable[..., Document], tmp_path: Path) -> None:
    first, second = (plots.plot(result(), tmp_path / name) for name in ("first", "second"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert sorted(path.name for path in first) == sorted(f"{name}{end}" for name in NAMES for end in (".png", ".svg"))
    for path in first:
        assert path.read_bytes().startswith(b"\x89PNG" if path.suffix == ".png" else b"<?xml")


def test_labels_are_inside_and_apart(result: Callable[..., Document]) -> None:
    document = result()
    figure = plots.accuracy_against_latency(points_of(document), document)
    assert figure is not None
    (axes,) = figure.axes
    labels = [text for text in axes.texts if text.get_text()]
    assert len(labels) == len(TITLES)
    boxes = [label.get_window_extent() for label in labels]
    assert all(axes.bbox.contains(box.x0, box.y0) and axes.bbox.contains(box.x1, box.y1) for box in boxes)
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_small_differences_of_accuracy_are_not_blown_up(result: Callable[..., Document]) -> None:
    document = result(variant("litert-int8", 100.0), variant("litert-float32", 200.0, accuracy={"top1": 0.9437}))
    points = points_of(document)
    figure = plots.accuracy_against_latency(points, document)
    assert figure is not None
    low, high = figure.axes[0].get_ylim()
    assert high - low == pytest.approx(plots.MIN_SPAN)


def test_a_file_that_several_variants_share_is_drawn_once(result: Callable[..., Document]) -> None:
    document = result(variant("litert-int8", 100.0), variant("classifier", 110.0))
    points = points_of(document)
    figure = plots.accuracy_against_size(points, document)
    assert figure is not None
    assert [text.get_text() for text in figure.axes[0].texts if text.get_text()] == ["LiteRT, int8"]


def test_failed_validity_checks_are_in_the_footer(result: Callable[..., Document]) -> None:
    below = footer(result(marks=["busy machine"], complete=False))
    assert below == [
        "edge-fmnist bench, 2026-01-02, commit 0123456",
        "Incomplete: the run was interrupted.",
        "Warning: busy machine",
    ]


def test_points(result: Callable[..., Document]) -> None:
    failed = variant("onnx-int8", 1.0, error="no", accuracy=None, single_stream=None)
    (point,) = points_of(result(failed, variant("keras-predict", 100.0, device="Some GPU")))
    assert point.label == "Keras on TensorFlow, predict, Some GPU"


def test_without_a_data_set_only_latency_is_drawn(result: Callable[..., Document], tmp_path: Path) -> None:
    document = result(variant("litert-int8", 100.0, accuracy=None))
    assert {path.stem for path in plots.plot(document, tmp_path)} == {"latency"}


def test_only_plots_of_the_benchmark_are_replaced(result: Callable[..., Document], tmp_path: Path) -> None:
    document = result(variant("litert-int8", 100.0))
    written = plots.plot(document, tmp_path)
    plots.check_replaceable(tmp_path)
    for path in written:
        content = path.read_bytes()
        path.write_bytes(content.replace(plots.MARK.encode(), b"another program"))
        with pytest.raises(UsageError, match=f"{path.name}: is not a plot"):
            plots.check_replaceable(tmp_path)
        path.write_bytes(content)


def test_nothing_to_draw(result: Callable[..., Document], tmp_path: Path) -> None:
    document = result(variant("litert-int8", 100.0, accuracy=None, single_stream=None))
    with pytest.raises(DataError, match="nothing to draw"):
        plots.plot(document, tmp_path)
    assert list(tmp_path.iterdir()) == []
