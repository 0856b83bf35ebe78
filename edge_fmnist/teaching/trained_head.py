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
from edge_fmnist.model.photos import GARMENTS, right_labels
from edge_fmnist.model.quantization import softmax
from edge_fmnist.model.registry import ModelBytes
from edge_fmnist.teaching.collection import class_key
from edge_fmnist.teaching.fit import FOLDS, STRENGTHS, STRENGTHS_KEEPING, Regression, cross_validate, folds_of
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


def labels_of(folders: Sequence[str], kept: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the labels of a taught file, and the label of each folder.

    Args:
        folders: the names of the folders.
        kept: the labels of the parent, if they are kept. A folder stands for one of them if its name is that label in
            small or capital letters, with ``-`` for what no folder can have in its name, or one of the names of
            :mod:`edge_fmnist.model.photos`.

    Raises:
        DataError: too many classes, or a kept class that nothing can be learned from.
    """
    same = {garment: labels[0] for garment, labels in GARMENTS.items() if len(labels) == 1 and labels[0] in kept}
    same |= {class_key(label): label for label in kept}
    named = tuple(same.get(class_key(folder), folder) for folder in folders)
    if lost := [label for label in kept if label not in (*LABELS, *named)]:
        raise DataError(
            f"expected folders with photographs of {', '.join(lost)} too: without them, the model would forget these "
            "classes; only those of Fashion-MNIST are kept without photographs"
        )
    labels = (*kept, *dict.fromkeys(name for name in named if name not in kept))
    if len(labels) > MAX_CLASSES:
        raise DataError(f"expected at most {MAX_CLASSES} classes, got {len(labels)}")
    return labels, named


class TrainedHead:
    """Weights fitted to photographs, and how right they are on photographs that they were not fitted to.

    Attributes:
        labels: the classes of the taught file.
        temperature: of its scores.
        threshold: the least score of a known class.
    """

    def __init__(
        self, parent: Parent, photographs: Photographs, step: Callable[[str, int, int], None], *, add: bool
    ) -> None:
        """Fit and cross-validate; raises as :func:`teach`."""
        self.parent, self.photographs, self._step = parent, photographs, step
        kept = parent.classifier.labels if add else ()
        self.labels, named = labels_of(photographs.labels, kept)
        self.targets = np.array([self.labels.index(label) for label in named])[photographs.targets]
        self._missed = Counter[str]()
        for label, count in zip(named, photographs.missed, strict=True):
            self._missed[label] += count
        centre = np.zeros((len(self.labels), parent.size + 1), np.float32)
        images, targets = photographs.images, self.targets
        if add:
            centre[: len(kept)] = parent.weights()[: len(kept)]
            old, old_targets = rehearsal(self.labels)
            images, targets = np.concatenate([images, old]), np.concatenate([targets, old_targets])
        features = parent.features(images)
        rows = np.eye(len(self.labels), dtype=np.float32)[targets]
        groups = np.concatenate([photographs.groups, len(images) + np.arange(len(images) - len(photographs.images))])
        folds, done = folds_of(targets, groups), iter(range(1, FOLDS + 2))
        strengths = STRENGTHS_KEEPING if add else STRENGTHS
        regression = Regression(features, rows, centre)
        self._strength, fold_weights = cross_validate(
            regression, folds, len(self.targets), strengths, lambda: step("fitting", next(done), FOLDS + 1)
        )
        self._weights = regression.fit(self._strength, centre, np.full(len(rows), True))
        if add:
            margin = self._lead(len(kept), features, fold_weights, folds)
            for weights in (self._weights, *fold_weights.values()):
                weights[len(kept) :, -1] -= margin
        step("fitting", next(done), FOLDS + 1)
        self._features = features
        logits = self._held_out(fold_weights, folds)
        self._calibrate(logits, rows[: len(logits)])

    def _lead(self, kept: int, features: np.ndarray, fold_weights: dict[int, np.ndarray], folds: np.ndarray) -> float:
        """Return by how much the logits of new classes can fall, so that few of their own photographs are lost.

        Photographs of the kept classes, of which there are none here, are then taken for new ones less often.
        """
        leads = []
        for fold, weights in fold_weights.items():
            held = np.flatnonzero((folds[: len(self.targets)] == fold) & (self.targets >= kept))
            logits = features[held] @ weights.T
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
            self._step("checking", fold + 1, FOLDS)
        return logits

    def _calibrate(self, logits: np.ndarray, rows: np.ndarray) -> None:
        """Choose temperature and threshold by the scores of photographs that were held out."""
        self.temperature = fit_temperature(logits, rows)
        if (logits.argmax(axis=1) == rows.argmax(axis=1)).all():
            # Without an error, the likelihood rises towards certainty, whatever the scores.
            self.temperature = max(self.temperature, 1.0)
        scores = softmax(logits / np.float32(self.temperature))
        named = rows * np.array([label != NONE for label in self.labels])
        self.threshold = min(choose_threshold(correct_scores(scores, named), FALSE_REJECT_RATE), MAX_THRESHOLD)
        self._predicted = scores.argmax(axis=1)
        self._right = self._predicted == self.targets

    @property
    def accuracy(self) -> float:
        """Share of the photographs that was recognized without having been taught, 0 to 1."""
        return float(self._right.sum() + self._missed[NONE]) / (len(self._right) + sum(self._missed.values()))

    def file(self, name: str) -> bytes:
        """Return the bytes of the taught model's file."""
        counts = Counter(self.labels[target] for target in self.targets)
        settings: dict[str, Any] = {
            "name": name,
            "calibration": {"temperature": self.temperature, "threshold": self.threshold},
            "parameters": self._parameters(),
            "taught": {
                "parent": self.parent.settings.get("name", self.parent.source),
                "parent_sha256": hashlib.sha256(self.parent.classifier.content).hexdigest(),
                "photographs": dict(counts),
                "photographs_sha256": "".join(digest[:DIGITS] for digest in self.photographs.hashes),
                "cross_validated_accuracy": round(self.accuracy, 6),
                "strength": self._strength,
            },
        }
        flatbuffer = self.parent.taught(self._weights, self._features)
        kept = {name: value for name, value in self.parent.settings.items() if name not in NO_LONGER_TRUE}
        return embed(flatbuffer, {**kept, **settings}, self.labels)

    def _parameters(self) -> int | None:
        former = self.parent.settings.get("parameters")
        change = (len(self.labels) - self.parent.classes) * (self.parent.size + 1)
        return former + change if isinstance(former, int) else None

    def result(self, path: Path, warnings: tuple[str, ...], seconds: float) -> Taught:
        """Return the result of a written file."""
        confusion = np.zeros((len(self.labels), len(self.labels)), int)
        np.add.at(confusion, (self.targets, self._predicted), 1)
        taught = [index for index in range(len(self.labels)) if confusion[index].any()]
        missed = self._missed
        classes = tuple(
            TaughtClass(
                label=label,
                photographs=count,
                missed=missed[label],
                right=int(confusion[index, index]) + (missed[label] if label == NONE else 0),
                wanted=max(0, ENOUGH_PHOTOGRAPHS - count),
            )
            for index, count in zip(taught, map(int, confusion[taught].sum(axis=1)), strict=True)
            for label in [self.labels[index]]
        )
        return Taught(
            path=path,
            parent=self.parent.source,
            labels=self.labels,
            classes=classes,
            accuracy=self.accuracy,
            confusion=tuple(tuple(map(int, confusion[index])) for index in taught),
            comparison=self._comparison(),
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
        labels = self.parent.classifier.labels
        new = np.array([digest[:DIGITS] not in hashes for digest in self.photographs.hashes])
        if not new.any():
            return None
        before = [
            not prediction.known
            if label == NONE
            else class_key(prediction.label) == class_key(label) or prediction.label in right_labels(label, labels)
            for prediction, label in zip(
                self.parent.classifier.predict_batch(self.photographs.images[new]),
                (self.labels[target] for target in self.targets[new]),
                strict=True,
            )
        ]
        return BeforeAfter(int(new.sum()), float(np.mean(before)), float(self._right[new].mean()))
