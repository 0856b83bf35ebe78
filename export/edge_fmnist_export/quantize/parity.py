"""Compare a model file with the float Keras model that it was converted from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_fmnist.data.dataset import Split
from edge_fmnist.model.classifier import Classifier


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


def compare(classifier: Classifier, logits: np.ndarray, split: Split, step: float | None) -> Parity:
    """Compare a model file with the float model's logits, float32 (N, classes), on the same split.

    ``step`` is the quantization step of the file's output, in logits; None for a float network.
    """
    values, _ = classifier.values(split.images)
    difference = np.abs(values - logits) / (step or 1.0)
    predicted, expected = values.argmax(axis=1), logits.argmax(axis=1)
    return Parity(
        top1=float((predicted == split.targets).mean()),
        float_top1=float((expected == split.targets).mean()),
        images=len(split),
        agreement=float((predicted == expected).mean()),
        step=step,
        largest=float(difference.max()),
        mean=float(difference.mean()),
    )
