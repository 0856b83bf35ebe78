"""A fitted baseline: it names the classes of images, and is read back from the folder it was written to."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge_fmnist.errors import ModelError, ModelNotFoundError
from edge_fmnist.model.quantization import check_images
from edge_fmnist_export.baselines.base import Advance, Baseline, silent
from edge_fmnist_export.baselines.registry import BASELINES

RESULTS = "results.json"
# Images that are predicted at a time: what they need beside the model stays small, and progress is told often.
BATCH = 1000


class Answers(NamedTuple):
    """Indexes of the labels of images, int64, shape (N,), and probabilities, float64, shape (N, labels), or None."""

    indexes: np.ndarray
    probabilities: np.ndarray | None


@dataclass(frozen=True, eq=False)
class FittedBaseline:
    """A fitted baseline.

    Attributes:
        baseline: how images are seen, and how the estimator is kept.
        estimator: of scikit-learn's interface.
        classes: the index of the label of each class that the estimator knows, increasing.
        labels: the names of the classes.
    """

    baseline: Baseline
    estimator: Any
    classes: tuple[int, ...]
    labels: tuple[str, ...]

    def answers(self, images: np.ndarray, advance: Advance = silent) -> Answers:
        """Return the indexes of the labels of images, and the probabilities where the method has any.

        Args:
            images: uint8, shape (N, 28, 28), garments bright on black (0).
            advance: is told how many images are done.

        Raises:
            ImageError: another dtype or shape.
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
            advance("predicting", part.stop, count)
        return Answers(indexes, probabilities)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the indexes of the labels of images (uint8, shape (N, 28, 28)), shape (N,)."""
        return self.answers(images).indexes


def load_baseline(folder: Path) -> FittedBaseline:
    """Return the fitted baseline in a folder that ``edge-fmnist baseline`` wrote.

    Nothing is unpickled: xgboost's model is JSON, scikit-learn's are read by skops, which makes trusted types only.

    Raises:
        ModelNotFoundError: the folder or its files are not there.
        ModelError: they are damaged.
    """
    path = folder / RESULTS
    if not path.is_file():
        raise ModelNotFoundError(
            f"{folder}: no fitted baseline, it has no {RESULTS}; fit one with edge-fmnist baseline"
        )
    try:
        results = json.loads(path.read_text("utf-8"))
        baseline = BASELINES[results["baseline"]]
        classes, labels = tuple(map(int, results["classes"])), tuple(map(str, results["labels"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: not the results of a baseline ({error!r})") from error
    return FittedBaseline(baseline, load_estimator(baseline, folder / baseline.file_name), classes, labels)


def load_estimator(baseline: Baseline, path: Path) -> Any:
    """Return the estimator in a file.

    Raises:
        ModelNotFoundError: the file is not there.
        ModelError: it is damaged.
    """
    if not path.is_file():
        raise ModelNotFoundError(f"{path}: no such file; fit the baseline again")
    try:
        return baseline.load(path)
    # xgboost's own error is a ValueError.
    except (ValueError, KeyError, TypeError, AttributeError, OSError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: not a whole model of {baseline.name} ({error}); fit the baseline again") from error
