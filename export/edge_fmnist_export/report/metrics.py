"""Classification metrics, computed by scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from edge_fmnist.model.evaluation import ClassMetrics

DIGITS = 6


@dataclass(frozen=True)
class AverageMetrics:
    """Precision, recall and F1 averaged over the classes, 0 to 1."""

    precision: float
    recall: float
    f1: float


class Confused(NamedTuple):
    """The number of images of one class that are predicted as another."""

    true: str
    predicted: str
    images: int


@dataclass(frozen=True, eq=False)
class ClassificationMetrics:
    """Metrics of a classifier on a set of images.

    Attributes:
        top1: top-1 accuracy, 0 to 1.
        macro: unweighted averages over the classes of targets and predictions.
        weighted: averages over the classes, weighted by their images.
        confusion: int64, shape (classes, classes), rows true, columns predicted.
        log_loss: mean negative log-likelihood of the true class, in nats; None without probabilities.
        report: scikit-learn's classification report, as text.
    """

    images: int
    top1: float
    classes: tuple[ClassMetrics, ...]
    macro: AverageMetrics
    weighted: AverageMetrics
    confusion: np.ndarray
    log_loss: float | None
    report: str

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names."""
        return tuple(metrics.label for metrics in self.classes)

    def most_confused(self, count: int = 10) -> list[Confused]:
        """Return the ``count`` most frequent pairs of true and predicted class, the most frequent first."""
        mistakes = self.confusion - np.diag(np.diag(self.confusion))
        order = np.argsort(-mistakes, axis=None, kind="stable")[:count]
        rows, columns = np.unravel_index(order, mistakes.shape)
        return [
            Confused(self.labels[row], self.labels[column], int(mistakes[row, column]))
            for row, column in zip(rows, columns, strict=True)
            if mistakes[row, column]
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "images": self.images,
            "top1": round(self.top1, DIGITS),
            "macro": _rounded(self.macro),
            "weighted": _rounded(self.weighted),
            "log_loss": None if self.log_loss is None else round(self.log_loss, DIGITS),
            "classes": [_rounded(metrics) for metrics in self.classes],
            "confusion": self.confusion.tolist(),
            "most_confused": [pair._asdict() for pair in self.most_confused()],
        }


def measure(
    targets: np.ndarray, predicted: np.ndarray, labels: Sequence[str], probabilities: np.ndarray | None = None
) -> ClassificationMetrics:
    """Compute the metrics of a classifier's predictions.

    Targets and predictions are class indexes, shape (N,); probabilities have the shape (N, classes) and rows that sum
    to 1.
    """
    from sklearn import metrics

    indexes, present = range(len(labels)), np.union1d(targets, predicted)
    each = metrics.precision_recall_fscore_support(targets, predicted, labels=indexes, zero_division=0)
    confusion = metrics.confusion_matrix(targets, predicted, labels=indexes).astype(np.int64)
    loss = None
    if probabilities is not None:
        # scikit-learn warns about sums that are off by float32 rounding.
        rows = probabilities.astype(np.float64)
        loss = float(metrics.log_loss(targets, rows / rows.sum(axis=1, keepdims=True), labels=indexes))
    macro, weighted = (
        metrics.precision_recall_fscore_support(targets, predicted, average=average, zero_division=0)
        for average in ("macro", "weighted")
    )
    return ClassificationMetrics(
        images=len(targets),
        top1=float(metrics.accuracy_score(targets, predicted)),
        classes=tuple(
            ClassMetrics(label, float(precision), float(recall), float(f1), int(support), int(count))
            for label, precision, recall, f1, support, count in zip(labels, *each, confusion.sum(axis=0), strict=True)
        ),
        macro=AverageMetrics(*map(float, macro[:3])),
        weighted=AverageMetrics(*map(float, weighted[:3])),
        confusion=confusion,
        log_loss=loss,
        report=metrics.classification_report(
            targets, predicted, labels=present, target_names=[labels[i] for i in present], digits=4, zero_division=0
        ),
    )


def _rounded(metrics: ClassMetrics | AverageMetrics) -> dict[str, Any]:
    return {name: round(value, DIGITS) if isinstance(value, float) else value for name, value in vars(metrics).items()}
