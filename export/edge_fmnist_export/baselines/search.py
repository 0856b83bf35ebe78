"""Grid search with cross-validation: every combination of a baseline's grid, on folds of the training images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_fmnist_export.baselines.base import Baseline, Material, Settings, silent

FOLDS = 3


@dataclass(frozen=True)
class Trial:
    """One combination of settings.

    Attributes:
        settings: those of the grid.
        accuracy: mean over the folds, 0 to 1.
        deviation: standard deviation over the folds.
    """

    settings: dict[str, Any]
    accuracy: float
    deviation: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**vars(self), "accuracy": round(self.accuracy, 6), "deviation": round(self.deviation, 6)}


def search(baseline: Baseline, defaults: Settings, material: Material) -> list[Trial]:
    """Return all combinations of the grid, the best first; of equals, the one that the grid names first.

    Args:
        baseline: what to fit.
        defaults: the settings that the grid does not vary.
        material: its training images are split into stratified folds, each left out once.
    """
    from sklearn.model_selection import ParameterGrid, StratifiedKFold

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=material.seed)
    splits = list(folds.split(material.features, material.classes))
    combinations = list(ParameterGrid(dict(baseline.grid)))
    trials = []
    for number, combination in enumerate(combinations):
        scores = []
        for fold, (kept, left_out) in enumerate(splits):
            material.advance("grid search", number * FOLDS + fold, len(combinations) * FOLDS)
            scores.append(_score(baseline, {**defaults, **combination}, material, kept, left_out))
        trials.append(Trial(combination, float(np.mean(scores)), float(np.std(scores))))
    return sorted(trials, key=lambda trial: -trial.accuracy)


def _score(baseline: Baseline, settings: Settings, material: Material, kept: np.ndarray, left_out: np.ndarray) -> float:
    estimator = baseline.fit(material.part(kept, silent), settings).estimator
    return float(estimator.score(material.features[left_out], material.classes[left_out]))
