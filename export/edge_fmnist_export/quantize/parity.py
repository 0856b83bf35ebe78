"""Compare a model file with the float Keras model that it was converted from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_fmnist.data.dataset import Split
from edge_fmnist.model.classifier import Classifier
from edge_fmnist_export.training.inference import logits_of


@dataclass(frozen=True)
class FloatReference:
    """The float Keras model's logits, float32 (N, classes), and accuracy on a split."""

    logits: np.ndarray
    top1: float


@dataclass(frozen=True)
class Parity:
    """A model file and its float model on the same images.

    Attributes:
        top1: accuracy of the file, 0 to 1.
        float_top1: accuracy of the float Keras model, 0 to 1.
        images: number of images.
        agreement: share of images with the same prediction, 0 to 1.
        step: quantization step of the output, in logits; None for a float network.
        largest: largest difference of the outputs, in steps (in logits for a float network).
        mean: mean difference of the outputs, in the same unit.
    """

    top1: float
    float_top1: float
    images: int
    agreement: float
    step: float | None
    largest: float
    mean: float

    @property
    def drop_points(self) -> float:
        """Drop of accuracy in percentage points; negative for a gain."""
        return (self.float_top1 - self.top1) * 100


def float_reference(model: Any, split: Split, *, flip_tta: bool = False) -> FloatReference:
    """Run a float Keras model, from float32 (N, 28, 28, 1), 0 to 1, to logits, on a split."""
    logits = logits_of(model, split.images, flip_tta=flip_tta)
    return FloatReference(logits, float((logits.argmax(axis=1) == split.targets).mean()))


def compare(classifier: Classifier, reference: FloatReference, split: Split, step: float | None) -> Parity:
    """Compare a model file with the float model's results on the same split.

    ``step`` is the quantization step of the file's output, in logits; None for a float network.
    """
    values, _ = classifier.values(split.images)
    difference = np.abs(values - reference.logits) / (step or 1.0)
    predicted = values.argmax(axis=1)
    return Parity(
        top1=float((predicted == split.targets).mean()),
        float_top1=reference.top1,
        images=len(split),
        agreement=float((predicted == reference.logits.argmax(axis=1)).mean()),
        step=step,
        largest=float(difference.max()),
        mean=float(difference.mean()),
    )
