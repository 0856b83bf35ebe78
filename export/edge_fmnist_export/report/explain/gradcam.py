"""Grad-CAM: the regions of the last feature map that support a class (Selvaraju et al. 2017, arXiv:1610.02391).

Needs gradients, and therefore the float Keras model.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from edge_fmnist.cli.signals import interrupted_later
from edge_fmnist.errors import UsageError
from edge_fmnist.model.quantization import mirror
from edge_fmnist.vision.preprocess import SIZE
from edge_fmnist_export.report.explain.base import ExplainRequest, Explanation
from edge_fmnist_export.training import backend
from edge_fmnist_export.training.batches import scaled


def explain(request: ExplainRequest) -> Explanation:
    """Explain a class by the gradients at the last feature map of a float model.

    Returns:
        The class activation map, resized to the image, 0 to 1, the maximum 1; all 0 if no region supports the class.
        For a model with flip test-time augmentation, the mean of both maps.

    Raises:
        MissingExtraError: the extra ``[export]`` is not installed.
        UsageError: a model file, which has no gradients, or a network without a feature map.
    """
    scorer = request.scorer
    if scorer.network is None:
        raise UsageError(
            f"{scorer.name}: Grad-CAM needs gradients, which a model file does not have; use its float model "
            "(--float, or the run folder instead of the file) or another method"
        )
    probe, layer = _probe(scorer.network, scorer.name)
    values = _activation_map(probe, request.image, request.target)
    if scorer.flip_tta:
        flipped = _activation_map(probe, mirror(request.image[None])[0], request.target)
        values = (values + flipped[:, ::-1]) / 2
    return Explanation(
        method="gradcam",
        values=values / values.max() if values.max() > 0 else values,
        unit="share of the maximum",
        signed=False,
        details={"layer": layer.name, "feature_map": list(layer.output.shape[1:])},
    )


def _probe(model: Any, name: str) -> tuple[Any, Any]:
    """Return a model that outputs the last feature map and the logits, and the layer of the feature map."""
    keras = backend.keras_on_tensorflow("Grad-CAM")
    for layer in reversed(model.layers):
        shape = layer.output.shape
        if not isinstance(layer, keras.layers.InputLayer) and len(shape) == 4 and shape[1] > 1:
            return keras.Model(model.inputs, [layer.output, model.output]), layer
    raise UsageError(f"{name}: Grad-CAM needs a network with a feature map; use another method")


@interrupted_later()
def _activation_map(probe: Any, image: np.ndarray, target: int) -> np.ndarray:
    """Return the class activation map of one image, resized: float64, shape (28, 28), 0 or more."""
    tensorflow = backend.tensorflow_module("Grad-CAM")
    with tensorflow.GradientTape() as tape:
        features, logits = probe(tensorflow.constant(scaled(image[None])), training=False)
        logit = logits[0, target]
    weights = tape.gradient(logit, features).numpy().mean(axis=(1, 2), keepdims=True)
    small = np.maximum((features.numpy() * weights).sum(axis=-1)[0], 0).astype(np.float64)
    resized: np.ndarray = np.maximum(cv2.resize(small, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC), 0)
    return resized
