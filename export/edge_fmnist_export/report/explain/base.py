"""The request and the result of an explanation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_fmnist_export.report.explain.scorer import Scorer

# Value of a removed pixel: Fashion-MNIST's background.
BACKGROUND = 0
# Decimals in JSON: well below a quantization step of a score.
DIGITS = 6


@dataclass(frozen=True, eq=False)
class ExplainRequest:
    """Which prediction to explain: the class ``target`` of an image, uint8 (28, 28), the garment bright on black."""

    scorer: Scorer
    image: np.ndarray
    target: int
    seed: int = 0

    def scores(self, images: np.ndarray) -> np.ndarray:
        """Return the target's score for images, uint8 (N, 28, 28): float32, shape (N,), 0 to 1."""
        scores: np.ndarray = self.scorer.scores(images)[:, self.target]
        return scores


@dataclass(frozen=True, eq=False)
class Explanation:
    """The importance of each pixel for a class.

    Attributes:
        method: ``"shap"``, ``"lime"``, ``"occlusion"`` or ``"gradcam"``.
        values: float64, shape (28, 28): positive values support the class, negative values oppose it.
        unit: meaning of the values.
        signed: whether there can be negative values.
        details: further results and settings of the method; plain values.
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
            **{
                name: round(value, DIGITS) if isinstance(value, float) else value
                for name, value in self.details.items()
            },
            "values": np.round(self.values, DIGITS).tolist(),
        }
