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

# From images to logits, float32 (N, classes).
Forward = Callable[[np.ndarray], np.ndarray]


def logits_of(model: Any, images: np.ndarray, *, flip_tta: bool) -> np.ndarray:
    """Return a Keras model's logits for images, uint8 (N, 28, 28): float32, shape (N, classes).

    With ``flip_tta``, they are averaged over each image and its mirror image.
    """
    return _averaged(partial(outputs, model), images, flip_tta)


def quick_logits(model: Any, *, flip_tta: bool) -> Forward:
    """Return a fast function that gives the same as :func:`logits_of` for a Keras 3 model.

    On the torch back end, the layers are fused and compiled, and compute in bfloat16 with hardware support, which
    changes a logit by about a hundredth. Compiling takes seconds, so it pays off for tens of thousands of images.
    """
    keras = backend.keras_module()
    forward = _fused(model, keras) if keras.backend.backend() == "torch" else partial(outputs, model)
    return lambda images: _averaged(forward, images, flip_tta)


def _averaged(forward: Forward, images: np.ndarray, flip_tta: bool) -> np.ndarray:
    views = [images, mirror(images)] if flip_tta else [images]
    return np.asarray(np.mean([forward(scaled(view)) for view in views], axis=0, dtype=np.float32))


def _fused(model: Any, keras: Any) -> Forward:
    from edge_fmnist_export.training.torch_network import TorchNetwork
    from edge_fmnist_export.training.torch_trainer import compiled, torch_logits

    keep_freed_memory()
    device = model.weights[0].value.device
    network = compiled(TorchNetwork(model, channels_last=device.type != "cpu"))
    reduced = backend.has_bfloat16(keras)
    return lambda inputs: torch_logits(network, inputs, device, reduced=reduced)
