"""A verdict on a training run in plain language: over-fitted, under-fitted, or about right, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from edge_fmnist_export.training.phase import EpochRecord

Judgement = Literal["too short", "overfitted", "unfinished", "well fitted"]

# Fewer epochs show no trend.
LEAST_EPOCHS = 4
# Over the end of the training: this share of its epochs, at least so many.
END_SHARE, END_LEAST = 0.25, 3
# The validation loss may rise this far above its least value, relative to it, before that counts.
RISE = 0.05
# Training may be ahead of validation by so many percentage points.
GAP_POINTS = 5.0
# A validation loss that falls by this share of itself each epoch at the end would go on falling.
STILL_FALLING = 0.01


@dataclass(frozen=True)
class Verdict:
    """What the epochs of a phase say.

    Attributes:
        judgement: in a word.
        epochs: how many there were.
        best_epoch: the one with the highest validation accuracy, counted from 1.
        gap_points: training accuracy less validation accuracy at the best epoch, in percentage points.
        least_loss_epoch: the one with the least validation loss, counted from 1.
        rise: how far the last validation loss is above the least, relative to it.
        trend: change of the validation loss for each epoch at the end, relative to its mean there; None
            where there are too few epochs.
        trend_epochs: over how many epochs the trend is taken.
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
        """Return the verdict and the numbers it rests on."""
        return f"{_OPENINGS[self.judgement]} {self._numbers()}"

    def _numbers(self) -> str:
        trend = ""
        if self.trend is not None:
            trend = f" Over the last {self.trend_epochs} epochs it changed by {self.trend:+.2%} an epoch."
        return (
            f"The best epoch was {self.best_epoch} of {self.epochs}; there, training accuracy was "
            f"{abs(self.gap_points):.2f} points {'above' if self.gap_points >= 0 else 'below'} validation accuracy. "
            f"The validation loss was least at epoch {self.least_loss_epoch} and ended {self.rise:.1%} "
            f"above that.{trend}"
        )


_OPENINGS: dict[Judgement, str] = {
    "too short": f"Too short to judge: a trend takes at least {LEAST_EPOCHS} epochs.",
    "overfitted": (
        "Overfitted: the network learned its training images better than what they have in common. "
        "More augmentation, more weight decay or a smaller network would help; more epochs would not."
    ),
    "unfinished": "Underfitted: validation was still getting better when training ended. More epochs would help.",
    "well fitted": "Well fitted: validation had levelled off when training ended, and training is not far ahead of it.",
}


def judge(records: Sequence[EpochRecord]) -> Verdict:
    """Judge the epochs of one phase.

    Overfitted: the validation loss ended more than 5 % above its least value,
    or training accuracy is more than 5 points ahead at the best epoch.
    Underfitted: the validation loss was still falling by more than 1 % an
    epoch over the last quarter.

    Args:
        records: at least one, in order.
    """
    losses = np.array([record.validation_loss for record in records])
    accuracies = [record.validation_accuracy for record in records]
    best, least = int(np.argmax(accuracies)), int(np.argmin(losses))
    gap = (records[best].accuracy - records[best].validation_accuracy) * 100
    rise = float(losses[-1] / losses[least] - 1) if losses[least] > 0 else 0.0
    count = min(len(losses), max(END_LEAST, round(len(losses) * END_SHARE)))
    trend = _trend(losses[-count:]) if len(losses) >= LEAST_EPOCHS else None
    return Verdict(_judgement(trend, rise, gap), len(records), best + 1, gap, least + 1, rise, trend, count)


def _judgement(trend: float | None, rise: float, gap_points: float) -> Judgement:
    if trend is None:
        return "too short"
    if rise > RISE or gap_points > GAP_POINTS:
        return "overfitted"
    return "unfinished" if trend < -STILL_FALLING else "well fitted"


def _trend(losses: np.ndarray) -> float:
    """Return the slope of a line through the losses, for each epoch, relative to their mean."""
    from scipy.stats import linregress

    mean = float(losses.mean())
    return float(linregress(np.arange(len(losses)), losses).slope) / mean if mean > 0 else 0.0
