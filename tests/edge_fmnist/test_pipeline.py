"""The pipeline: stages, tracking, smoothing, stage times."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from edge_fmnist import LABELS, Classifier, Garment
from edge_fmnist.errors import ImageError
from edge_fmnist.pipeline import pipeline as module
from edge_fmnist.pipeline.pipeline import Pipeline

Make = Callable[..., Pipeline]


@pytest.fixture
def make(grey_classifier: Callable[..., Any]) -> Make:
    return lambda **settings: Pipeline(cast(Classifier, grey_classifier(0.91)), **settings)


def grey(value: int, height: int = 6) -> np.ndarray:
    return np.full((height, 8, 3), value, np.uint8)


def test_the_example_in_the_docstring() -> None:
    assert doctest.testmod(module).failed == 0


def test_a_stream_is_tracked_until_the_garment_or_the_size_changes(
    make: Make, grey_preprocessing: list[Garment | None]
) -> None:
    pipeline = make()
    garments = [pipeline.run(picture, 0).garment for picture in (grey(4), grey(8), grey(0), grey(8), grey(8, 9))]
    assert grey_preprocessing == [None, garments[0], garments[1], None, None]


def test_without_tracking_each_image_is_on_its_own(make: Make, grey_preprocessing: list[Garment | None]) -> None:
    pipeline = make(tracking=False)
    for _ in range(3):
        pipeline.run(grey(4), 0)
    assert grey_preprocessing == [None] * 3


@pytest.mark.usefixtures("grey_preprocessing")
def test_tracking_is_refreshed_and_the_better_mask_wins(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REFRESH_INTERVAL", 3)
    pipeline = make()
    confidences = [pipeline.run(grey(4), 0).garment.confidence for _ in range(4)]
    assert confidences == [0.9, 0.5, 0.9, 0.5]


def test_an_unusable_frame_ends_tracking(make: Make, grey_preprocessing: list[Garment | None]) -> None:
    pipeline = make()
    pipeline.run(grey(4), 0)
    with pytest.raises(ImageError):
        pipeline.run(grey(255), 1)
    pipeline.run(grey(4), 2)
    assert grey_preprocessing[-1] is None


@pytest.mark.usefixtures("grey_preprocessing")
def test_one_different_frame_is_smoothed_away_or_not(make: Make) -> None:
    for smoothing, labels in ((True, ["Coat", "Coat"]), (False, ["Coat", "Bag"])):
        pipeline = make(smoothing=smoothing)
        outputs = [pipeline.run(grey(LABELS.index(label)), number / 30) for number, label in enumerate(("Coat", "Bag"))]
        assert [output.smoothed.label for output in outputs] == labels
        assert [output.prediction and output.prediction.label for output in outputs] == ["Coat", "Bag"]


@pytest.mark.usefixtures("grey_preprocessing")
@pytest.mark.parametrize(("threshold", "label"), [(None, "Coat"), (0.95, "unknown"), (0, "Coat")])
def test_the_threshold_is_the_models_unless_given(make: Make, threshold: float | None, label: str) -> None:
    assert make(threshold=threshold).run(grey(LABELS.index("Coat")), 0).smoothed.label == label


@pytest.mark.usefixtures("grey_preprocessing")
def test_times_and_no_garment(make: Make) -> None:
    output = make().run(grey(0), 0)
    assert output.prediction is None
    assert output.smoothed.label is None
    assert min(output.stages.preprocess, output.stages.classify, output.stages.smooth) >= 0
    assert output.stages.total < 1000


def test_a_refreshed_mask_that_is_worse_is_not_used(
    make: Make, grey_preprocessing: list[Garment | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REFRESH_INTERVAL", 3)
    pipeline = make()
    preprocess = pipeline._preprocess

    def worse(picture: np.ndarray, previous: Garment | None = None, small: np.ndarray | None = None) -> Garment:
        garment = preprocess(picture, previous, small)
        return replace(garment, confidence=0.8 if previous else 0.3)

    monkeypatch.setattr(pipeline, "_preprocess", worse)
    assert [pipeline.run(grey(4), 0).garment.confidence for _ in range(4)] == [0.3, 0.8, 0.8, 0.8]
