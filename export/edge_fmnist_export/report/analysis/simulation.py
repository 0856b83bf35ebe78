"""The float model with one layer rounded to int8 at a time: which layer costs accuracy.

A copy of the float model shares its weights and has a switch behind every
layer that a file's operator stands for. Switched on, it rounds what the layer
puts out with the scale and zero point of that very file; the layer's weights
are rounded with it. So the cost of one layer stands alone, without what
quantization-aware training made up for elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_fmnist_export.report.analysis.rounding import HIGH, LOW, rounded_weights
from edge_fmnist_export.training.batches import Subset, scaled
from edge_fmnist_export.training.feeding import outputs

BATCH = 250


@dataclass(frozen=True)
class Step:
    """How a layer is rounded.

    Attributes:
        layer: its name in the Keras model.
        scale: the size of a step of what it puts out, above 0.
        zero_point: what stands for 0.
        per_channel: whether its weights have a step for each channel; None where it has no weights.
    """

    layer: str
    scale: float
    zero_point: int
    per_channel: bool | None


@dataclass(frozen=True)
class Cost:
    """What rounding costs.

    Attributes:
        top1: accuracy, 0 to 1.
        divergence: mean Kullback-Leibler divergence of the scores from those without rounding, in nats; tells layers
            apart long before an answer changes.
        agreement: share of images with the same answer as without rounding, 0 to 1.
    """

    top1: float
    divergence: float
    agreement: float


class Simulation:
    """A float model whose layers can be rounded one by one."""

    def __init__(self, model: Any, steps: Sequence[Step], images: Subset) -> None:
        """Make the copy and answer the images without rounding.

        Args:
            model: a functional Keras 3 model that maps float32 (N, 28, 28, 1), 0 to 1, to logits; its weights are
                shared, changed while a method runs, and restored.
            steps: how the layers are rounded.
            images: what the cost is measured on: no test images, since what is learnt here may choose something.
        """
        self._model, self._steps = model, tuple(steps)
        self._inputs, self._targets = scaled(images.images), images.targets.astype(np.int64)
        self._copy, self._switches = _switchable(model, self._steps)
        self._reference = self._log_scores()
        self.float_cost: Cost = self._cost(self._reference)

    def cost(self, layers: Sequence[str]) -> Cost:
        """Return what rounding these layers costs, all others in float."""
        chosen = [step for step in self._steps if step.layer in layers]
        kernels = [kernel for step in chosen for kernel in [_kernel(self._model, step)] if kernel is not None]
        before = [np.array(kernel.numpy()) for kernel, _ in kernels]
        try:
            for step in chosen:
                self._switches[step.layer].assign(1.0)
            for (kernel, axes), values in zip(kernels, before, strict=True):
                kernel.assign(rounded_weights(values, axes))
            return self._cost(self._log_scores())
        finally:
            for step in chosen:
                self._switches[step.layer].assign(0.0)
            for (kernel, _), values in zip(kernels, before, strict=True):
                kernel.assign(values)

    def _log_scores(self) -> np.ndarray:
        from scipy.special import log_softmax

        logits = outputs(self._copy, self._inputs, BATCH)
        return np.asarray(log_softmax(logits.astype(np.float64), axis=1))

    def _cost(self, log_scores: np.ndarray) -> Cost:
        answers = log_scores.argmax(axis=1)
        divergence = (np.exp(self._reference) * (self._reference - log_scores)).sum(axis=1)
        return Cost(
            top1=float((answers == self._targets).mean()),
            divergence=float(divergence.mean()),
            agreement=float((answers == self._reference.argmax(axis=1)).mean()),
        )


def _switchable(model: Any, steps: Sequence[Step]) -> tuple[Any, dict[str, Any]]:
    """Return a copy of a model, on the same layers, with a switch behind some, and the switches by layer."""
    import keras

    rounding = _rounding_layer()
    by_name = {step.layer: step for step in steps}
    switches: dict[str, Any] = {}

    def call(layer: Any, *arguments: Any, **settings: Any) -> Any:
        output = layer(*arguments, **settings)
        step = by_name.get(layer.name)
        if step is None:
            return output
        rounded = rounding(step.scale, step.zero_point, name=f"{layer.name}_rounded")
        result = rounded(output)
        switches[layer.name] = rounded.switch
        return result

    copy = keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)
    return copy, switches


def _rounding_layer() -> Any:
    """Return the class of the layer that rounds when it is switched on; Keras is imported on first use."""
    import keras

    class Rounding(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self, scale: float, zero_point: int, **settings: Any) -> None:
            super().__init__(**settings)
            self.scale, self.zero_point = scale, zero_point
            self.switch = self.add_weight(shape=(), initializer="zeros", trainable=False, name="switch")

        def call(self, values: Any) -> Any:
            steps = keras.ops.clip(keras.ops.round(values / self.scale) + self.zero_point, LOW, HIGH)
            return keras.ops.where(self.switch > 0, (steps - self.zero_point) * self.scale, values)

    return Rounding


def _kernel(model: Any, step: Step) -> tuple[Any, tuple[int, ...]] | None:
    """Return the weights that a layer's output rests on, and the axes that share a step; None without weights."""
    if step.per_channel is None:
        return None
    layer: Any = model.get_layer(step.layer)
    # An operator holds a convolution with the normalization and the activation behind it.
    while not hasattr(layer, "kernel"):
        (source,) = layer._inbound_nodes[0].input_tensors
        layer = source._keras_history.operation
    kernel = layer.kernel
    if not step.per_channel:
        return kernel, tuple(range(len(kernel.shape)))
    # A depthwise kernel is of shape (height, width, channels, multiplier).
    channels = 2 if type(layer).__name__ == "DepthwiseConv2D" else 1
    return kernel, tuple(range(len(kernel.shape) - channels))
