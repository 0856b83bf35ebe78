from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from edge_fmnist_export.report.verdict import judge
from edge_fmnist_export.training.phase import EpochRecord


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


def test_numbers() -> None:
    verdict = judge(records(RISING))
    assert (verdict.epochs, verdict.best_epoch, verdict.least_loss_epoch) == (20, 20, 10)
    assert verdict.rise == pytest.approx(0.5)
    assert verdict.trend_epochs == 5
    step = RISING[-1] - RISING[-2]
    assert verdict.trend == pytest.approx(step / np.mean(RISING[-5:]))
    assert "epoch 10 and ended 50.0% higher" in verdict.sentences()
