"""Every metric is scikit-learn's own, and wrong input is refused."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from edge_fmnist.errors import DataError
from edge_fmnist_export.report.metrics import Confused, measure

LABELS = ("a", "b", "c", "d")


@pytest.fixture(scope="module")
def answers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return targets without the last class, answers and probabilities."""
    rng = np.random.default_rng(3)
    probabilities = rng.dirichlet(np.ones(4), 200)
    return rng.integers(0, 3, 200).astype(np.uint8), probabilities.argmax(axis=1), probabilities


def test_values_are_those_of_scikit_learn(answers: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    targets, predicted, probabilities = answers
    found = measure(targets, predicted, LABELS, probabilities)
    indexes = range(4)
    assert found.top1 == sk.accuracy_score(targets, predicted)
    assert found.log_loss == pytest.approx(sk.log_loss(targets, probabilities, labels=indexes))
    assert (found.confusion == sk.confusion_matrix(targets, predicted, labels=indexes)).all()
    for average, ours in (("macro", found.macro), ("weighted", found.weighted)):
        expected = sk.precision_recall_fscore_support(
            targets, predicted, labels=indexes, average=average, zero_division=0
        )
        assert (ours.precision, ours.recall, ours.f1) == pytest.approx(expected[:3])
    each = sk.precision_recall_fscore_support(targets, predicted, labels=indexes, zero_division=0)
    for index, ours_of_class in enumerate(found.classes):
        expected = [values[index] for values in each]
        assert [ours_of_class.precision, ours_of_class.recall, ours_of_class.f1] == pytest.approx(expected[:3])
        assert ours_of_class.support == expected[3]
        assert ours_of_class.predicted == (predicted == index).sum()


def test_most_confused_pairs_come_first() -> None:
    targets = np.array([0, 0, 0, 1, 1, 2])
    found = measure(targets, np.array([1, 1, 0, 0, 1, 2]), LABELS)
    assert found.most_confused() == [Confused("a", "b", 2), Confused("b", "a", 1)]
    assert found.most_confused(1) == [Confused("a", "b", 2)]


@pytest.mark.parametrize(
    ("targets", "predicted", "probabilities", "message"),
    [
        ([], [], None, "at least one; got 0 for 0"),
        ([0, 1], [0], None, "expected one prediction per image"),
        ([0, 4], [0, 1], None, "each target to be 0 to 3, got 0 to 4"),
        ([0, 1], [0, -1], None, "each prediction to be 0 to 3, got -1 to 0"),
        ([0], [0], [[0.5, 0.5]], "shape (1, 4)"),
    ],
)
def test_wrong_input_is_refused(
    targets: list[int], predicted: list[int], probabilities: list[list[float]] | None, message: str
) -> None:
    given = None if probabilities is None else np.array(probabilities)
    with pytest.raises(DataError) as caught:
        measure(np.array(targets, int), np.array(predicted, int), LABELS, given)
    assert message in str(caught.value)
