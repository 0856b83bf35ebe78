"""Metrics of a classifier's answers, each computed by scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from edge_fmnist.errors import DataError
from edge_fmnist.model.evaluation import ClassMetrics

# What probabilities may miss of a sum of 1: float32 arithmetic over a few classes.
SUM_TOLERANCE = 1e-3
DIGITS = 6


@dataclass(frozen=True)
class Average:
    """Precision, recall and F1 averaged over the classes, 0 to 1."""

    precision: float
    recall: float
    f1: float


class Confused(NamedTuple):
    """How many images of one class are taken for another."""

    true: str
    predicted: str
    images: int


@dataclass(frozen=True, eq=False)
class Metrics:
    """What a classifier's answers on a set of images are worth.

    Attributes:
        images: how many images.
        top1: share of right answers, 0 to 1.
        classes: metrics of each class, in the order of the labels.
        macro: averages in which each class weighs the same.
        weighted: averages in which each image weighs the same.
        confusion: int64, shape (classes, classes), rows true, columns predicted.
        log_loss: mean negative logarithm of the probability given to the right class, in nats;
            None without probabilities.
        report: scikit-learn's classification report, as text.
    """

    images: int
    top1: float
    classes: tuple[ClassMetrics, ...]
    macro: Average
    weighted: Average
    confusion: np.ndarray
    log_loss: float | None
    report: str

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(metrics.label for metrics in self.classes)

    def most_confused(self, count: int = 10) -> list[Confused]:
        """Return the pairs of classes with the most mistakes, the worst first; at most ``count``."""
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
) -> Metrics:
    """Measure a classifier's answers with scikit-learn.

    Args:
        targets: indexes of the right classes, integers, shape (N,).
        predicted: indexes of the classes answered, integers, shape (N,).
        labels: the names of the classes, in the order of their indexes.
        probabilities: float, shape (N, classes), rows that sum to 1; None where the classifier gives none.

    Raises:
        DataError: no images, arrays of different lengths, an index without a label, or rows that are no
            probabilities.
    """
    _check(targets, predicted, len(labels), probabilities)
    from sklearn import metrics

    indexes = range(len(labels))
    settings = {"labels": indexes, "target_names": list(labels), "zero_division": 0}
    # Distinct names for the dictionary: two classes of one name would become one entry.
    facts = metrics.classification_report(
        targets, predicted, labels=indexes, target_names=list(map(str, indexes)), zero_division=0, output_dict=True
    )
    confusion = metrics.confusion_matrix(targets, predicted, labels=indexes)
    named = confusion.sum(axis=0)
    loss = None
    if probabilities is not None:
        # In float64: scikit-learn warns of sums that are off by what float32 rounds away.
        rows = probabilities.astype(np.float64)
        loss = float(metrics.log_loss(targets, rows / rows.sum(axis=1, keepdims=True), labels=indexes))
    return Metrics(
        images=len(targets),
        top1=float(metrics.accuracy_score(targets, predicted)),
        classes=tuple(
            ClassMetrics(label, *_three(facts[str(i)]), support=int(facts[str(i)]["support"]), predicted=int(named[i]))
            for i, label in enumerate(labels)
        ),
        macro=Average(*_three(facts["macro avg"])),
        weighted=Average(*_three(facts["weighted avg"])),
        confusion=confusion.astype(np.int64),
        log_loss=loss,
        report=str(metrics.classification_report(targets, predicted, digits=4, **settings)),
    )


def _check(targets: np.ndarray, predicted: np.ndarray, classes: int, probabilities: np.ndarray | None) -> None:
    if not len(targets) or targets.shape != predicted.shape:
        raise DataError(f"expected as many answers as images, at least one; got {len(predicted)} for {len(targets)}")
    for name, indexes in (("target", targets), ("answer", predicted)):
        if indexes.min() < 0 or indexes.max() >= classes:
            wrong = indexes[(indexes < 0) | (indexes >= classes)][0]
            raise DataError(f"expected each {name} to be one of {classes} classes, 0 to {classes - 1}; got {wrong}")
    if probabilities is None:
        return
    if probabilities.shape != (len(targets), classes):
        raise DataError(f"expected probabilities of shape ({len(targets)}, {classes}), got {probabilities.shape}")
    sums = probabilities.sum(axis=1)
    # Written so that NaN fails too.
    if not (probabilities.min() >= 0 and np.abs(sums - 1).max() <= SUM_TOLERANCE):
        raise DataError("expected probabilities of 0 to 1 whose rows sum to 1; give None for other scores")


def _three(facts: dict[str, float]) -> tuple[float, float, float]:
    return float(facts["precision"]), float(facts["recall"]), float(facts["f1-score"])


def _rounded(metrics: ClassMetrics | Average) -> dict[str, Any]:
    return {name: round(value, DIGITS) if isinstance(value, float) else value for name, value in vars(metrics).items()}
