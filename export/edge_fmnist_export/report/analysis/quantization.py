"""Quantization layer by layer: ranges, scales, noise, and the accuracy that each layer costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edge_fmnist_export.report.analysis.activations import (
    INT8_LIMIT,
    Activation,
    OperatorWeights,
    file_activations,
    layer_activations,
)
from edge_fmnist_export.report.analysis.simulation import (
    LayerRounding,
    RoundingCost,
    RoundingSimulation,
    rounded_activations,
)
from edge_fmnist_export.training.batches import Subset

# All activations of both models for these images take about 200 MB.
NOISE_IMAGES = 128
# Enough to compare layers by their effect on the scores; one image is a fifth of a point of top-1.
COST_IMAGES = 500
# Minimum signal-to-noise ratio, in dB, for an operator to match a layer.
LEAST_SNR = 3.0
# Value for identical outputs, which have no noise.
MOST_SNR = 120.0


@dataclass(frozen=True)
class LayerQuantization:
    """An operator of a quantized file, compared with its layer of the float model.

    Attributes:
        index: index of the operator in the graph, from 0.
        operator: name of the operator, such as ``CONV_2D``.
        layer: the last float layer that it implements; None without a match.
        shape: output shape for one image.
        scale: scale of the output; 0 for a float output.
        zero_point: zero point of the output.
        snr: signal-to-noise ratio of the output against the float model, in dB: includes the noise of all layers
            before, and weight changes by quantization-aware training. None without a match.
        own_snr: signal-to-noise ratio of the float output, rounded as in the file, in dB: noise of this layer alone.
        divergence: Kullback-Leibler divergence of the scores when only this layer is rounded, in nats; None if not
            measured.
        points_lost: top-1 accuracy lost when only this layer is rounded, in percentage points; negative for a gain.
        agreement: share of unchanged predictions when only this layer is rounded, 0 to 1.
    """

    index: int
    operator: str
    layer: str | None
    shape: tuple[int, ...]
    weights: OperatorWeights | None
    scale: float
    zero_point: int
    snr: float | None
    own_snr: float | None
    divergence: float | None = None
    points_lost: float | None = None
    agreement: float | None = None

    @property
    def name(self) -> str:
        """Its index, and its layer or else its operator."""
        return f"{self.index} {self.layer or self.operator}"


@dataclass(frozen=True)
class QuantizationAnalysis:
    """A quantized file, layer by layer.

    Attributes:
        layers: in the order of the graph.
        float_cost: the float model on the validation images.
        all_cost: the float model with all layers rounded; None if none can be rounded.
        noise_images: number of images for the noise.
        cost_images: number of validation images for the cost.
    """

    layers: tuple[LayerQuantization, ...]
    float_cost: RoundingCost
    all_cost: RoundingCost | None
    noise_images: int
    cost_images: int

    @property
    def costliest(self) -> LayerQuantization | None:
        """The layer with the largest effect on the scores; None if none was measured."""
        measured = [layer for layer in self.layers if layer.divergence is not None]
        return max(measured, key=lambda layer: layer.divergence or 0.0) if measured else None


def analyse(
    content: bytes, source: str, model: Any, train: Subset, validation: Subset, progress: Callable[[str, float], None]
) -> QuantizationAnalysis:
    """Compare a quantized file with its float model, layer by layer.

    Args:
        content: bytes of the model file.
        source: name of the model in messages.
        model: a functional Keras 3 model that maps float32 (N, 28, 28, 1), 0 to 1, to logits.
        train: images for the noise: the first ``NOISE_IMAGES``.
        validation: images for the cost: the first ``COST_IMAGES``.
        progress: called with the current step and the share that is done, 0 to 1.

    Raises:
        ModelError: not a model, or damaged.
        InterpreterError: no interpreter that keeps intermediate tensors.
    """
    progress("activations", 0.0)
    images = train.images[:NOISE_IMAGES]
    references = layer_activations(model, images)
    layers = [_layer(activation, references) for activation in file_activations(content, images, source)]
    chosen = validation.chosen(np.arange(min(COST_IMAGES, len(validation))))
    roundings = {
        index: LayerRounding(
            layer.layer,
            layer.scale,
            layer.zero_point,
            layer.operator != "FULLY_CONNECTED" if layer.weights and layer.weights.scales else None,
            layer.weights.limit if layer.weights else INT8_LIMIT,
        )
        for index, layer in enumerate(layers)
        if layer.layer is not None and layer.scale
    }
    simulation = RoundingSimulation(model, list(roundings.values()), chosen)
    for done, (index, rounding) in enumerate(roundings.items(), start=1):
        cost = simulation.cost([rounding.layer])
        layers[index] = replace(
            layers[index],
            divergence=cost.divergence,
            points_lost=(simulation.float_cost.top1 - cost.top1) * 100,
            agreement=cost.agreement,
        )
        progress(f"rounding {rounding.layer}", done / (len(roundings) + 1))
    everything = simulation.cost([rounding.layer for rounding in roundings.values()]) if roundings else None
    return QuantizationAnalysis(tuple(layers), simulation.float_cost, everything, len(images), len(chosen))


def _layer(activation: Activation, references: Mapping[str, np.ndarray]) -> LayerQuantization:
    layer, snr, own = nearest_layer(activation.values, references), None, None
    if layer is not None:
        reference = references[layer]
        snr = signal_to_noise(reference, activation.values.reshape(reference.shape))
        if activation.scale:
            own = signal_to_noise(reference, rounded_activations(reference, activation.scale, activation.zero_point))
    return LayerQuantization(
        index=activation.index,
        operator=activation.operator,
        layer=layer,
        shape=activation.values.shape[1:],
        weights=activation.weights,
        scale=activation.scale,
        zero_point=activation.zero_point,
        snr=snr,
        own_snr=own,
    )


def nearest_layer(values: np.ndarray, layers: Mapping[str, np.ndarray]) -> str | None:
    """Return the float layer that an operator implements, the one with the most similar output; None without one.

    Names do not identify it, since conversion fuses layers and renames the result. If layers have equal outputs, for
    example before and after dropout, the first is returned.
    """
    best, best_ratio = None, LEAST_SNR
    for name, reference in layers.items():
        if reference.size == values.size and len(reference) == len(values):
            ratio = signal_to_noise(reference, values.reshape(reference.shape))
            if ratio > best_ratio:
                best, best_ratio = name, ratio
    return best


def signal_to_noise(reference: np.ndarray, values: np.ndarray) -> float:
    """Return the signal-to-noise ratio of values against a reference of the same shape, in dB, at most 120."""
    signal = float(np.square(reference, dtype=np.float64).sum())
    noise = float(np.square(np.subtract(values, reference, dtype=np.float64)).sum())
    if noise == 0:
        return MOST_SNR
    return min(MOST_SNR, float(10 * np.log10(signal / noise))) if signal > 0 else 0.0
