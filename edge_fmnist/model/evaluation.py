"""Accuracy of a model on a split: top-1, metrics for each class, confusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_fmnist.data.dataset import Split
from edge_fmnist.errors import DataError
from edge_fmnist.model.classifier import Classifier


@dataclass(frozen=True)
class ClassMetrics:
    """Metrics of one class, each 0 where its denominator is 0, as in scikit-learn with ``zero_division=0``.

    Attributes:
        label: the name of the class.
        precision: share of the images named so that are so, 0 to 1.
        recall: share of the images that are so that are named so, 0 to 1.
        f1: their harmonic mean, 0 to 1.
        support: how many images are of this class.
        predicted: how many images are named so.
    """

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    predicted: int


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What evaluating a model on a split gave.

    Attributes:
        top1: share of right answers, 0 to 1.
        images: how many images.
        classes: metrics for each class.
        confusion: intp, shape (classes, classes), rows true, columns predicted.
        milliseconds: time for all predictions.
    """

    top1: float
    images: int
    classes: tuple[ClassMetrics, ...]
    confusion: np.ndarray
    milliseconds: float

    @property
    def macro_f1(self) -> float:
        """The unweighted mean of the classes' F1."""
        return float(np.mean([metrics.f1 for metrics in self.classes]))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, the predicted-class histogram among them."""
        return {
            "top1": round(self.top1, 6),
            "images": self.images,
            "macro_f1": round(self.macro_f1, 6),
            "milliseconds": round(self.milliseconds, 3),
            "images_per_second": round(self.images / self.milliseconds * 1000, 1) if self.milliseconds else None,
            "classes": [
                {
                    "label": metrics.label,
                    "precision": round(metrics.precision, 6),
                    "recall": round(metrics.recall, 6),
                    "f1": round(metrics.f1, 6),
                    "support": metrics.support,
                }
                for metrics in self.classes
            ],
            "predicted_histogram": {metrics.label: metrics.predicted for metrics in self.classes},
            "confusion": self.confusion.tolist(),
        }


def confusion_matrix(targets: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return counts, intp, shape (classes, classes): rows true, columns predicted.

    Args:
        targets: integer class indexes, shape (N,).
        predicted: integer class indexes, shape (N,).
        classes: how many classes there are.
    """
    # bincount takes no int64 where pointers have 32 bits.
    cells = targets.astype(np.intp) * classes + predicted.astype(np.intp)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def summarize(confusion: np.ndarray, labels: tuple[str, ...], milliseconds: float) -> Evaluation:
    """Return the metrics that follow from a confusion matrix (rows true, columns predicted)."""
    right = np.diag(confusion).astype(float)
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    precision = right / np.maximum(predicted, 1)
    recall = right / np.maximum(support, 1)
    both = precision + recall
    f1 = np.where(both > 0, 2 * precision * recall / np.where(both > 0, both, 1), 0.0)
    classes = tuple(
        ClassMetrics(label, float(precision[i]), float(recall[i]), float(f1[i]), int(support[i]), int(predicted[i]))
        for i, label in enumerate(labels)
    )
    images = int(support.sum())
    return Evaluation(float(right.sum() / images), images, classes, confusion, milliseconds)


def evaluate(classifier: Classifier, split: Split) -> Evaluation:
    """Evaluate a classifier on a split.

    Args:
        classifier: the model to evaluate.
        split: images and targets.
    """
    if split.targets.max() >= len(classifier.labels):
        raise DataError(
            f"expected labels of the model's {len(classifier.labels)} classes, got label {split.targets.max()}"
        )
    predictions = classifier.predict_batch(split.images)
    confusion = confusion_matrix(split.targets, predictions.indexes, len(classifier.labels))
    return summarize(confusion, classifier.labels, predictions.milliseconds)
