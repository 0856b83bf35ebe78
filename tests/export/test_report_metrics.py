"""What the report computes: metrics, confidence, duplicates and the verdict on training."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest
from sklearn import metrics as sk

from edge_fmnist.model.evaluation import confusion_matrix, summarize
from edge_fmnist_export.report.confidence import coverage, reliability
from edge_fmnist_export.report.duplicates import FARTHEST, near_pairs, repeated, shared
from edge_fmnist_export.report.metrics import Confused, measure
from edge_fmnist_export.report.verdict import judge
from edge_fmnist_export.training.phase import EpochRecord

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


def test_error_weights_bins_by_their_images() -> None:
    scores = np.array([0.9, 0.9, 0.9, 0.9, 0.3])
    found = reliability(scores, np.array([True, True, True, False, True]), 10)
    assert found.error == pytest.approx(4 / 5 * abs(0.9 - 0.75) + 1 / 5 * abs(0.3 - 1))
    assert found.counts.tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 4, 0]
    assert found.accuracies[[2, 8]].tolist() == [1, 0.75]
    assert np.isnan(found.accuracies[0])


@pytest.mark.parametrize(
    ("scores", "correct"), [([1.0] * 7, [True] * 7), ([0.75] * 4, [True, True, True, False]), ([0.0] * 3, [False] * 3)]
)
def test_calibrated_scores_have_no_error(scores: list[float], correct: list[bool]) -> None:
    found = reliability(np.array(scores), np.array(correct))
    assert (found.error, found.counts.sum()) == (0, len(scores))


def test_each_step_accepts_all_images_with_at_least_its_score() -> None:
    rng = np.random.default_rng(2)
    # Coarse, so that scores are equal.
    scores = np.round(rng.uniform(0.1, 1.0, 500), 2)
    correct = rng.random(500) < scores
    curve = coverage(scores, correct)
    assert len(curve.thresholds) == len(np.unique(scores))
    for threshold, share, accuracy in zip(curve.thresholds, curve.shares, curve.accuracies, strict=True):
        within = scores >= threshold
        assert share == pytest.approx(within.mean())
        assert accuracy == pytest.approx(correct[within].mean())


def test_steps_are_found_by_share_and_threshold() -> None:
    curve = coverage(np.array([0.9, 0.8, 0.8, 0.2]), np.array([True, True, False, False]))
    np.testing.assert_allclose(curve.shares, [0.25, 0.75, 1.0])
    assert [curve.at_share(share) for share in (0.2, 0.25, 0.5, 0.75, 1.0)] == [0, 0, 1, 1, 2]
    assert [curve.at_threshold(threshold) for threshold in (0.95, 0.9, 0.5, 0.0)] == [None, 0, 1, 2]


def garments(count: int, seed: int) -> np.ndarray:
    """Return smooth images that share what they vary in, as garments do."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 7, 7)).repeat(4, 1).repeat(4, 2)
    return coarse.astype(np.uint8)


def test_equal_images_are_counted() -> None:
    train, test = garments(30, 1), garments(20, 2)
    train[7] = train[3]
    train[9] = train[3]
    test[5] = train[3]
    assert (repeated(train), repeated(test), shared(train, test)) == (2, 0, 1)


def test_every_near_pair_is_found() -> None:
    rng = np.random.default_rng(3)
    train, test = garments(200, 4), garments(100, 5)
    for index, size in enumerate((30, 9, 0, 15, 4, 16, 1, 14)):
        # Noise that changes the root mean square by just so much.
        noise = rng.choice([-size, size], (28, 28))
        test[index] = np.clip(train[index].astype(int) + noise, 0, 255).astype(np.uint8)
    differences = np.sqrt(((test[:, None].astype(float) - train[None]) ** 2).mean(axis=(2, 3)))
    expected = {(i, j): differences[i, j] for i, j in np.argwhere(differences <= FARTHEST).tolist()}
    found = near_pairs(train, test)
    assert 6 <= len(expected) <= 8
    assert {(pair.test, pair.train): pair.difference for pair in found} == pytest.approx(expected, abs=1e-4)
    assert [pair.difference for pair in found] == sorted(pair.difference for pair in found)


def test_all_images_near_or_none() -> None:
    images = np.full((3, 28, 28), 7, np.uint8)
    assert len(near_pairs(images, images)) == 9
    assert near_pairs(images, np.full((4, 28, 28), 200, np.uint8)) == []


def test_a_single_training_image() -> None:
    train, test = garments(1, 4), garments(3, 5)
    test[1] = np.clip(train[0], 5, None)
    assert [(pair.test, pair.train) for pair in near_pairs(train, test)] == [(1, 0)]


def records(
    validation_losses: Sequence[float], accuracy: float = 0.95, validation_accuracy: float = 0.93
) -> list[EpochRecord]:
    """Return epochs with these validation losses; the last has the highest validation accuracy."""
    return [
        EpochRecord("float", number, 0.5, accuracy, loss, validation_accuracy + number * 1e-6, 0.01, 1.0, 1000.0)
        for number, loss in enumerate(validation_losses, 1)
    ]


LEVEL = [*np.linspace(1.0, 0.4, 12), *[0.4] * 8]
FALLING = list(np.linspace(1.0, 0.4, 20))
RISING = [*np.linspace(1.0, 0.4, 10), *np.linspace(0.41, 0.6, 10)]


@pytest.mark.parametrize(
    ("losses", "judgement", "word"),
    [
        (LEVEL, "well fitted", "Well fitted"),
        (FALLING, "unfinished", "Underfitted"),
        (RISING, "overfitted", "Overfitted"),
        ([1.0, 0.5, 0.4], "too short", "Too short"),
        ([0.5], "too short", "Too short"),
        ([0.0, 0.0, 0.0, 0.0], "well fitted", "Well fitted"),
    ],
)
def test_judgement(losses: list[float], judgement: str, word: str) -> None:
    verdict = judge(records(losses))
    assert verdict.judgement == judgement
    assert verdict.sentences().startswith(word)


def test_training_far_ahead_is_overfitting_though_the_loss_is_level() -> None:
    verdict = judge(records(LEVEL, accuracy=0.999, validation_accuracy=0.90))
    assert verdict.judgement == "overfitted"
    assert verdict.gap_points == pytest.approx(9.9, abs=0.01)
    assert "9.90 points above" in verdict.sentences()


def test_numbers_behind_a_verdict() -> None:
    verdict = judge(records(RISING))
    assert (verdict.epochs, verdict.best_epoch, verdict.least_loss_epoch) == (20, 20, 10)
    assert verdict.rise == pytest.approx(0.5)
    assert verdict.trend_epochs == 5
    step = RISING[-1] - RISING[-2]
    assert verdict.trend == pytest.approx(step / np.mean(RISING[-5:]))
    assert "epoch 10 and ended 50.0% higher" in verdict.sentences()


def test_classes_that_nothing_has_are_not_averaged() -> None:
    targets = np.array([0, 1, 1, 2], np.uint8)
    found = measure(targets, targets.astype(np.int64), LABELS)
    assert (found.macro.f1, len(found.classes)) == (1, len(LABELS))
    assert len(re.findall("(?m)^ +[abcd] ", found.report)) == 3
    assert summarize(confusion_matrix(targets, targets, 4), LABELS, 1.0).macro_f1 == 1
