"""Calibration of a trained network's scores, from validation images alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_fmnist.metadata import Calibration
from edge_fmnist.tensors import softmax
from edge_fmnist_export.batches import Subset

FILE = "calibration.json"
# Bounds of the logarithm of the temperature: further out, something else is wrong.
LOG_TEMPERATURE = (-2.0, 2.0)
BATCH = 500


@dataclass(frozen=True)
class Calibrated:
    """A calibration and what it rests on.

    Attributes:
        calibration: temperature and threshold.
        before: negative log-likelihood of the validation images at temperature 1, in nats.
        after: the same at the temperature found.
        lost: share of right answers below the threshold.
    """

    calibration: Calibration
    before: float
    after: float
    lost: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "temperature": round(self.calibration.temperature, 4),
            "threshold": round(self.calibration.threshold, 4),
            "validation_nll_before": round(self.before, 6),
            "validation_nll_after": round(self.after, 6),
            "validation_lost": round(self.lost, 6),
        }


def negative_log_likelihood(logits: np.ndarray, rows: np.ndarray, temperature: float) -> float:
    """Return the mean negative logarithm of the probability that goes to right classes.

    Args:
        logits: float32, shape (N, classes).
        rows: float32, shape (N, classes), 1 for each right class.
        temperature: what the logits are divided by.
    """
    right = (softmax(logits / np.float32(temperature)) * rows).sum(axis=1)
    return float(-np.log(np.maximum(right, 1e-12)).mean())


def fit_temperature(logits: np.ndarray, rows: np.ndarray) -> float:
    """Return the temperature with the least negative log-likelihood (Guo et al. 2017, arXiv:1706.04599)."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda logarithm: negative_log_likelihood(logits, rows, float(np.exp(logarithm))),
        bounds=LOG_TEMPERATURE,
        method="bounded",
    )
    return float(np.exp(found.x))


def calibrate(model: Any, validation: Subset, photos: Subset | None, lost: float) -> Calibrated:
    """Calibrate a network.

    Args:
        model: gives logits for float32 (N, 28, 28, 1).
        validation: what the temperature is fitted on; each image has at least one right class.
        photos: what the threshold is chosen on; None leaves it at 0, so that every image gets an answer.
        lost: share of right answers on photographs that may fall below the threshold.
    """
    logits, rows = _logits(model, validation), validation.one_hot()
    temperature = fit_temperature(logits, rows)
    threshold, fallen = 0.0, 0.0
    if photos is not None:
        scores = softmax(_logits(model, photos) / np.float32(temperature))
        hits = scores.max(axis=1)[photos.one_hot()[np.arange(len(photos)), scores.argmax(axis=1)] > 0]
        if len(hits):
            threshold = float(np.quantile(hits, lost, method="lower"))
            fallen = float((hits < threshold).mean())
    return Calibrated(
        Calibration(temperature, threshold),
        before=negative_log_likelihood(logits, rows, 1.0),
        after=negative_log_likelihood(logits, rows, temperature),
        lost=fallen,
    )


def _logits(model: Any, subset: Subset) -> np.ndarray:
    return np.asarray(model.predict(subset.inputs(), batch_size=BATCH, verbose=0), np.float32)
