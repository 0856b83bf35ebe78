"""A fitted baseline: predicts the classes of images, and can be read from its results folder."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_fmnist.errors import ModelError, ModelNotFoundError
from edge_fmnist.model.quantization import check_images
from edge_fmnist_export.baselines.base import Baseline, StepProgress, no_progress
from edge_fmnist_export.baselines.methods import BASELINES

RESULTS = "results.json"
# Images per batch: limits memory and keeps progress moving.
BATCH = 1000


@dataclass(frozen=True, eq=False)
class FittedBaseline:
    """A fitted baseline.

    Attributes:
        estimator: fitted estimator with scikit-learn's interface.
        classes: label index of each class that the estimator knows, in increasing order.
        labels: class names.
    """

    baseline: Baseline
    estimator: Any
    classes: tuple[int, ...]
    labels: tuple[str, ...]

    def predict_batch(
        self, images: np.ndarray, progress: StepProgress = no_progress
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return predicted label indexes and class probabilities.

        Args:
            images: uint8, shape (N, 28, 28), the garment bright on black (0).
            progress: called with the number of images done.

        Returns:
            Indexes, int64, shape (N,), and probabilities, float64, shape (N, labels); None if the estimator has none.

        Raises:
            ImageError: wrong dtype or shape.
        """
        check_images(images, 3)
        known, count = np.array(self.classes), len(images)
        indexes = np.empty(count, np.int64)
        probabilities = np.zeros((count, len(self.labels))) if hasattr(self.estimator, "predict_proba") else None
        for start in range(0, count, BATCH):
            part = slice(start, min(start + BATCH, count))
            rows = self.baseline.features(images[part])
            if probabilities is None:
                indexes[part] = known[self.estimator.predict(rows)]
            else:
                probabilities[part, known] = self.estimator.predict_proba(rows)
                indexes[part] = probabilities[part].argmax(axis=1)
            progress("predicting", part.stop, count)
        return indexes, probabilities

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the label indexes of images, uint8 (N, 28, 28), as int64, shape (N,)."""
        return self.predict_batch(images)[0]


def load_baseline(folder: Path) -> FittedBaseline:
    """Read the fitted baseline in a folder that ``edge-fmnist baseline`` wrote.

    Nothing is unpickled: xgboost models are JSON, scikit-learn models are read by skops, which creates trusted types
    only.

    Raises:
        ModelNotFoundError: the folder or one of its files does not exist.
        ModelError: a file is damaged.
    """
    path = folder / RESULTS
    if not path.is_file():
        raise ModelNotFoundError(f"{folder}: no fitted baseline (no {RESULTS}); fit one with edge-fmnist baseline")
    try:
        results = json.loads(path.read_text("utf-8"))
        baseline = BASELINES[results["baseline"]]
        classes, labels = tuple(map(int, results["classes"])), tuple(map(str, results["labels"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: not the results of a baseline ({error!r})") from error
    return FittedBaseline(baseline, load_estimator(baseline, folder / baseline.file_name), classes, labels)


def load_estimator(baseline: Baseline, path: Path) -> Any:
    """Read the estimator in a file.

    Raises:
        ModelNotFoundError: the file does not exist.
        ModelError: the file is damaged.
    """
    if not path.is_file():
        raise ModelNotFoundError(f"{path}: no such file; fit the baseline again")
    try:
        return baseline.load(path)
    # xgboost's own error is a ValueError.
    except (ValueError, KeyError, TypeError, AttributeError, OSError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: not a valid {baseline.name} model ({error}); fit the baseline again") from error
