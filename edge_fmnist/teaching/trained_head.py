"""From photographs to a taught file and its accuracy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_fmnist.data.labels import LABELS, NONE
from edge_fmnist.errors import DataError
from edge_fmnist.model.calibration import choose_threshold, correct_scores, fit_temperature
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.metadata import HASH_DIGITS, embed
from edge_fmnist.model.photos import right_labels
from edge_fmnist.model.registry import ModelBytes
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
# Hashes of photographs in the metadata, which may be 1 MiB: those of earlier teachings are dropped first.
MAX_HASHES = 100_000
# The parent's metadata that a taught file does not keep.
NO_LONGER_TRUE = ("accuracy", "io", "training")


def labels_of(folders: Sequence[str], kept: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the labels of a taught file, those that are kept first, and the label of each folder.

    Raises:
        DataError: too many classes, or a kept class that nothing can be learned from.
    """
    same = [right_labels(folder, kept) for folder in folders]
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
        threshold: minimum score of a known class.
        classes: how many photographs of each class were recognized without having been taught.
        accuracy: share of all of them, 0 to 1.
    """

    def __init__(
        self, parent: Parent, photographs: Photographs, step: Callable[[str, int, int], None], *, add: bool
    ) -> None:
        """Fit and cross-validate; raises as :func:`teach`."""
        self.parent, self.photographs, self._step = parent, photographs, step
        kept = parent.classifier.labels if add else ()
        self.labels, named = labels_of(photographs.labels, kept)
        places = np.array([self.labels.index(label) for label in named])
        self.targets = places[photographs.targets]
        seen = frozenset(parent.taught_from)
        self._new = np.array([digest[:HASH_DIGITS] not in seen for digest in photographs.hashes])
        images, targets = photographs.images, self.targets
        if add:
            old, old_targets = rehearsal(self.labels)
            images, targets = np.concatenate([images, old]), np.concatenate([targets, old_targets])
        self._features, centre = parent.features(images), self._centre()
        rows = np.eye(len(self.labels), dtype=np.float32)[targets]
        folds = folds_of(targets, np.concatenate([photographs.groups, np.arange(len(self.targets), len(images))]))
        regression, done = Regression(self._features, rows, centre), iter(range(1, FOLDS + 2))
        self._strength, fold_weights = cross_validate(
            regression, folds, len(self.targets), lambda: step("Fitting", next(done), FOLDS + 1)
        )
        self._weights = regression.fit(self._strength, centre, np.full(len(rows), True))
        if add:
            # A class added by an earlier teaching is still one that the photographs of kept classes must be safe from.
            first = (parent.original() or parent).classifier.labels
            if not {*first} <= {*kept}:
                # The parent was taught from its photographs alone.
                first = kept
            added = np.array([label not in first for label in self.labels])
            margin = self._lead(added, fold_weights, folds)
            for weights in (self._weights, *fold_weights.values()):
                weights[added, -1] -= margin
        step("Fitting", next(done), FOLDS + 1)
        self._calibrate(rows[: len(self.targets)], fold_weights, folds)
        self._count(np.bincount(places, photographs.missed, len(self.labels)).astype(int))

    def _centre(self) -> np.ndarray:
        """Return what the weights are drawn to: the parent's for classes that it has, else 0.

        The weights of a parent that was taught from some of these photographs know them, so cross-validation would find
        an accuracy that new ones do not have. Those of the original model take their place; if it is not shipped, 0 for
        classes with photographs.
        """
        knows = not self._new.all()
        original = self.parent.original() if knows else None
        source, learned = original or self.parent, self.targets if knows and original is None else ()
        known, weights = source.classifier.labels, source.weights()
        centre = np.zeros((len(self.labels), weights.shape[1]), np.float32)
        for index, label in enumerate(self.labels):
            if index in learned:
                continue
            if same := (label,) if label in known else right_labels(label, known):
                centre[index] = weights[[known.index(each) for each in same]].mean(axis=0)
        return centre

    def _lead(self, added: np.ndarray, fold_weights: dict[int, np.ndarray], folds: np.ndarray) -> float:
        """Return by how much the logits of added classes can fall, so that few of their own photographs are lost.

        Photographs of the other classes, of which there may be none here, are then taken for added ones less often.
        ``added`` is bool, shape (classes,).
        """
        leads = []
        for fold, weights in fold_weights.items():
            held = np.flatnonzero((folds[: len(self.targets)] == fold) & added[self.targets])
            logits = self._features[held] @ weights.T
            lead = logits[np.arange(len(held)), self.targets[held]] - logits[:, ~added].max(axis=1)
            leads.append(lead[logits.argmax(axis=1) == self.targets[held]])
        right = np.concatenate(leads)
        return float(np.quantile(right, LOST_RATE)) if len(right) else 0.0

    def _calibrate(self, rows: np.ndarray, fold_weights: dict[int, np.ndarray], folds: np.ndarray) -> None:
        """Choose temperature and threshold by what the int8 file of each fold answers for photographs it held out."""
        files = []
        logits, scores = np.zeros_like(rows), np.zeros_like(rows)
        for fold, weights in fold_weights.items():
            held = folds[: len(rows)] == fold
            if held.any():
                files.append((held, self.parent.taught(weights, self._features[folds != fold])))
                logits[held], _ = self._classifier(files[-1][1], 1.0).values(self.photographs.images[held])
            self._step("Checking with photographs that were held out", fold + 1, FOLDS)
        self.temperature = fit_temperature(logits, rows)
        if (logits.argmax(axis=1) == self.targets).all():
            # Without an error, the likelihood rises towards certainty, whatever the scores.
            self.temperature = max(self.temperature, 1.0)
        # The temperature decides which images are classified without their mirror images.
        for held, flatbuffer in files:
            predictions = self._classifier(flatbuffer, self.temperature).predict_batch(self.photographs.images[held])
            scores[held] = predictions.scores
        self._predicted = scores.argmax(axis=1)
        rejects = np.array([label == NONE for label in self.labels])
        named = rows * ~rejects
        self.threshold = min(choose_threshold(correct_scores(scores, named), FALSE_REJECT_RATE), MAX_THRESHOLD)
        # A thing to reject is also recognized where the threshold rejects it.
        rejected = rejects[self.targets] & (scores.max(axis=1) < self.threshold)
        self._right = (self._predicted == self.targets) | rejected

    def _classifier(self, flatbuffer: bytes, temperature: float) -> Classifier:
        settings = {**self.parent.settings, "calibration": {"temperature": temperature, "threshold": 0.0}}
        return Classifier(ModelBytes(embed(flatbuffer, settings, self.labels), self.parent.source))

    def _count(self, missed: np.ndarray) -> None:
        """Count what was recognized; ``missed`` is the number of photographs without a garment, int, shape (classes,).

        Those are right in the class ``none`` only.
        """
        counts = np.zeros((len(self.labels), len(self.labels)), int)
        np.add.at(counts, (self.targets, np.where(self._right, self.targets, self._predicted)), 1)
        taught = np.unique(self.targets)
        self._confusion = counts[taught]
        classes = []
        for index in taught.tolist():
            found, label = int(counts[index].sum()), self.labels[index]
            right = int(counts[index, index] + (missed[index] if label == NONE else 0))
            total = found + int(missed[index])
            wanted = max(0, ENOUGH_PHOTOGRAPHS - found)
            classes.append(TaughtClass(label, total, int(missed[index]), right, right / total, wanted))
        self.classes = tuple(classes)
        self.accuracy = sum(each.right for each in classes) / sum(each.photographs for each in classes)

    def file(self, name: str) -> bytes:
        """Return the bytes of the taught model's file."""
        parent, former = self.parent, self.parent.settings.get("parameters")
        hashes = (digest[:HASH_DIGITS] for digest in self.photographs.hashes)
        more = (len(self.labels) - parent.classes) * (parent.size + 1)
        settings: dict[str, Any] = {
            "name": name,
            "calibration": {"temperature": self.temperature, "threshold": self.threshold},
            "parameters": former + more if isinstance(former, int) else None,
            "taught": {
                "parent": parent.settings.get("name", parent.source),
                "parent_sha256": parent.sha256,
                "original_sha256": parent.original_sha256,
                "photographs": dict(Counter(self.labels[target] for target in self.targets)),
                "photographs_sha256": "".join(list(dict.fromkeys((*hashes, *parent.taught_from)))[:MAX_HASHES]),
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
        return Taught(
            path=path,
            parent=self.parent.source,
            labels=self.labels,
            classes=self.classes,
            photographs=sum(each.photographs for each in self.classes),
            accuracy=self.accuracy,
            confusion=tuple(tuple(row) for row in self._confusion.tolist()),
            comparison=self._comparison(),
            parent_trained_on_photographs=self.parent.photos_sha256 is not None,
            temperature=self.temperature,
            threshold=self.threshold,
            warnings=warnings,
            seconds=seconds,
        )

    def _comparison(self) -> BeforeAfter | None:
        """Return the accuracy of both models on photographs that the parent was not taught from."""
        new = self._new
        if not new.any():
            return None
        targets, predicted = self.targets[new], self.parent.classifier.predict_batch(self.photographs.images[new])
        before = [
            not prediction.known if label == NONE else prediction.label in right_labels(label, prediction.labels)
            for prediction, label in zip(predicted, (self.labels[target] for target in targets), strict=True)
        ]
        return BeforeAfter(len(targets), float(np.mean(before)), float(self._right[new].mean()))
