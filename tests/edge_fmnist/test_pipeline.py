"""The pipeline: stages, tracking, smoothing, stage times."""

from __future__ import annotations

import doctest
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from edge_fmnist import LABELS, Box, Classifier, Garment
from edge_fmnist.errors import ImageError
from edge_fmnist.pipeline import pipeline as module
from edge_fmnist.pipeline.pipeline import Pipeline


class FakeClassifier:
    """Predicts the class that the image is filled with."""

    labels = LABELS
    threshold = 0.5

    def predict(self, image: np.ndarray) -> Any:
        scores = np.full(len(LABELS), 0.01, np.float32)
        scores[int(image[0, 0])] = 0.91
        return SimpleNamespace(label=LABELS[int(image[0, 0])], scores=scores)


@pytest.fixture
def started_from(monkeypatch: pytest.MonkeyPatch) -> list[Garment | None]:
    """Replace preprocessing: black is no garment, 255 is unusable. Return the masks that segmentation started from."""
    calls: list[Garment | None] = []

    def preprocess(picture: np.ndarray, previous: Garment | None = None, small: np.ndarray | None = None) -> Garment:
        calls.append(previous)
        value = int(picture[0, 0, 0])
        if value == 255:
            raise ImageError("unusable")
        image = np.full((28, 28), value, np.uint8)
        confidence = 0.5 if previous else 0.9
        return Garment(value > 0, image, np.zeros((4, 4), np.uint8), Box(0, 0, 1, 1), confidence, picture.shape[:2])

    monkeypatch.setattr("edge_fmnist.vision.preprocess.preprocess", preprocess)
    return calls


def make(**settings: Any) -> Pipeline:
    return Pipeline(cast(Classifier, FakeClassifier()), **settings)


def grey(value: int, height: int = 6) -> np.ndarray:
    return np.full((height, 8, 3), value, np.uint8)


def test_the_example_in_the_docstring() -> None:
    assert doctest.testmod(module).failed == 0


def test_a_stream_is_tracked_until_the_garment_or_the_size_changes(started_from: list[Garment | None]) -> None:
    pipeline = make()
    garments = [pipeline.run(picture, 0).garment for picture in (grey(4), grey(8), grey(0), grey(8), grey(8, 9))]
    assert started_from == [None, garments[0], garments[1], None, None]


def test_without_tracking_each_image_is_on_its_own(started_from: list[Garment | None]) -> None:
    pipeline = make(tracking=False)
    for _ in range(3):
        pipeline.run(grey(4), 0)
    assert started_from == [None] * 3


def test_tracking_is_refreshed_and_the_better_mask_wins(started_from: list[Garment | None]) -> None:
    pipeline = make(refresh_interval=3)
    confidences = [pipeline.run(grey(4), 0).garment.confidence for _ in range(4)]
    assert confidences == [0.9, 0.5, 0.9, 0.5]


def test_an_unusable_frame_ends_tracking(started_from: list[Garment | None]) -> None:
    pipeline = make()
    pipeline.run(grey(4), 0)
    with pytest.raises(ImageError):
        pipeline.run(grey(255), 1)
    pipeline.run(grey(4), 2)
    assert started_from[-1] is None


@pytest.mark.usefixtures("started_from")
def test_one_different_frame_is_smoothed_away_or_not() -> None:
    for smoothing, labels in ((True, ["Coat", "Coat"]), (False, ["Coat", "Bag"])):
        pipeline = make(smoothing=smoothing)
        outputs = [pipeline.run(grey(LABELS.index(label)), number / 30) for number, label in enumerate(("Coat", "Bag"))]
        assert [output.smoothed.label for output in outputs] == labels
        assert [output.prediction and output.prediction.label for output in outputs] == ["Coat", "Bag"]


@pytest.mark.usefixtures("started_from")
@pytest.mark.parametrize(("threshold", "label"), [(None, "Coat"), (0.95, "unknown"), (0, "Coat")])
def test_the_threshold_is_the_models_unless_given(threshold: float | None, label: str) -> None:
    assert make(threshold=threshold).run(grey(LABELS.index("Coat")), 0).smoothed.label == label


@pytest.mark.usefixtures("started_from")
def test_times_and_no_garment() -> None:
    output = make().run(grey(0), 0)
    assert output.prediction is None
    assert output.smoothed.label is None
    assert min(output.stages.preprocess, output.stages.classify, output.stages.smooth) >= 0
    assert output.stages.total < 1000
