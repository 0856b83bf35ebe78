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


def test_length_and_iteration(predictions: Predictions) -> None:
    assert len(predictions) == 4
    assert [prediction.label for prediction in predictions] == ["a", "c", "a", "b"]
    assert [prediction.label for prediction in reversed(predictions)] == ["b", "a", "c", "a"]


@pytest.mark.parametrize(("position", "label", "score"), [(0, "a", 0.5), (1, "c", 0.7), (-1, "b", 1.0), (-4, "a", 0.5)])
def test_index(predictions: Predictions, position: int, label: str, score: float) -> None:
    prediction = predictions[position]
    assert isinstance(prediction, Prediction)
    assert (prediction.label, LABELS[prediction.index]) == (label, label)
    assert prediction.score == pytest.approx(score)
    assert prediction.milliseconds == pytest.approx(2.0)


@pytest.mark.parametrize("position", [4, -5, 100])
def test_index_outside(predictions: Predictions, position: int) -> None:
    with pytest.raises(IndexError):
        predictions[position]


@pytest.mark.parametrize(
    "part", [slice(1, 3), slice(None), slice(None, None, -1), slice(-2, None), slice(0, 99), slice(3, 1)]
)
def test_slice(predictions: Predictions, part: slice) -> None:
    sliced = predictions[part]
    assert isinstance(sliced, Predictions)
    assert [p.label for p in sliced] == [p.label for p in list(predictions)[part]]
    assert sliced.milliseconds == pytest.approx(2.0 * len(sliced))


def test_slice_of_an_empty_slice(predictions: Predictions) -> None:
    assert list(predictions[4:][:]) == []


def test_indexes(predictions: Predictions) -> None:
    assert predictions.indexes.tolist() == [0, 2, 0, 1]
    assert predictions.indexes.tolist() == [prediction.index for prediction in predictions]


def test_ties_go_to_the_first_class_everywhere(predictions: Predictions) -> None:
    tied = predictions[2]
    assert (tied.index, tied.top(1)[0].index, int(predictions.indexes[2])) == (0, 0, 0)


@pytest.mark.parametrize(("count", "labels"), [(1, "c"), (2, "cb"), (3, "cba"), (99, "cba")])
def test_top(predictions: Predictions, count: int, labels: str) -> None:
    top = predictions[1].top(count)
    assert "".join(entry.label for entry in top) == labels
    assert top[0] == ClassScore("c", 2, float(SCORES[1, 2]))


@pytest.mark.parametrize("count", [0, -1])
def test_top_of_none(predictions: Predictions, count: int) -> None:
    assert predictions[0].top(count) == []


def test_as_dict_is_plain_json(predictions: Predictions) -> None:
    assert json.loads(json.dumps(predictions[1].as_dict(2))) == {
        "answer": "c",
        "label": "c",
        "index": 2,
        "score": 0.7,
        "milliseconds": 2.0,
        "top": [{"label": "c", "index": 2, "score": 0.7}, {"label": "b", "index": 1, "score": 0.2}],
    }


def test_a_prediction_cannot_be_changed(predictions: Predictions) -> None:
    with pytest.raises(AttributeError):
        predictions[0].label = "b"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("threshold", "known"), [(0.0, [1, 1, 1, 1]), (0.5, [1, 1, 0, 1]), (0.51, [0, 1, 0, 1]), (1.0, [0, 0, 0, 1])]
)
def test_known_from_the_threshold_on(threshold: float, known: list[int]) -> None:
    predictions = Predictions(SCORES, LABELS, 8.0, threshold)
    assert [prediction.known for prediction in predictions] == known
    answers = [label if sure else "unknown" for label, sure in zip("acab", known, strict=True)]
    assert [prediction.answer for prediction in predictions] == answers
    assert [prediction.label for prediction in predictions] == list("acab")


def test_parts_keep_the_threshold() -> None:
    predictions = Predictions(SCORES, LABELS, 8.0, 0.6)
    assert predictions[1:].threshold == 0.6
    assert [prediction.answer for prediction in predictions[2:]] == ["unknown", "b"]
    assert predictions[0].as_dict()["answer"] == "unknown"


def test_without_a_threshold_everything_is_known(predictions: Predictions) -> None:
    assert all(prediction.known for prediction in predictions)
