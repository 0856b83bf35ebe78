"""Calibration of a trained network's scores, from validation images alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_fmnist.errors import RunError
from edge_fmnist.model.metadata import Calibration
from edge_fmnist.model.quantization import softmax
from edge_fmnist_export.training.batches import Subset
from edge_fmnist_export.training.inference import logits_of
from edge_fmnist_export.training.run import Run

FILE = "calibration.json"
# Bounds of the logarithm of the temperature: further out, something else is wrong.
LOG_TEMPERATURE = (-2.0, 2.0)
# What temperature and threshold are rounded to, so that the file holds what was measured.
DIGITS = 4
# The least probability that a logarithm is taken of.
TINY = 1e-12


@dataclass(frozen=True)
class Calibrated:
    """A calibration and what it rests on.

    Attributes:
        calibration: temperature and threshold.
        before: negative log-likelihood of the validation images at temperature 1, in nats.
        after: the same at the temperature found.
        lost: share of right answers on photographs that fall below the threshold.
    """

    calibration: Calibration
    before: float
    after: float
    lost: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "temperature": self.calibration.temperature,
            "threshold": self.calibration.threshold,
            "validation_nll_before": round(self.before, 6),
            "validation_nll_after": round(self.after, 6),
            "validation_lost": round(self.lost, 6),
        }


def negative_log_likelihood(logits: np.ndarray, rows: np.ndarray, temperature: float) -> float:
    """Return the mean negative logarithm of the probability that goes to right classes, in nats.

    Args:
        logits: float32, shape (N, classes).
        rows: float32, shape (N, classes), 1 for each right class.
        temperature: what the logits are divided by.
    """
    right = (softmax(logits / np.float32(temperature)) * rows).sum(axis=1)
    return float(-np.log(np.maximum(right, TINY)).mean())


def fit_temperature(logits: np.ndarray, rows: np.ndarray) -> float:
    """Return the temperature with the least negative log-likelihood (Guo et al. 2017, arXiv:1706.04599).

    Args:
        logits: float32, shape (N, classes).
        rows: float32, shape (N, classes), 1 for each right class.
    """
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda logarithm: negative_log_likelihood(logits, rows, float(np.exp(logarithm))),
        bounds=LOG_TEMPERATURE,
        method="bounded",
    )
    return round(float(np.exp(found.x)), DIGITS)


def right_scores(scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the scores of the answers that are right, float32, shape (right answers,).

    Args:
        scores: probabilities, float32, shape (N, classes).
        rows: float32, shape (N, classes), 1 for each right class; a row without any is never answered right.
    """
    answers = scores.argmax(axis=1)
    right = rows[np.arange(len(rows)), answers] > 0
    chosen: np.ndarray = scores.max(axis=1)[right]
    return chosen


def choose_threshold(hits: np.ndarray, lost: float) -> float:
    """Return the highest threshold, of DIGITS digits, below which at most the share ``lost`` of right answers falls.

    Args:
        hits: the scores of right answers, 0 to 1; without any, the threshold is 0.
        lost: the share, 0 to 1.
    """
    if not len(hits):
        return 0.0
    # Rounded down: up, it could come to lie above the very scores it was taken from.
    scale = float(10**DIGITS)
    return math.floor(float(np.quantile(hits, lost, method="lower")) * scale) / scale


def calibrate(
    model: Any, validation: Subset, photos: Subset | None, lost: float, *, mirrored: bool = False
) -> Calibrated:
    """Calibrate a network.

    Args:
        model: a Keras model that gives logits for float32 (N, 28, 28, 1).
        validation: what the temperature is fitted on; each image has at least one right class.
        photos: what the threshold is chosen on; None leaves it at 0, so that every image gets an answer.
        lost: share of right answers on photographs that may fall below the threshold.
        mirrored: average the logits over each image and its mirror image, as the classifier will.

    Raises:
        RunError: the network gives no finite logits, as after training that diverged.
    """
    logits, rows = _logits(model, validation, mirrored), validation.one_hot()
    temperature = fit_temperature(logits, rows)
    hits = np.empty(0, np.float32)
    if photos is not None:
        hits = right_scores(softmax(_logits(model, photos, mirrored) / np.float32(temperature)), photos.one_hot())
    threshold = choose_threshold(hits, lost)
    return Calibrated(
        Calibration(temperature, threshold),
        before=negative_log_likelihood(logits, rows, 1.0),
        after=negative_log_likelihood(logits, rows, temperature),
        lost=float((hits < threshold).mean()) if len(hits) else 0.0,
    )


def _logits(model: Any, subset: Subset, mirrored: bool) -> np.ndarray:
    logits = logits_of(model, subset.images, mirrored=mirrored)
    if not np.isfinite(logits).all():
        raise RunError("the trained network gives values that are not finite; train again with a lower learning_rate")
    return logits


def recorded(run: Run) -> dict[str, Any] | None:
    """Return what a run's calibration file holds; None where it has none, as in runs of earlier versions.

    Raises:
        RunError: the file is damaged.
    """
    found = run.read_json(FILE, None)
    if found is None:
        return None
    try:
        temperature, threshold = float(found["temperature"]), float(found["threshold"])
    except (KeyError, TypeError, ValueError):
        temperature, threshold = math.nan, math.nan
    if not (0 < temperature < math.inf and 0 <= threshold <= 1):
        raise RunError(
            f"{run.folder / FILE}: expected a temperature above 0 and a threshold from 0 to 1, got {found!r}; "
            "delete it and train again with --resume"
        )
    return dict(found)
