"""The logits of a Keras model on many images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from edge_fmnist.model.quantization import mirror
from edge_fmnist_export.training import backend
from edge_fmnist_export.training.batches import scaled
from edge_fmnist_export.training.feeding import outputs
from edge_fmnist_export.training.memory import keep_freed_memory

# From scaled images, float32 (N, 28, 28, 1), to logits, float32 (N, classes).
Forward = Callable[[np.ndarray], np.ndarray]


def logits_of(model: Any, images: np.ndarray, *, mirrored: bool) -> np.ndarray:
    """Return a Keras model's logits.

    Args:
        model: maps float32 (N, 28, 28, 1), 0 to 1, to logits.
        images: uint8, shape (N, 28, 28).
        mirrored: whether to average over each image and its mirror image.

    Returns:
        float32, shape (N, classes).
    """
    return _averaged(partial(outputs, model), images, mirrored=mirrored)


def quick_logits(model: Any, *, mirrored: bool) -> Forward:
    """Return what gives a Keras 3 model's logits quickly, call for call.

    On the torch back end its layers are fused and compiled, and compute in bfloat16 where there is hardware for it,
    which moves a logit by about a hundredth. The compilation takes seconds, so it pays for tens of thousands of images.

    Args:
        model: maps float32 (N, 28, 28, 1), 0 to 1, to logits.
        mirrored: whether to average over each image and its mirror image.

    Returns:
        A function of images, uint8 (N, 28, 28), that returns logits, float32 (N, classes).
    """
    keras = backend.keras_module()
    forward = _fused(model, keras) if keras.backend.backend() == "torch" else partial(outputs, model)
    return lambda images: _averaged(forward, images, mirrored=mirrored)


def _averaged(forward: Forward, images: np.ndarray, *, mirrored: bool) -> np.ndarray:
    views = [images, mirror(images)] if mirrored else [images]
    return np.asarray(np.mean([forward(scaled(view)) for view in views], axis=0, dtype=np.float32))


def _fused(model: Any, keras: Any) -> Forward:
    from edge_fmnist_export.training.torch_network import TorchNetwork
    from edge_fmnist_export.training.torch_trainer import compiled, torch_logits

    keep_freed_memory()
    network, reduced = compiled(TorchNetwork(model)), backend.has_bfloat16(keras)
    device = model.weights[0].value.device
    return lambda inputs: torch_logits(network, inputs, device, reduced=reduced)
