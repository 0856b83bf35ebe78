"""Simulate the rounding of single layers of a float model, to find the layers that cost accuracy.

A copy of the float model shares its weights and has a switch behind every layer that an operator of the file
implements. Switched on, it rounds the layer's output with the scale and zero point of the file, and the layer's
weights. This gives the cost of one layer alone, without the compensation by quantization-aware training elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_fmnist_export.report.analysis.activations import INT8_LIMIT
from edge_fmnist_export.training.batches import Subset, scaled
from edge_fmnist_export.training.feeding import outputs

BATCH = 250
LOW, HIGH = -128, 127


@dataclass(frozen=True)
class LayerRounding:
    """How the output of a Keras layer, by name, is rounded, and whether its weights have a scale per channel.

    ``per_channel`` is None without weights; ``limit`` is their largest step.
    """

    layer: str
    scale: float
    zero_point: int
    per_channel: bool | None
    limit: int = INT8_LIMIT


@dataclass(frozen=True)
class RoundingCost:
    """The effect of rounding.

    Attributes:
        top1: top-1 accuracy, 0 to 1.
        divergence: mean Kullback-Leibler divergence from the scores without rounding, in nats; more sensitive than
            changes of predictions.
        agreement: share of predictions that are the same as without rounding, 0 to 1.
    """

    top1: float
    divergence: float
    agreement: float


class RoundingSimulation:
    """A float model whose layers can be rounded one by one."""

    def __init__(self, model: Any, roundings: Sequence[LayerRounding], images: Subset) -> None:
        """Copy the model and predict the images without rounding.

        Args:
            model: a functional Keras 3 model that maps float32 (N, 28, 28, 1), 0 to 1, to logits. Its weights are
                changed while ``cost`` runs, and restored.
            roundings: how the layers are rounded.
            images: images to measure the cost on; not test images, since the cost may inform choices.
        """
        self._model, self._roundings = model, tuple(roundings)
        self._inputs, self._targets = scaled(images.images), images.targets.astype(np.int64)
        self._copy, self._switches = _switchable(model, self._roundings)
        self._reference = self._log_scores()
        self.float_cost: RoundingCost = self._cost(self._reference)

    def cost(self, layers: Sequence[str]) -> RoundingCost:
        """Return the effect of rounding these layers, with all others in float."""
        chosen = [rounding for rounding in self._roundings if rounding.layer in layers]
        kernels = [kernel for rounding in chosen if (kernel := _kernel(self._model, rounding)) is not None]
        before = [np.array(kernel.numpy()) for kernel, *_ in kernels]
        try:
            for rounding in chosen:
                self._switches[rounding.layer].assign(1.0)
            for (kernel, axes, limit), values in zip(kernels, before, strict=True):
                kernel.assign(rounded_weights(values, axes, limit))
            return self._cost(self._log_scores())
        finally:
            for rounding in chosen:
                self._switches[rounding.layer].assign(0.0)
            for (kernel, *_), values in zip(kernels, before, strict=True):
                kernel.assign(values)

    def _log_scores(self) -> np.ndarray:
        from scipy.special import log_softmax

        logits = outputs(self._copy, self._inputs, BATCH)
        return np.asarray(log_softmax(logits.astype(np.float64), axis=1))

    def _cost(self, log_scores: np.ndarray) -> RoundingCost:
        predicted = log_scores.argmax(axis=1)
        divergence = (np.exp(self._reference) * (self._reference - log_scores)).sum(axis=1)
        return RoundingCost(
            top1=float((predicted == self._targets).mean()),
            divergence=float(divergence.mean()),
            agreement=float((predicted == self._reference.argmax(axis=1)).mean()),
        )


def rounded_activations(values: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """Return float32 values of any shape, rounded and clipped to int8 with this scale and zero point."""
    steps = np.clip(np.round(values / np.float32(scale)) + zero_point, LOW, HIGH)
    result: np.ndarray = ((steps - zero_point) * np.float32(scale)).astype(np.float32)
    return result


def rounded_weights(kernel: np.ndarray, axes: tuple[int, ...], limit: int = INT8_LIMIT) -> np.ndarray:
    """Return weights of any shape, float32, rounded to at most ``limit`` steps; ``axes`` share a scale.

    With a scale per output channel, rounding is the same before and after folding of batch normalization, which scales
    each channel.
    """
    most = np.abs(kernel).max(axis=axes, keepdims=True)
    step = np.where(most > 0, most, 1) / np.float32(limit)
    result: np.ndarray = (np.round(kernel / step) * step).astype(np.float32)
    return result


def _switchable(model: Any, roundings: Sequence[LayerRounding]) -> tuple[Any, dict[str, Any]]:
    """Return a copy of a model with the same layers and rounding behind some of them, and the switches by layer."""
    import keras

    class Rounding(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self, rounding: LayerRounding) -> None:
            super().__init__(name=f"{rounding.layer}_rounded")
            self.rounding = rounding
            self.switch = self.add_weight(shape=(), initializer="zeros", trainable=False, name="switch")

        def call(self, values: Any) -> Any:
            scale, zero_point = self.rounding.scale, self.rounding.zero_point
            steps = keras.ops.clip(keras.ops.round(values / scale) + zero_point, LOW, HIGH)
            return keras.ops.where(self.switch > 0, (steps - zero_point) * scale, values)

    layers = {rounding.layer: Rounding(rounding) for rounding in roundings}

    def call(layer: Any, *arguments: Any, **settings: Any) -> Any:
        output = layer(*arguments, **settings)
        return layers[layer.name](output) if layer.name in layers else output

    copy = keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)
    return copy, {name: layer.switch for name, layer in layers.items()}


def _kernel(model: Any, rounding: LayerRounding) -> tuple[Any, tuple[int, ...], int] | None:
    """Return the weights behind a layer's output, the axes that share a scale, and the limit; None without weights."""
    if rounding.per_channel is None:
        return None
    layer: Any = model.get_layer(rounding.layer)
    # An operator includes the convolution before a normalization and an activation.
    while not hasattr(layer, "kernel"):
        (source,) = layer._inbound_nodes[0].input_tensors
        layer = source._keras_history.operation
    kernel = layer.kernel
    if not rounding.per_channel:
        return kernel, tuple(range(len(kernel.shape))), rounding.limit
    # A depthwise kernel has the shape (height, width, channels, multiplier).
    channels = 2 if type(layer).__name__ == "DepthwiseConv2D" else 1
    return kernel, tuple(range(len(kernel.shape) - channels)), rounding.limit
