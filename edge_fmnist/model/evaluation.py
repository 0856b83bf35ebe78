"""Accuracy of a model on a split: top-1, metrics for each class, confusion matrix."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edge_fmnist.data.dataset import Split
from edge_fmnist.errors import DataError
from edge_fmnist.model.classifier import Classifier


@dataclass(frozen=True)
class ClassMetrics:
    """Metrics of one class, each 0 where its denominator is 0, as in scikit-learn with ``zero_division=0``.

    Attributes:
        label: name of the class.
        precision: share of correct predictions among those of this class, 0 to 1.
        recall: share of the images of this class that are predicted correctly, 0 to 1.
        f1: harmonic mean of both, 0 to 1.
        support: number of images of this class.
        predicted: number of images predicted as this class.
    """

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    predicted: int


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Results of a model on a split.

    Attributes:
        top1: share of correct predictions, 0 to 1.
        images: number of images.
        classes: metrics for each class.
        confusion: intp, shape (classes, classes), rows true, columns predicted.
        milliseconds: time of all predictions.
    """

    top1: float
    images: int
    classes: tuple[ClassMetrics, ...]
    confusion: np.ndarray
    milliseconds: float

    @property
    def macro_f1(self) -> float:
        """Unweighted mean of F1 over the classes of the images and the predictions."""
        return float(np.mean([metrics.f1 for metrics in self.classes if metrics.support or metrics.predicted]))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, with a histogram of the predicted classes."""
        classes = [
            {key: round(value, 6) if isinstance(value, float) else value for key, value in asdict(metrics).items()}
            for metrics in self.classes
        ]
        return {
            "top1": round(self.top1, 6),
            "images": self.images,
            "macro_f1": round(self.macro_f1, 6),
            "milliseconds": round(self.milliseconds, 3),
            "images_per_second": round(self.images / self.milliseconds * 1000, 1) if self.milliseconds else None,
            "predicted_histogram": {metrics["label"]: metrics.pop("predicted") for metrics in classes},
            "classes": classes,
            "confusion": self.confusion.tolist(),
        }


def confusion_matrix(targets: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return counts, intp, shape (classes, classes): rows true, columns predicted.

    Args:
        targets: integer class indexes, shape (N,).
        predicted: integer class indexes, shape (N,).
        classes: number of classes.
    """
    # bincount rejects int64 on 32-bit systems.
    cells = targets.astype(np.intp) * classes + predicted.astype(np.intp)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def summarize(confusion: np.ndarray, labels: tuple[str, ...], milliseconds: float) -> Evaluation:
    """Return the metrics of a confusion matrix (rows true, columns predicted)."""
    right = np.diag(confusion).astype(float)
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    precision = right / np.maximum(predicted, 1)
    recall = right / np.maximum(support, 1)
    f1 = 2 * right / np.maximum(support + predicted, 1)
    classes = tuple(
        ClassMetrics(label, float(precision[i]), float(recall[i]), float(f1[i]), int(support[i]), int(predicted[i]))
        for i, label in enumerate(labels)
    )
    images = int(support.sum())
    return Evaluation(float(right.sum() / images), images, classes, confusion, milliseconds)


def evaluate(classifier: Classifier, split: Split) -> Evaluation:
    """Evaluate a classifier on a split.

    Raises:
        DataError: the split has more classes than the model.
    """
    if split.targets.max() >= len(classifier.labels):
        raise DataError(
            f"expected labels of the model's {len(classifier.labels)} classes, got label {split.targets.max()}; give a "
            "data set of these classes with --data, or photographs with --photos"
        )
    predictions = classifier.predict_batch(split.images)
    confusion = confusion_matrix(split.targets, predictions.indexes, len(classifier.labels))
    return summarize(confusion, classifier.labels, predictions.milliseconds)
