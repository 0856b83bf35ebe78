"""The results of a classifier."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from edge_fmnist.data.labels import NONE, UNKNOWN


@dataclass(frozen=True, slots=True)
class ClassScore:
    """A class and its probability, 0 to 1."""

    label: str
    index: int
    score: float


@dataclass(frozen=True, eq=False, slots=True)
class Prediction:
    """The result for one image.

    Attributes:
        label: the most probable class.
        index: its index.
        score: its probability, 0 to 1.
        scores: the probabilities of all classes, float32, shape (classes,).
        milliseconds: time from the checked image to the scores; in a batch, the batch's time divided by its images.
        labels: the names of all classes.
        threshold: minimum score of a known class, 0 to 1.
    """

    label: str
    index: int
    score: float
    scores: np.ndarray
    milliseconds: float
    labels: tuple[str, ...]
    threshold: float = 0.0

    def __repr__(self) -> str:
        return f"Prediction({self.answer!r}, score={self.score:.3f})"

    @property
    def known(self) -> bool:
        """Whether the score reaches the threshold, and the class is not ``none``."""
        return self.score >= self.threshold and self.label != NONE

    @property
    def answer(self) -> str:
        """The label, or ``"unknown"`` below the threshold and for the class ``none``."""
        return self.label if self.known else UNKNOWN

    def top(self, count: int) -> list[ClassScore]:
        """Return the ``count`` most probable classes, best first; fewer if the model has fewer."""
        order = np.argsort(-self.scores, kind="stable")[: max(0, count)]
        return [ClassScore(self.labels[index], int(index), float(self.scores[index])) for index in order]

    def as_dict(self, top_k: int = 1) -> dict[str, Any]:
        """Return plain values for JSON, the ``top_k`` best classes among them."""
        return {
            "answer": self.answer,
            "label": self.label,
            "index": self.index,
            "score": round(self.score, 6),
            "milliseconds": round(self.milliseconds, 4),
            "top": [{"label": c.label, "index": c.index, "score": round(c.score, 6)} for c in self.top(top_k)],
        }


@dataclass(frozen=True, eq=False)
class Predictions(Sequence[Prediction]):
    """The results for a batch: a sequence of :class:`Prediction` that keeps its arrays.

    Each access makes a new :class:`Prediction`, and predictions have no equality, so ``in`` and ``index`` find nothing:
    compare ``indexes``.

    Attributes:
        scores: probabilities, float32, shape (N, classes).
        labels: the names of the classes.
        milliseconds: time for the whole batch.
        threshold: minimum score of a known class, 0 to 1.
    """

    scores: np.ndarray
    labels: tuple[str, ...]
    milliseconds: float
    threshold: float = 0.0

    def __repr__(self) -> str:
        return f"Predictions({len(self)} images, {len(self.labels)} classes, {self.milliseconds:.1f} ms)"

    @property
    def indexes(self) -> np.ndarray:
        """The most probable class of each image, intp, shape (N,)."""
        result: np.ndarray = self.scores.argmax(axis=1)
        return result

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Prediction]:
        return (self[position] for position in range(len(self)))

    @overload
    def __getitem__(self, position: int) -> Prediction: ...
    @overload
    def __getitem__(self, position: slice) -> Predictions: ...
    def __getitem__(self, position: int | slice) -> Prediction | Predictions:
        if isinstance(position, slice):
            part = self.scores[position]
            return Predictions(part, self.labels, self.milliseconds * len(part) / max(1, len(self)), self.threshold)
        scores = self.scores[position]
        index = int(scores.argmax())
        share = self.milliseconds / len(self)
        return Prediction(self.labels[index], index, float(scores[index]), scores, share, self.labels, self.threshold)
