"""The logits of a Keras 3 model on many images, the quick way of the back end in use."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_fmnist_export import backend

BATCH = 500


def logits_of(model: Any, inputs: np.ndarray) -> np.ndarray:
    """Return a Keras 3 model's logits.

    On the torch back end the network runs fused and in bfloat16, which moves a logit by about a hundredth.

    Args:
        model: a Keras 3 model.
        inputs: float32, shape (N, 28, 28, 1), values 0 to 1.

    Returns:
        float32, shape (N, classes).
    """
    if backend.keras_module().backend.backend() == "torch":
        from edge_fmnist_export.torch_network import TorchNetwork
        from edge_fmnist_export.torch_trainer import torch_logits

        return torch_logits(TorchNetwork(model), inputs, model.weights[0].value.device, reduced=True)
    found: np.ndarray = model.predict(inputs, batch_size=BATCH, verbose=0)
    return found
