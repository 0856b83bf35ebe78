"""Calibration of a trained network's scores on validation images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_fmnist.errors import RunError
from edge_fmnist.model.calibration import choose_threshold, correct_scores, fit_temperature, negative_log_likelihood
from edge_fmnist.model.metadata import Calibration
from edge_fmnist.model.quantization import softmax
from edge_fmnist_export.training.batches import Subset
from edge_fmnist_export.training.inference import logits_of
from edge_fmnist_export.training.run_folder import Run

FILE = "calibration.json"


@dataclass(frozen=True)
class Calibrated:
    """A calibration and its results on the validation images.

    Attributes:
        before: negative log-likelihood at temperature 1, in nats.
        after: negative log-likelihood at the fitted temperature.
        false_reject_rate: share of correct predictions on photographs below the threshold.
    """

    calibration: Calibration
    before: float
    after: float
    false_reject_rate: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "temperature": self.calibration.temperature,
            "threshold": self.calibration.threshold,
            "validation_nll_before": round(self.before, 6),
            "validation_nll_after": round(self.after, 6),
            "validation_false_reject_rate": round(self.false_reject_rate, 6),
        }


def calibrate(
    model: Any, validation: Subset, photos: Subset | None, false_reject_rate: float, *, flip_tta: bool = False
) -> Calibrated:
    """Calibrate a Keras model that maps float32 (N, 28, 28, 1) to logits.

    Args:
        model: the network.
        validation: images that the temperature is fitted on; each has at least one correct class.
        photos: photographs that the threshold is chosen on; None sets it to 0, which rejects nothing.
        false_reject_rate: share of correct predictions on photographs that the threshold may reject.
        flip_tta: average the logits over each image and its mirror image.

    Raises:
        RunError: the logits are not finite, as after training that diverged.
    """
    logits, rows = _logits(model, validation, flip_tta), validation.one_hot()
    temperature = fit_temperature(logits, rows)
    correct = np.empty(0, np.float32)
    if photos is not None:
        scores = softmax(_logits(model, photos, flip_tta) / np.float32(temperature))
        correct = correct_scores(scores, photos.one_hot())
    threshold = choose_threshold(correct, false_reject_rate)
    return Calibrated(
        Calibration(temperature, threshold),
        before=negative_log_likelihood(logits, rows, 1.0),
        after=negative_log_likelihood(logits, rows, temperature),
        false_reject_rate=float((correct < threshold).mean()) if len(correct) else 0.0,
    )


def _logits(model: Any, subset: Subset, flip_tta: bool) -> np.ndarray:
    logits = logits_of(model, subset.images, flip_tta=flip_tta)
    if not np.isfinite(logits).all():
        raise RunError("training diverged: the network's outputs are not finite; train with a lower learning_rate")
    return logits


def recorded(run: Run) -> dict[str, Any] | None:
    """Return the content of a run's calibration file; None without one, as in runs of earlier versions.

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
            "delete it and run train with --resume"
        )
    return dict(found)
