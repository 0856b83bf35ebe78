"""The answer for a still picture: what ``classify`` and ``label`` have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_fmnist.model.registry import CAMERA_MODEL, DEFAULT_MODEL

if TYPE_CHECKING:
    from edge_fmnist.model.classifier import Classifier
    from edge_fmnist.model.predictions import Prediction


@dataclass(frozen=True)
class Answer:
    """The answer for one picture.

    Attributes:
        model: name or path of the model.
        prediction: its prediction; None if no garment was detected.
        confidence: of the detection, 0 to 1, as :class:`edge_fmnist.vision.detection.Garment` has it.
    """

    model: str
    prediction: Prediction | None
    confidence: float

    def as_dict(self, top_k: int) -> dict[str, Any]:
        """Return plain values for JSON; without a garment there is no class, and so no score, not one of 0."""
        if self.prediction is None:
            predicted: dict[str, Any] = dict.fromkeys(("answer", "label", "index", "score", "milliseconds"))
            predicted["top"] = []
        else:
            predicted = self.prediction.as_dict(top_k)
        return {"model": self.model, "found": self.prediction is not None, **predicted}

    def text(self, top_k: int) -> str:
        """Return one human-readable line."""
        if self.prediction is None:
            return "no garment found"
        classes = ", ".join(f"{choice.label} {choice.score:.1%}" for choice in self.prediction.top(top_k))
        doubt = "" if self.prediction.known else f"{self.prediction.answer}; perhaps "
        return f"{doubt}{classes} ({self.prediction.milliseconds:.2f} ms)"


class StillClassifier:
    """Classifies still pictures; each model is loaded when a picture needs it.

    Attributes:
        model: the model for every picture; None takes ``edge`` for images of 28x28 and ``camera`` for photographs.
        named: returns a model by name or path; errors as :meth:`Classifier.load`.
    """

    def __init__(self, model: str | None, load: Callable[[str], Classifier]) -> None:
        self.model, self.named = model, cache(load)

    def answer(self, picture: np.ndarray) -> Answer:
        """Classify a picture, as :func:`edge_fmnist.vision.preprocess.preprocess` takes it.

        Raises:
            ImageError: a picture that cannot be used.
            EdgeFmnistError: a model that cannot be used, as :meth:`Classifier.load` and :meth:`Classifier.predict`.
        """
        from edge_fmnist.vision.preprocess import preprocess

        name = self.model or model_for(picture)
        garment = preprocess(picture)
        prediction = self.named(name).predict(garment.image) if garment.found else None
        return Answer(name, prediction, garment.confidence)


def model_for(picture: np.ndarray) -> str:
    """Return the name of the model for a picture where none is given."""
    from edge_fmnist.vision.preprocess import is_image

    return DEFAULT_MODEL if is_image(picture) else CAMERA_MODEL
