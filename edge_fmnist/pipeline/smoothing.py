"""Temporal smoothing: from the scores of single frames to a stable label.

A camera's frames flicker: a fold, a shadow or a half-found mask changes the
best class for a moment. Scores are averaged over time, and the shown label
changes only when there is a reason to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_fmnist.data.labels import NONE, UNKNOWN

# Time constant of the exponential moving average in seconds: a garment held in front of the camera
# is labelled within half a second, and one bad frame in ten does not change the label.
TIME_CONSTANT = 0.4
# Lead that a new label needs: hysteresis for two classes of nearly equal score.
MARGIN = 0.1
# How far above the threshold the score must rise to leave "unknown", for the same reason.
BAND = 0.05
# Seconds without a garment until the label is cleared: longer than a mask fails for a frame or
# two, shorter than it takes to swap garments.
ABSENCE = 0.5


@dataclass(frozen=True, eq=False, slots=True)
class Smoothed:
    """Label and scores after smoothing.

    Attributes:
        label: a class, ``"unknown"``, or None for no garment.
        score: the smoothed score of the most probable class, 0 to 1; 0 without a garment.
        scores: smoothed scores of all classes, float32, shape (classes,); zeros without a garment.
    """

    label: str | None
    score: float
    scores: np.ndarray


class Smoother:
    """Exponential moving average of scores, with hysteresis on the label.

    Deterministic: the same scores at the same times give the same labels, at any frame rate.

    Example:
        >>> import numpy as np
        >>> smoother = Smoother(("Coat", "Dress"), threshold=0.5)
        >>> smoother.update(np.array([0.9, 0.1]), now=0.0).label
        'Coat'
        >>> smoother.update(np.array([0.3, 0.7]), now=0.03).label  # one frame differs
        'Coat'
    """

    def __init__(self, labels: tuple[str, ...], threshold: float = 0.0, *, smoothing: bool = True) -> None:
        """Create a smoother without any frame yet.

        Args:
            labels: the names of the classes.
            threshold: score below which the label is ``"unknown"``; 0 turns this off.
            smoothing: False treats each frame on its own, for unrelated images.
        """
        self._labels = labels
        self._time_constant, self._margin, band, self._absence = (
            (TIME_CONSTANT, MARGIN, BAND, ABSENCE) if smoothing else (0.0, 0.0, 0.0, 0.0)
        )
        # Never above halfway to certainty, or a high threshold could not be left.
        self._enter, self._leave = threshold, min(threshold + band, (threshold + 1) / 2)
        self._forget()

    def _forget(self) -> None:
        self._scores: np.ndarray[Any, np.dtype[np.float32]] = np.zeros(len(self._labels), np.float32)
        self._shown = Smoothed(None, 0.0, self._scores)
        self._seen_at: float | None = None

    def update(self, scores: np.ndarray | None, now: float) -> Smoothed:
        """Update with the scores of one frame.

        Args:
            scores: of all classes, 0 to 1, shape (classes,); None when no garment was found.
            now: the time of the frame, in seconds of any clock; never earlier than the last one.
        """
        if scores is None:
            if self._seen_at is None or now - self._seen_at >= self._absence:
                self._forget()
            return self._shown
        self._average(scores, now)
        self._seen_at = now
        label = self._leading()
        self._shown = Smoothed(UNKNOWN if label == NONE else label, float(self._scores.max()), self._scores)
        return self._shown

    def _average(self, scores: np.ndarray, now: float) -> None:
        """Move the average towards ``scores``, by the time that has passed; a first frame counts in full."""
        # A new array each time, since results keep the old one.
        if self._seen_at is None or self._time_constant <= 0:
            # Exactly these scores: rounding an average would decide between equal ones.
            self._scores = scores.astype(np.float32)
            return
        share = -math.expm1(-max(0.0, now - self._seen_at) / self._time_constant)
        self._scores = (self._scores + np.float32(share) * (scores - self._scores)).astype(np.float32)

    def _leading(self) -> str:
        """Return the best label above the threshold; the shown one unless another leads by the margin."""
        scores, best = self._scores, int(self._scores.argmax())
        if scores[best] < (self._leave if self._shown.label == UNKNOWN else self._enter):
            return UNKNOWN
        if self._shown.label in (None, UNKNOWN):
            return self._labels[best]
        shown = self._labels.index(self._shown.label)
        return self._labels[best if scores[best] - scores[shown] >= self._margin else shown]
