"""The logits of a Keras model on many images."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_fmnist.tensors import mirror
from edge_fmnist_export import backend
from edge_fmnist_export.batches import scaled
from edge_fmnist_export.trainers import EVALUATION_BATCH


def logits_of(model: Any, images: np.ndarray, *, mirrored: bool, reduced: bool = False) -> np.ndarray:
    """Return a Keras model's logits.

    Args:
        model: maps float32 (N, 28, 28, 1), 0 to 1, to logits.
        images: uint8, shape (N, 28, 28).
        mirrored: whether to average over each image and its mirror image.
        reduced: take the quick way of the torch back end, fused and in bfloat16, which moves a logit by about a
            hundredth; for a Keras 3 model.

    Returns:
        float32, shape (N, classes).
    """
    run = _reduced if reduced and backend.keras_module().backend.backend() == "torch" else _exact
    views = [images, mirror(images)] if mirrored else [images]
    return np.asarray(np.mean([run(model, scaled(view)) for view in views], axis=0, dtype=np.float32))


def _exact(model: Any, inputs: np.ndarray) -> np.ndarray:
    return np.asarray(model.predict(inputs, batch_size=EVALUATION_BATCH, verbose=0))


def _reduced(model: Any, inputs: np.ndarray) -> np.ndarray:
    from edge_fmnist_export.torch_network import TorchNetwork
    from edge_fmnist_export.torch_trainer import torch_logits

    return torch_logits(TorchNetwork(model), inputs, model.weights[0].value.device, reduced=True)
