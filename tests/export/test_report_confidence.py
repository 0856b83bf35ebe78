from __future__ import annotations

import numpy as np
import pytest

from edge_fmnist_export.report.confidence import answered, reliability


def scores_and_right(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scores, coarse enough for ties, and answers that are right about as often as they say."""
    rng = np.random.default_rng(seed)
    scores = np.round(rng.uniform(0.1, 1.0, count), 2)
    return scores, rng.random(count) < scores**1.5


def test_bins_are_those_of_scikit_learn() -> None:
    from sklearn.calibration import calibration_curve

    scores, right = scores_and_right(2000, 1)
    found = reliability(scores, right, 15)
    accuracies, means = calibration_curve(right, scores, n_bins=15, strategy="uniform")
    filled = found.counts > 0
    np.testing.assert_allclose(found.accuracies[filled], accuracies)
    np.testing.assert_allclose(found.scores[filled], means)
    assert found.counts.sum() == 2000


def test_error_weighs_bins_by_their_images() -> None:
    scores = np.array([0.9, 0.9, 0.9, 0.9, 0.3])
    right = np.array([True, True, True, False, True])
    found = reliability(scores, right, 10)
    assert found.error == pytest.approx(4 / 5 * abs(0.9 - 0.75) + 1 / 5 * abs(0.3 - 1))
    assert np.isnan(found.accuracies[0])


def test_honest_scores_have_no_error() -> None:
    assert reliability(np.ones(7), np.ones(7, bool)).error == 0
    assert reliability(np.full(4, 0.75), np.array([True, True, True, False])).error == 0


def test_a_score_of_zero_counts() -> None:
    assert reliability(np.zeros(3), np.zeros(3, bool)).counts[0] == 3


def test_each_step_answers_all_images_of_its_score_and_above() -> None:
    scores, right = scores_and_right(500, 2)
    curve = answered(scores, right)
    assert len(curve.thresholds) == len(np.unique(scores))
    for threshold, share, accuracy in zip(curve.thresholds, curve.shares, curve.accuracies, strict=True):
        within = scores >= threshold
        assert share == pytest.approx(within.mean())
        assert accuracy == pytest.approx(right[within].mean())


def test_shares_and_thresholds_are_found() -> None:
    curve = answered(np.array([0.9, 0.8, 0.8, 0.2]), np.array([True, True, False, False]))
    np.testing.assert_allclose(curve.shares, [0.25, 0.75, 1.0])
    assert [curve.at_share(share) for share in (0.2, 0.25, 0.5, 0.75, 1.0)] == [0, 0, 1, 1, 2]
    assert [curve.at_threshold(threshold) for threshold in (0.95, 0.9, 0.5, 0.0)] == [None, 0, 1, 2]
