from __future__ import annotations

import numpy as np
import pytest

from edge_fmnist_export.report.confidence import coverage, reliability


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
