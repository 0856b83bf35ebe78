"""Assess a training run: overfitted, underfitted or well fitted, with the numbers behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from edge_fmnist_export.training.phase import EpochRecord

Judgement = Literal["too short", "overfitted", "unfinished", "well fitted"]

LEAST_EPOCHS = 4
# The trend is taken over this share of the epochs, and at least this many.
END_SHARE, END_LEAST = 0.25, 3
# Overfitted: relative increase of the validation loss above its minimum, or training accuracy ahead of validation.
RISE = 0.05
GAP_POINTS = 5.0
# Underfitted: relative decrease of the validation loss per epoch at the end.
STILL_FALLING = 0.01
SENTENCES: dict[Judgement, str] = {
    "too short": f"Too short to judge: a trend needs at least {LEAST_EPOCHS} epochs.",
    "overfitted": (
        "Overfitted: the network memorizes training images. More augmentation, more weight decay or a smaller network "
        "may help; more epochs will not."
    ),
    "unfinished": "Underfitted: validation was still improving when training ended. More epochs may help.",
    "well fitted": "Well fitted: validation had levelled off when training ended, and training is not far ahead.",
}


@dataclass(frozen=True)
class TrainingVerdict:
    """Assessment of a training phase.

    Attributes:
        judgement: the result.
        epochs: number of epochs; not each needs a record.
        best_epoch: epoch with the highest validation accuracy, from 1.
        gap_points: training accuracy minus validation accuracy at the best epoch, in percentage points.
        least_loss_epoch: epoch with the lowest validation loss, from 1.
        rise: increase of the last validation loss above the lowest, relative to it.
        trend: change of the validation loss per epoch at the end, relative to its mean there; None if there are too few
            epochs.
        trend_epochs: number of epochs that the trend is taken over.
    """

    judgement: Judgement
    epochs: int
    best_epoch: int
    gap_points: float
    least_loss_epoch: int
    rise: float
    trend: float | None
    trend_epochs: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(self).items()}

    def sentences(self) -> str:
        """Return the verdict and the numbers behind it as text."""
        trend = ""
        if self.trend is not None:
            trend = f" Over the last {self.trend_epochs} epochs it changed by {self.trend:+.2%} per epoch."
        return (
            f"{SENTENCES[self.judgement]} "
            f"The best epoch was {self.best_epoch} of {self.epochs}, with training accuracy "
            f"{abs(self.gap_points):.2f} points {'above' if self.gap_points >= 0 else 'below'} validation accuracy. "
            f"The validation loss was lowest at epoch {self.least_loss_epoch} and ended {self.rise:.1%} higher.{trend}"
        )


def judge(records: Sequence[EpochRecord]) -> TrainingVerdict:
    """Assess the epochs of one training phase.

    Overfitted: the validation loss ended more than 5 % above its minimum, or training accuracy is more than 5 points
    ahead at the best epoch. Underfitted: the validation loss still fell by more than 1 % per epoch over the last
    quarter.
    """
    epochs = [record.epoch for record in records]
    losses = np.array([record.validation_loss for record in records])
    best = int(np.argmax([record.validation_accuracy for record in records]))
    least = int(np.argmin(losses))
    gap = (records[best].accuracy - records[best].validation_accuracy) * 100
    rise = float(losses[-1] / losses[least] - 1) if losses[least] > 0 else 0.0
    count = min(len(losses), max(END_LEAST, round(len(losses) * END_SHARE)))
    trend = _trend(epochs[-count:], losses[-count:]) if len(losses) >= LEAST_EPOCHS else None
    judgement: Judgement = "well fitted"
    if trend is None:
        judgement = "too short"
    elif rise > RISE or gap > GAP_POINTS:
        judgement = "overfitted"
    elif trend < -STILL_FALLING:
        judgement = "unfinished"
    spanned = epochs[-1] - epochs[-count] + 1
    return TrainingVerdict(judgement, epochs[-1], epochs[best], gap, epochs[least], rise, trend, spanned)


def _trend(epochs: Sequence[int], losses: np.ndarray) -> float:
    """Return the slope of a line through the losses, per epoch, relative to their mean."""
    mean = float(losses.mean())
    return float(np.polyfit(epochs, losses, 1)[0]) / mean if mean > 0 else 0.0
