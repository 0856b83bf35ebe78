"""Calibration of scores, and accuracy when only the most confident predictions are accepted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 15


@dataclass(frozen=True, eq=False)
class Reliability:
    """Accuracy by score, in bins of equal width.

    Attributes:
        counts: images per bin, int64, shape (bins,).
        scores: mean score of each bin, float64, NaN if empty.
        accuracies: accuracy of each bin, float64, NaN if empty.
    """

    counts: np.ndarray
    scores: np.ndarray
    accuracies: np.ndarray

    @property
    def edges(self) -> np.ndarray:
        """Bin edges, float64, shape (bins + 1,); a bin includes its upper edge."""
        return np.linspace(0, 1, len(self.counts) + 1)

    @property
    def error(self) -> float:
        """The expected calibration error, 0 to 1 (Guo et al. 2017, arXiv:1706.04599)."""
        gaps = np.nan_to_num(np.abs(self.scores - self.accuracies))
        return float(np.average(gaps, weights=self.counts))


def reliability(scores: np.ndarray, correct: np.ndarray, bins: int = BINS) -> Reliability:
    """Compare scores, 0 to 1, shape (N,), with correctness, bool, by scikit-learn's calibration curve."""
    from sklearn.calibration import calibration_curve

    counts = np.bincount(np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], scores), minlength=bins)
    accuracies, means = np.full(bins, np.nan), np.full(bins, np.nan)
    # It leaves out empty bins.
    accuracies[counts > 0], means[counts > 0] = calibration_curve(
        correct.astype(int), scores.astype(np.float64), n_bins=bins, strategy="uniform", pos_label=1
    )
    return Reliability(counts, means, accuracies)


@dataclass(frozen=True, eq=False)
class Coverage:
    """Accuracy against coverage, for every distinct score as the threshold, from the highest to the lowest.

    Attributes:
        thresholds: minimum score of an accepted prediction, shape (steps,), decreasing.
        shares: share of images that are accepted (coverage), 0 to 1, shape (steps,), increasing to 1.
        accuracies: accuracy of the accepted predictions, 0 to 1, shape (steps,).
    """

    thresholds: np.ndarray
    shares: np.ndarray
    accuracies: np.ndarray

    def at_share(self, share: float) -> int:
        """Return the first step that accepts at least this share of the images."""
        return int(np.argmax(self.shares >= share - 1e-12))

    def at_threshold(self, threshold: float) -> int | None:
        """Return the step that accepts all images with at least this score; None if there are none."""
        within = np.flatnonzero(self.thresholds >= threshold)
        return int(within[-1]) if len(within) else None


def coverage(scores: np.ndarray, correct: np.ndarray) -> Coverage:
    """Return accuracy against coverage; images with equal scores, 0 to 1, shape (N,), are accepted together."""
    order = np.argsort(-scores, kind="stable")
    ordered, counts = scores[order], np.arange(1, len(scores) + 1)
    last = np.append(ordered[1:] != ordered[:-1], True)
    accuracies = np.cumsum(correct[order]) / counts
    return Coverage(ordered[last], counts[last] / len(scores), accuracies[last])
