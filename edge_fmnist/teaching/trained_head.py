"""From photographs to a taught file and its accuracy."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_fmnist.data.labels import LABELS, NONE
from edge_fmnist.errors import DataError
from edge_fmnist.model.calibration import choose_threshold, correct_scores, fit_temperature
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.metadata import embed
from edge_fmnist.model.photos import right_labels
from edge_fmnist.model.quantization import softmax
from edge_fmnist.model.registry import ModelBytes
from edge_fmnist.teaching.collection import class_key
from edge_fmnist.teaching.fit import FOLDS, Regression, cross_validate, folds_of
from edge_fmnist.teaching.parent import Parent
from edge_fmnist.teaching.photographs import MAX_CLASSES, Photographs, rehearsal
from edge_fmnist.teaching.results import BeforeAfter, Taught, TaughtClass

# A few photographs of things that differ much have scores near 1. A threshold there rejects the next photograph.
MAX_THRESHOLD = 0.6
# Share of correct predictions that the threshold may reject.
FALSE_REJECT_RATE = 0.05
# Share of the right answers for new classes that may be lost to kept classes.
LOST_RATE = 0.05
# With fewer photographs of a class, more help much: measured on ten kinds of garments.
ENOUGH_PHOTOGRAPHS = 20
# The parent's metadata that a taught file does not keep.
NO_LONGER_TRUE = ("accuracy", "io", "training")
# Hexadecimal digits that identify a photograph in the metadata.
DIGITS = 8


def same_labels(folder: str, labels: Sequence[str]) -> list[str]:
    """Return the labels of a model that mean what a folder has.

    They are named like it, in capital or small letters, with ``-`` for what no folder can have in its name; or are what
    :mod:`edge_fmnist.model.photos` says of the garment.
    """
    named_alike = [label for label in labels if class_key(label) == class_key(folder)]
    return named_alike or list(right_labels(folder, labels))


def labels_of(folders: Sequence[str], kept: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the labels of a taught file, those that are kept first, and the label of each folder.

    Raises:
        DataError: too many classes, or a kept class that nothing can be learned from.
    """
    same = [same_labels(folder, kept) for folder in folders]
    named = tuple(labels[0] if len(labels) == 1 else folder for folder, labels in zip(folders, same, strict=True))
    if lost := [label for label in kept if label not in (*LABELS, *named)]:
        raise DataError(
            f"expected folders with photographs of {', '.join(lost)} too: without them, the model would forget these "
            "classes; only those of Fashion-MNIST are kept without photographs"
        )
    labels = tuple(dict.fromkeys((*kept, *named)))
    if len(labels) > MAX_CLASSES:
        raise DataError(f"expected at most {MAX_CLASSES} classes, got {len(labels)}")
    return labels, named


class TrainedHead:
    """A last layer fitted to photographs, and how right it is on photographs that it was not fitted to.

    Attributes:
        labels: the classes of the taught file.
        temperature: of its scores.
        threshold: the least score of a known class.
        accuracy: share of the photographs that was recognized without having been taught, 0 to 1.
    """

    def __init__(
        self, parent: Parent, photographs: Photographs, step: Callable[[str, int, int], None], *, add: bool
    ) -> None:
        """Fit and cross-validate; raises as :func:`teach`."""
        self.parent, self.photographs, self._step = parent, photographs, step
        kept = parent.classifier.labels if add else ()
        self.labels, named = labels_of(photographs.labels, kept)
        self.targets = np.array([self.labels.index(label) for label in named])[photographs.targets]
        self._missed = np.zeros(len(self.labels), int)
        np.add.at(self._missed, [self.labels.index(label) for label in named], photographs.missed)
        centre = self._centre()
        images, targets = photographs.images, self.targets
        if add:
            old, old_targets = rehearsal(self.labels)
            images, targets = np.concatenate([images, old]), np.concatenate([targets, old_targets])
        self._features = features = parent.features(images)
        rows = np.eye(len(self.labels), dtype=np.float32)[targets]
        groups = np.concatenate([photographs.groups, np.arange(len(self.targets), len(images)) + len(images)])
        folds, done = folds_of(targets, groups), iter(range(1, FOLDS + 2))
        regression = Regression(features, rows, centre)
        self._strength, fold_weights = cross_validate(
            regression, folds, len(self.targets), lambda: step("Fitting", next(done), FOLDS + 1)
        )
        self._weights = regression.fit(self._strength, centre, np.full(len(rows), True))
        if add:
            margin = self._lead(len(kept), fold_weights, folds)
            for weights in (self._weights, *fold_weights.values()):
                weights[len(kept) :, -1] -= margin
        step("Fitting", next(done), FOLDS + 1)
        logits = self._held_out(fold_weights, folds)
        self._calibrate(logits, rows[: len(logits)])
        nothing_right = sum(count for label, count in zip(self.labels, self._missed, strict=True) if label == NONE)
        self.accuracy = float(self._right.sum() + nothing_right) / int(len(self._right) + self._missed.sum())

    def _centre(self) -> np.ndarray:
        """Return what the weights are drawn to: the parent's for classes that it has, else 0."""
        known, weights = self.parent.classifier.labels, self.parent.weights()
        centre = np.zeros((len(self.labels), weights.shape[1]), np.float32)
        for index, label in enumerate(self.labels):
            if same := same_labels(label, known):
                centre[index] = weights[[known.index(each) for each in same]].mean(axis=0)
        return centre

    def _lead(self, kept: int, fold_weights: dict[int, np.ndarray], folds: np.ndarray) -> float:
        """Return by how much the logits of new classes can fall, so that few of their own photographs are lost.

        Photographs of the kept classes, of which there are none here, are then taken for new ones less often.
        """
        leads = []
        for fold, weights in fold_weights.items():
            held = np.flatnonzero((folds[: len(self.targets)] == fold) & (self.targets >= kept))
            logits = self._features[held] @ weights.T
            lead = logits[np.arange(len(held)), self.targets[held]] - logits[:, :kept].max(axis=1)
            leads.append(lead[logits.argmax(axis=1) == self.targets[held]])
        right = np.concatenate(leads)
        return float(np.quantile(right, LOST_RATE)) if len(right) else 0.0

    def _held_out(self, fold_weights: dict[int, np.ndarray], folds: np.ndarray) -> np.ndarray:
        """Return what the int8 file of each fold answers for the photographs that it was not taught from."""
        logits = np.zeros((len(self.targets), len(self.labels)), np.float32)
        for fold, weights in fold_weights.items():
            held = folds[: len(self.targets)] == fold
            if held.any():
                flatbuffer = self.parent.taught(weights, self._features[folds != fold])
                content = embed(flatbuffer, {**self.parent.settings, "calibration": None}, self.labels)
                classifier = Classifier(ModelBytes(content, self.parent.source))
                logits[held], _ = classifier.values(self.photographs.images[held])
            self._step("Checking with photographs that were held out", fold + 1, FOLDS)
        return logits

    def _calibrate(self, logits: np.ndarray, rows: np.ndarray) -> None:
        """Choose temperature and threshold by the scores of photographs that were held out."""
        self.temperature = fit_temperature(logits, rows)
        self._predicted = logits.argmax(axis=1)
        self._right = self._predicted == self.targets
        if self._right.all():
            # Without an error, the likelihood rises towards certainty, whatever the scores.
            self.temperature = max(self.temperature, 1.0)
        scores = softmax(logits / np.float32(self.temperature))
        named = rows * np.array([label != NONE for label in self.labels])
        self.threshold = min(choose_threshold(correct_scores(scores, named), FALSE_REJECT_RATE), MAX_THRESHOLD)

    def file(self, name: str) -> bytes:
        """Return the bytes of the taught model's file."""
        parent, former = self.parent, self.parent.settings.get("parameters")
        more = (len(self.labels) - parent.classes) * (parent.size + 1)
        settings: dict[str, Any] = {
            "name": name,
            "calibration": {"temperature": self.temperature, "threshold": self.threshold},
            "parameters": former + more if isinstance(former, int) else None,
            "taught": {
                "parent": parent.settings.get("name", parent.source),
                "parent_sha256": hashlib.sha256(parent.classifier.content).hexdigest(),
                "photographs": dict(Counter(self.labels[target] for target in self.targets)),
                "photographs_sha256": "".join(digest[:DIGITS] for digest in self.photographs.hashes),
                "cross_validated_accuracy": round(self.accuracy, 6),
                "strength": self._strength,
            },
        }
        kept = {name: value for name, value in parent.settings.items() if name not in NO_LONGER_TRUE}
        if parent.photos_sha256 is not None:
            kept["training"] = {"photos_sha256": parent.photos_sha256}
        return embed(parent.taught(self._weights, self._features), {**kept, **settings}, self.labels)

    def result(self, path: Path, warnings: tuple[str, ...], seconds: float) -> Taught:
        """Return the result of a written file."""
        confusion = np.zeros((len(self.labels), len(self.labels)), int)
        np.add.at(confusion, (self.targets, self._predicted), 1)
        classes = []
        for index in np.unique(self.targets):
            label, found, missed = self.labels[index], int(confusion[index].sum()), int(self._missed[index])
            right, count = int(confusion[index, index]) + (missed if label == NONE else 0), found + missed
            classes.append(TaughtClass(label, count, missed, right, right / count, max(0, ENOUGH_PHOTOGRAPHS - found)))
        return Taught(
            path=path,
            parent=self.parent.source,
            labels=self.labels,
            classes=tuple(classes),
            photographs=sum(each.photographs for each in classes),
            accuracy=self.accuracy,
            confusion=tuple(tuple(row) for row in confusion[np.unique(self.targets)].tolist()),
            comparison=self._comparison(),
            parent_trained_on_photographs=self.parent.photos_sha256 is not None,
            temperature=self.temperature,
            threshold=self.threshold,
            warnings=warnings,
            seconds=seconds,
        )

    def _comparison(self) -> BeforeAfter | None:
        """Return the accuracy of both models on photographs that the parent was not taught from."""
        taught = self.parent.settings.get("taught")
        known = str(taught.get("photographs_sha256", "")) if isinstance(taught, dict) else ""
        hashes = {known[start : start + DIGITS] for start in range(0, len(known), DIGITS)}
        new = np.array([digest[:DIGITS] not in hashes for digest in self.photographs.hashes])
        if not new.any():
            return None
        before = [
            not prediction.known if label == NONE else prediction.label in same_labels(label, prediction.labels)
            for prediction, label in zip(
                self.parent.classifier.predict_batch(self.photographs.images[new]),
                (self.labels[target] for target in self.targets[new]),
                strict=True,
            )
        ]
        return BeforeAfter(int(new.sum()), float(np.mean(before)), float(self._right[new].mean()))
