"""Grad-CAM: which places of the last feature map speak for a class (Selvaraju et al. 2017, arXiv:1610.02391).

Needs gradients, and so the float Keras model.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from edge_fmnist.errors import UsageError
from edge_fmnist.model.quantization import mirror
from edge_fmnist.vision.preprocess import SIZE
from edge_fmnist_export.report.explain.base import Explanation, Question
from edge_fmnist_export.training import backend
from edge_fmnist_export.training.batches import scaled


def explain(question: Question) -> Explanation:
    """Explain a class by the gradients at the last feature map.

    Args:
        question: what is asked, of a float model; there is no chance in the answer.

    Returns:
        The class activation map, enlarged to the image: 0 to 1, the strongest place 1; all 0 where no place
        speaks for the class. Of a model that averages over the mirror image, the mean of both maps.

    Raises:
        MissingExtraError: the extra ``[export]`` is not installed.
        UsageError: a model file, which has no gradients, or a network without a feature map.
    """
    network = question.scorer.network
    if network is None:
        raise UsageError(
            f"{question.scorer.name}: Grad-CAM needs gradients, which a model file has not; use its float model "
            "(--float, or the run folder in place of the file) or another method"
        )
    probe, layer = _probe(network.model, question.scorer.name)
    values = _map(probe, question.image, question.target)
    if network.mirrored:
        values = (values + _map(probe, mirror(question.image[None])[0], question.target)[:, ::-1]) / 2
    return Explanation(
        method="gradcam",
        values=values / values.max() if values.max() > 0 else values,
        unit="share of the strongest place",
        signed=False,
        details={"layer": layer.name, "feature_map": list(layer.output.shape[1:])},
    )


def _probe(model: Any, name: str) -> tuple[Any, Any]:
    """Return a model that gives the last feature map and the logits, and the layer the map comes from."""
    keras = backend.keras_on_tensorflow("Grad-CAM")
    for layer in reversed(model.layers):
        shape = layer.output.shape
        if not isinstance(layer, keras.layers.InputLayer) and len(shape) == 4 and shape[1] > 1:
            return keras.Model(model.inputs, [layer.output, model.output]), layer
    raise UsageError(f"{name}: Grad-CAM needs a network with a feature map, and this one has none; use another method")


def _map(probe: Any, image: np.ndarray, target: int) -> np.ndarray:
    """Return the class activation map of one image, enlarged: float64, shape (28, 28), 0 or more."""
    tensorflow = backend.tensorflow_module("Grad-CAM")
    with tensorflow.GradientTape() as tape:
        features, logits = probe(tensorflow.constant(scaled(image[None])), training=False)
        logit = logits[0, target]
    gradients = tape.gradient(logit, features)
    weights = gradients.numpy().mean(axis=(1, 2), keepdims=True)
    small = np.maximum((features.numpy() * weights).sum(axis=-1)[0], 0).astype(np.float64)
    enlarged: np.ndarray = np.maximum(cv2.resize(small, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC), 0)
    return enlarged
