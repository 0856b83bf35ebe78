"""How far scores can be believed: calibration, and accuracy where only the surest images are answered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 15


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often answers are right beside how sure they are.

    Attributes:
        edges: of the bins of the score, float64, shape (bins + 1,); a bin holds its upper edge, not its lower.
        counts: images in each bin, int64, shape (bins,).
        scores: mean score in each bin, float64, shape (bins,), NaN where it is empty.
        accuracies: share of right answers in each bin, float64, shape (bins,), NaN where it is empty.
        error: the expected calibration error, 0 to 1: the mean of the differences of score and accuracy,
            each bin weighed by its images (Guo et al. 2017, arXiv:1706.04599).
    """

    edges: np.ndarray
    counts: np.ndarray
    scores: np.ndarray
    accuracies: np.ndarray
    error: float


def reliability(scores: np.ndarray, right: np.ndarray, bins: int = BINS) -> Reliability:
    """Compare scores with how often they are right, in bins of equal width.

    Args:
        scores: of the answers, 0 to 1, shape (N,), N at least 1.
        right: whether each answer is right, bool, shape (N,).
        bins: how many.
    """
    edges = np.linspace(0, 1, bins + 1)
    bin_of = np.searchsorted(edges[1:-1], scores)
    counts = np.bincount(bin_of, minlength=bins)
    sums = np.bincount(bin_of, scores.astype(np.float64), minlength=bins)
    rights = np.bincount(bin_of, right.astype(np.float64), minlength=bins)
    filled = np.where(counts > 0, counts, np.nan)
    error = float(np.abs(sums - rights).sum() / len(scores))
    return Reliability(edges, counts, sums / filled, rights / filled, error)


@dataclass(frozen=True, eq=False)
class Answered:
    """Accuracy where only images with at least a score are answered, from the highest such score to the lowest.

    Attributes:
        thresholds: the least score that is answered, shape (steps,), falling.
        shares: share of the images that is answered, 0 to 1, shape (steps,), rising to 1.
        accuracies: share of right answers among those, 0 to 1, shape (steps,).
    """

    thresholds: np.ndarray
    shares: np.ndarray
    accuracies: np.ndarray

    def at_share(self, share: float) -> int:
        """Return the step that answers at least this share of the images, and as few more as can be."""
        return int(np.argmax(self.shares >= share - 1e-12))

    def at_threshold(self, threshold: float) -> int | None:
        """Return the step that answers all images with this score and above; None where there is none."""
        within = np.flatnonzero(self.thresholds >= threshold)
        return int(within[-1]) if len(within) else None


def answered(scores: np.ndarray, right: np.ndarray) -> Answered:
    """Return the accuracy for each share of the images that is answered, the surest first.

    Images of one score are answered together, since no threshold parts them.

    Args:
        scores: of the answers, 0 to 1, shape (N,), N at least 1.
        right: whether each answer is right, bool, shape (N,).
    """
    order = np.argsort(-scores, kind="stable")
    ordered, counts = scores[order], np.arange(1, len(scores) + 1)
    last = np.append(ordered[1:] != ordered[:-1], True)
    accuracies = np.cumsum(right[order]) / counts
    return Answered(ordered[last], counts[last] / len(scores), accuracies[last])
