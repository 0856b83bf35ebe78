from __future__ import annotations

import json

import numpy as np
import pytest

from edge_fmnist import ClassScore, Prediction, Predictions

LABELS = ("a", "b", "c")
SCORES = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.4, 0.4, 0.2], [0.0, 1.0, 0.0]], np.float32)


@pytest.fixture
def predictions() -> Predictions:
    return Predictions(SCORES, LABELS, 8.0)


def test_a_sequence_of_predictions(predictions: Predictions) -> None:
    assert len(predictions) == 4
    # Of equal scores the first class wins, everywhere.
    assert [prediction.label for prediction in predictions] == ["a", "c", "a", "b"]
    assert [prediction.label for prediction in reversed(predictions)] == ["b", "a", "c", "a"]
    assert predictions.indexes.tolist() == [prediction.index for prediction in predictions] == [0, 2, 0, 1]
    assert predictions[2].top(1)[0].index == 0
    with pytest.raises(IndexError):
        predictions[4]


@pytest.mark.parametrize(("position", "label", "score"), [(0, "a", 0.5), (-1, "b", 1.0), (-4, "a", 0.5)])
def test_index(predictions: Predictions, position: int, label: str, score: float) -> None:
    prediction = predictions[position]
    assert isinstance(prediction, Prediction)
    assert (prediction.label, prediction.labels, prediction.milliseconds) == (label, LABELS, 2.0)
    assert prediction.score == pytest.approx(score)


@pytest.mark.parametrize("part", [slice(1, 3), slice(None, None, -1), slice(4, None)])
def test_slice(predictions: Predictions, part: slice) -> None:
    sliced = predictions[part]
    assert isinstance(sliced, Predictions)
    assert [each.label for each in sliced] == [each.label for each in list(predictions)[part]]
    assert sliced.milliseconds == pytest.approx(2.0 * len(sliced))


@pytest.mark.parametrize(("count", "labels"), [(-1, ""), (0, ""), (1, "c"), (2, "cb"), (99, "cba")])
def test_top(predictions: Predictions, count: int, labels: str) -> None:
    assert "".join(entry.label for entry in predictions[1].top(count)) == labels
    assert predictions[1].top(1) == [ClassScore("c", 2, float(SCORES[1, 2]))]


def test_as_dict_is_plain_json_and_repr_is_short(predictions: Predictions) -> None:
    assert json.loads(json.dumps(predictions[1].as_dict(2))) == {
        "answer": "c",
        "label": "c",
        "index": 2,
        "score": 0.7,
        "milliseconds": 2.0,
        "top": [{"label": "c", "index": 2, "score": 0.7}, {"label": "b", "index": 1, "score": 0.2}],
    }
    assert repr(predictions) == "Predictions(4 images, 3 classes, 8.0 ms)"
    assert repr(predictions[1]) == "Prediction('c', score=0.700)"


@pytest.mark.parametrize(
    ("threshold", "known"), [(0.0, [1, 1, 1, 1]), (0.5, [1, 1, 0, 1]), (0.51, [0, 1, 0, 1]), (1.0, [0, 0, 0, 1])]
)
def test_known_from_the_threshold_on(threshold: float, known: list[int]) -> None:
    predictions = Predictions(SCORES, LABELS, 8.0, threshold)
    assert [prediction.known for prediction in predictions] == known
    answers = [label if sure else "unknown" for label, sure in zip("acab", known, strict=True)]
    assert [prediction.answer for prediction in predictions] == answers
    assert [prediction.answer for prediction in predictions[2:]] == answers[2:]
