"""Metrics: against scikit-learn, and by hand."""

from __future__ import annotations

import json
from typing import Any, cast

import numpy as np
import pytest

from edge_fmnist.data.dataset import Split
from edge_fmnist.data.labels import LABELS
from edge_fmnist.errors import EdgeFmnistError
from edge_fmnist.model.evaluation import Evaluation, confusion_matrix, evaluate, summarize
from edge_fmnist.model.predictions import Predictions


def random_answers(seed: int, never_predicted: int, never_true: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return targets and predictions, right about half the time, with one class never predicted."""
    source = np.random.default_rng(seed)
    targets = source.integers(0, 10, 500).astype(np.uint8)
    if never_true is not None:
        targets[targets == never_true] = (never_true + 1) % 10
    predicted = np.where(source.random(500) < 0.5, targets, source.integers(0, 10, 500))
    predicted[predicted == never_predicted] = (never_predicted + 1) % 10
    return targets, predicted


def evaluated(targets: np.ndarray, predicted: np.ndarray) -> Evaluation:
    return summarize(confusion_matrix(targets, predicted, 10), LABELS, 20.0)


@pytest.mark.parametrize(("seed", "never_predicted", "never_true"), [(0, 6, None), (2, 9, 9), (3, 2, 5)])
def test_equal_to_scikit_learn(seed: int, never_predicted: int, never_true: int | None) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    targets, predicted = random_answers(seed, never_predicted, never_true)
    result = evaluated(targets, predicted)
    classes = range(10)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        targets, predicted, labels=classes, zero_division=0
    )
    assert np.array_equal(result.confusion, metrics.confusion_matrix(targets, predicted, labels=classes))
    np.testing.assert_allclose([m.precision for m in result.classes], precision)
    np.testing.assert_allclose([m.recall for m in result.classes], recall)
    np.testing.assert_allclose([m.f1 for m in result.classes], f1)
    assert [m.support for m in result.classes] == support.tolist()
    assert result.top1 == pytest.approx(metrics.accuracy_score(targets, predicted))
    assert result.macro_f1 == pytest.approx(metrics.f1_score(targets, predicted, average="macro", zero_division=0))


def test_many_classes_do_not_overflow_uint8_targets() -> None:
    confusion = confusion_matrix(np.array([99], np.uint8), np.array([98], np.uint8), 100)
    assert confusion[99, 98] == 1


def test_as_dict_survives_json() -> None:
    targets, predicted = random_answers(4, never_predicted=3)
    values = json.loads(json.dumps(evaluated(targets, predicted).as_dict()))
    assert values["images"] == 500
    assert values["images_per_second"] == 25_000.0
    assert list(values["predicted_histogram"]) == list(LABELS)
    assert sum(values["predicted_histogram"].values()) == 500
    assert values["predicted_histogram"]["Dress"] == 0
    assert np.sum(values["confusion"]) == 500
    assert values["top1"] == pytest.approx((targets == predicted).mean(), abs=1e-6)
    assert [entry["support"] for entry in values["classes"]] == np.bincount(targets, minlength=10).tolist()


class AlwaysFirst:
    """Stands in for a classifier that answers the first of its classes."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels

    def predict_batch(self, images: np.ndarray) -> Predictions:
        scores = np.zeros((len(images), len(self.labels)), np.float32)
        scores[:, 0] = 1
        return Predictions(scores, self.labels, 4.0)


def evaluate_always_first(labels: tuple[str, ...]) -> Evaluation:
    split = Split(np.zeros((20, 28, 28), np.uint8), (np.arange(20) % 10).astype(np.uint8), ("", ""))
    return evaluate(cast(Any, AlwaysFirst(labels)), split)


def test_evaluate_a_classifier() -> None:
    result = evaluate_always_first(LABELS)
    assert (result.top1, result.images, result.milliseconds) == (0.1, 20, 4.0)
    assert [metrics.predicted for metrics in result.classes] == [20, *[0] * 9]


def test_classifier_of_other_classes_than_the_data() -> None:
    result = evaluate_always_first((*LABELS, "Hat"))
    assert (result.top1, result.classes[10].support) == (0.1, 0)
    with pytest.raises(EdgeFmnistError):
        evaluate_always_first(LABELS[:9])
