"""What is asked of an explanation, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_fmnist_export.report.explain.scorer import Scorer

# What a pixel that is taken away becomes: Fashion-MNIST's background.
BACKGROUND = 0
# Digits of what is written: well below one quantization step of a score.
DIGITS = 6


@dataclass(frozen=True, eq=False)
class Question:
    """Why does this model see this class in this image?

    Attributes:
        scorer: the model.
        image: uint8, shape (28, 28), the garment bright on black.
        target: the index of the class.
        seed: decides all chance.
    """

    scorer: Scorer
    image: np.ndarray
    target: int
    seed: int = 0

    def scores(self, images: np.ndarray) -> np.ndarray:
        """Return the score of the target for images (uint8, (N, 28, 28)): float32, shape (N,), 0 to 1."""
        scores: np.ndarray = self.scorer.scores(images)[:, self.target]
        return scores


@dataclass(frozen=True, eq=False)
class Explanation:
    """How much each pixel counts for a class.

    Attributes:
        method: ``"shap"``, ``"lime"``, ``"occlusion"`` or ``"gradcam"``.
        values: float64, shape (28, 28): above 0 speaks for the class, below against it.
        unit: what the values are.
        signed: whether values below 0 occur.
        details: what else the method says, and the settings it ran with; plain values.
    """

    method: str
    values: np.ndarray
    unit: str
    signed: bool = True
    details: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; ``values`` row by row."""
        return {
            "method": self.method,
            "unit": self.unit,
            **{name: _rounded(value) for name, value in self.details.items()},
            "values": [[round(value, DIGITS) for value in row] for row in self.values.tolist()],
        }


def _rounded(value: Any) -> Any:
    return round(value, DIGITS) if isinstance(value, float) else value
