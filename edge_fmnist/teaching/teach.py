"""The function :func:`edge_fmnist.teach`: photographs in folders, a model taught from them."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from edge_fmnist.data.files import moved_into_place
from edge_fmnist.data.labels import NONE
from edge_fmnist.errors import CancelledError, ModelError, SinkError, UsageError
from edge_fmnist.model.calibration import choose_threshold, correct_scores, fit_temperature
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.metadata import embed, without_metadata
from edge_fmnist.model.photos import GARMENTS
from edge_fmnist.model.quantization import softmax
from edge_fmnist.model.registry import CAMERA_MODEL, ModelBytes, read_model
from edge_fmnist.teaching.fit import FOLDS, cross_validate, fit, folds_of
from edge_fmnist.teaching.last_layer import find_head, with_head, without_head
from edge_fmnist.teaching.photographs import Photographs, read_photographs
from edge_fmnist.teaching.results import BeforeAfter, Taught, TaughtClass, TeachProgress

# Share of correct predictions that the threshold may reject.
FALSE_REJECT_RATE = 0.05
# With fewer photographs of a class, more help much: measured on ten kinds of garments.
ENOUGH_PHOTOGRAPHS = 20
# Hexadecimal digits that identify a photograph in the metadata.
DIGITS = 8


def teach(
    photos: str | Path,
    output: str | Path,
    *,
    model: str | Path = CAMERA_MODEL,
    add: bool = False,
    progress: Callable[[TeachProgress], object] | None = None,
    cancel: Event | None = None,
) -> Taught:
    """Teach a model the classes of a folder of photographs, and write it as an int8 ``.tflite`` file.

    The network keeps its weights; its last layer is replaced by a logistic regression on the values before it. No
    TensorFlow is needed. The file is moved into place when everything has succeeded; until then, an existing file is
    unchanged.

    Args:
        photos: has a folder of photographs for each class; the name of the folder is the name of the class. A class
            named ``none`` is what is not to be named: its answer is ``"unknown"``.
        output: the file to write.
        model: the parent: name of a shipped model or path of a ``.tflite`` file, itself taught or not.
        add: keep the classes of the parent and add those of the folders.
        progress: called in the calling thread after each step.
        cancel: set by another thread to stop early.

    Returns:
        The classes, their accuracy by cross-validation, and warnings.

    Raises:
        DataNotFoundError: no such folder, or no photographs in it.
        DataError: fewer than two classes, a class with fewer than 3 photographs in which a garment was found, the same
            photograph in two classes, or a folder whose name cannot be a label.
        ModelNotFoundError: neither a shipped model nor a file.
        ModelError: a model that is damaged, or whose last layer cannot be replaced.
        CancelledError: ``cancel`` was set; nothing was written.
        SinkError: the file cannot be written.
    """
    path, warnings, started = Path(output), list[str](), time.perf_counter()
    if path.is_dir() or not path.name:
        raise UsageError(f"expected a file to write such as mine.tflite, got the folder {path}", setting="output")

    if add:
        raise UsageError("not available yet", setting="add")

    def step(stage: str, done: int, total: int) -> None:
        if progress is not None:
            progress(TeachProgress(stage, done, total))
        if cancel is not None and cancel.is_set():
            raise CancelledError("teaching was stopped; nothing was written")

    parent = Parent(model)
    photographs = read_photographs(
        Path(photos), 1 if add else 2, lambda done, total: step("photographs", done, total), warnings.append
    )
    lesson = Lesson(parent, photographs, step)
    content = lesson.file(path.stem)
    step("writing", 0, 1)
    try:
        with moved_into_place(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise SinkError(f"{path}: cannot be written ({error.strerror or error}); nothing was changed") from error
    step("writing", 1, 1)
    return lesson.result(path, tuple(warnings), time.perf_counter() - started)


class Parent:
    """The model that is taught.

    Attributes:
        classifier: runs it.
        content: its bytes.
        head: its last layer.
        settings: its metadata.
    """

    def __init__(self, model: str | Path) -> None:
        """Load a model; raises as :func:`teach`."""
        read = read_model(model)
        self.source, self.content = read.source, read.content
        self.classifier = Classifier(read)
        if self.classifier.metadata is not None and self.classifier.metadata.output != "logits":
            raise ModelError(f"{read.source}: expected a model whose output is logits, got probabilities")
        self.head = find_head(without_metadata(read.content), read.source)
        metadata = self.classifier.metadata
        self.settings: dict[str, Any] = dict(metadata.settings) if metadata else {"output": "logits"}

    def features(self, images: np.ndarray) -> np.ndarray:
        """Return the input of the last layer for images, uint8, shape (N, 28, 28), and a last column of 1.

        Returns:
            float32, shape (N, features + 1).
        """
        names = tuple(f"feature {index}" for index in range(self.head.size))
        content = embed(without_head(self.head), {**self.settings, "calibration": None}, names)
        values, _ = Classifier(ModelBytes(content, self.source)).values(images)
        return np.concatenate([values, np.ones((len(values), 1), np.float32)], axis=1)

    def taught(
        self, weights: np.ndarray, features: np.ndarray, settings: dict[str, Any], labels: tuple[str, ...]
    ) -> bytes:
        """Return the bytes of a model file with another last layer.

        Args:
            weights: float32, shape (classes, features + 1); the last column is the bias.
            features: what the layer will be given, float32, shape (N, features + 1).
            settings: metadata beside or instead of the parent's.
            labels: the classes.
        """
        flatbuffer = with_head(self.head, weights[:, :-1], weights[:, -1], features[:, :-1])
        return embed(flatbuffer, {**self.settings, **settings}, labels)


class Lesson:
    """Weights fitted to photographs, and how right they are on photographs that they were not fitted to."""

    def __init__(self, parent: Parent, photographs: Photographs, step: Callable[[str, int, int], None]) -> None:
        """Fit and cross-validate; raises as :func:`teach`."""
        self.parent, self.photographs, self._step = parent, photographs, step
        self.labels = photographs.labels
        self.features = parent.features(photographs.images)
        self.targets = np.eye(len(self.labels), dtype=np.float32)[photographs.targets]
        self.folds = folds_of(photographs.targets, np.arange(len(photographs.targets)))
        self._centre = np.zeros((len(self.labels), self.features.shape[1]), np.float32)
        done = Counter[str]()

        def fitted() -> None:
            done.update(fold=1)
            step("fitting", done["fold"], FOLDS + 1)

        self.strength, self._fold_weights = cross_validate(
            self.features, self.targets, self.folds, self._centre, fitted
        )
        self.weights = fit(self.features, self.targets, self.strength, start=self._centre, centre=self._centre)
        fitted()
        self.logits = self._held_out_logits()
        self.temperature = fit_temperature(self.logits, self.targets)
        scores = softmax(self.logits / np.float32(self.temperature))
        named = self.targets.copy()
        if NONE in self.labels:
            named[:, self.labels.index(NONE)] = 0
        self.threshold = choose_threshold(correct_scores(scores, named), FALSE_REJECT_RATE)
        self.predicted = scores.argmax(axis=1)

    def _held_out_logits(self) -> np.ndarray:
        """Return what the int8 file of each fold answers for the photographs that it was not taught from."""
        logits = np.zeros((len(self.folds), len(self.labels)), np.float32)
        for fold, weights in self._fold_weights.items():
            held = self.folds == fold
            content = self.parent.taught(weights, self.features[~held], {"calibration": None}, self.labels)
            logits[held], _ = Classifier(ModelBytes(content, self.parent.source)).values(self.photographs.images[held])
            self._step("checking", fold + 1, FOLDS)
        return logits

    @property
    def right(self) -> np.ndarray:
        """Whether each photograph was recognized without having been taught, bool, shape (N,)."""
        recognized: np.ndarray = self.predicted == self.photographs.targets
        return recognized

    def file(self, name: str) -> bytes:
        """Return the bytes of the taught model's file."""
        counts = Counter(self.labels[target] for target in self.photographs.targets)
        settings: dict[str, Any] = {
            "name": name,
            "calibration": {"temperature": self.temperature, "threshold": self.threshold},
            "parameters": self._parameters(),
            "taught": {
                "parent": self.parent.settings.get("name", self.parent.source),
                "parent_sha256": hashlib.sha256(self.parent.content).hexdigest(),
                "photographs": dict(counts),
                "photographs_sha256": "".join(digest[:DIGITS] for digest in self.photographs.hashes),
                "cross_validated_accuracy": round(float(self.right.mean()), 6),
                "folds": len(self._fold_weights),
                "strength": self.strength,
            },
        }
        first = self.parent.taught(self.weights, self.features, settings, self.labels)
        written = Classifier(ModelBytes(first, name))
        settings["io"] = {"input": written.input.as_dict(), "output": written.output.as_dict()}
        return embed(without_metadata(first), {**self._kept(), **settings}, self.labels)

    def _kept(self) -> dict[str, Any]:
        """Return the parent's settings without what is no longer true."""
        return {name: value for name, value in self.parent.settings.items() if name not in ("accuracy", "training")}

    def _parameters(self) -> int | None:
        former = self.parent.settings.get("parameters")
        change = (len(self.labels) - self.parent.head.classes) * (self.parent.head.size + 1)
        return former + change if isinstance(former, int) else None

    def result(self, path: Path, warnings: tuple[str, ...], seconds: float) -> Taught:
        """Return the result of a written file."""
        confusion = np.zeros((len(self.labels), len(self.labels)), int)
        np.add.at(confusion, (self.photographs.targets, self.predicted), 1)
        counts = confusion.sum(axis=1)
        classes = tuple(
            TaughtClass(label, int(count), int(right), max(0, ENOUGH_PHOTOGRAPHS - int(count)))
            for label, count, right in zip(self.labels, counts, confusion.diagonal(), strict=True)
        )
        return Taught(
            path=path,
            parent=self.parent.source,
            labels=self.labels,
            classes=classes,
            accuracy=float(self.right.mean()),
            confusion=tuple(tuple(map(int, row)) for row in confusion),
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
        new = np.array([digest[:DIGITS] not in hashes for digest in self.photographs.hashes])
        if not new.any():
            return None
        before = [
            not prediction.known if label == NONE else prediction.label in (label, *GARMENTS.get(label, ()))
            for prediction, label in zip(
                self.parent.classifier.predict_batch(self.photographs.images[new]),
                (self.labels[target] for target in self.photographs.targets[new]),
                strict=True,
            )
        ]
        return BeforeAfter(int(new.sum()), float(np.mean(before)), float(self.right[new].mean()))
