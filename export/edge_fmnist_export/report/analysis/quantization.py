"""Quantization, layer by layer: ranges, steps, noise, and what each layer costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from edge_fmnist_export.report.analysis.activations import Activation, file_activations, layer_activations
from edge_fmnist_export.report.analysis.matching import match, signal_to_noise
from edge_fmnist_export.report.analysis.rounding import rounded_activations
from edge_fmnist_export.report.analysis.simulation import Cost, Simulation, Step
from edge_fmnist_export.training.batches import Subset

# As many as hold all activations of both models in about 200 MB; each gives thousands of values.
NOISE_IMAGES = 128
# Enough to tell layers apart by how far they move the scores; a fifth of a point of top-1 is one image.
COST_IMAGES = 500
# What is being done, and the share of it that is done, 0 to 1.
Advance = Callable[[str, float], None]


@dataclass(frozen=True)
class LayerQuantization:
    """One operator of a quantized file beside its layer of the float model.

    Attributes:
        index: the operator's place in the graph, from 0.
        operator: ``CONV_2D`` …
        layer: the last of the float layers that it stands for; None where no layer comes near.
        shape: of what it puts out, for one image.
        weight_low: the smallest weight, as a real number; None without weights.
        weight_high: the largest.
        weight_step_low: the smallest step of its weights; None without weights.
        weight_step_high: the largest; the same where there is one step for all.
        scale: the size of a step of what it puts out; 0 where that is float.
        zero_point: what stands for 0.
        snr: signal-to-noise ratio of what the file puts out beside the float model, in dB: all the noise up to
            here, and what quantization-aware training changed; None without a layer.
        own_snr: the same of the float model's own output, rounded with this scale: the noise this step alone adds.
        divergence: how far rounding this layer alone moves the scores (Kullback-Leibler), in nats; None where it was
            not measured.
        points_lost: percentage points of top-1 that it costs; below 0 where it gains.
        agreement: share of images with the same answer as in float, 0 to 1.
    """

    index: int
    operator: str
    layer: str | None
    shape: tuple[int, ...]
    weight_low: float | None
    weight_high: float | None
    weight_step_low: float | None
    weight_step_high: float | None
    scale: float
    zero_point: int
    snr: float | None
    own_snr: float | None
    divergence: float | None = None
    points_lost: float | None = None
    agreement: float | None = None

    @property
    def name(self) -> str:
        """What to call it: its place, and its layer or else its operator."""
        return f"{self.index} {self.layer or self.operator}"


@dataclass(frozen=True)
class Quantization:
    """A quantized file, layer by layer.

    Attributes:
        layers: in the order of the graph.
        float_cost: the float model on the validation images.
        all_cost: the same with every layer rounded at once; None where none could be.
        noise_images: how many images the noise was measured on.
        cost_images: how many validation images the cost was.
    """

    layers: tuple[LayerQuantization, ...]
    float_cost: Cost
    all_cost: Cost | None
    noise_images: int
    cost_images: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @property
    def costliest(self) -> LayerQuantization | None:
        """The layer whose rounding moves the scores most; None where none was measured."""
        measured = [layer for layer in self.layers if layer.divergence is not None]
        return max(measured, key=lambda layer: layer.divergence or 0.0) if measured else None


def analyse(
    content: bytes,
    source: str,
    model: Any,
    train: Subset,
    validation: Subset,
    advance: Advance,
) -> Quantization:
    """Compare a quantized file with its float model, layer by layer.

    Args:
        content: the bytes of the file.
        source: what messages call it.
        model: the float model: a functional Keras 3 model that maps float32 (N, 28, 28, 1), 0 to 1, to logits.
        train: images that the noise is measured on: the first ``NOISE_IMAGES``.
        validation: images that the cost is measured on: the first ``COST_IMAGES``.
        advance: told how far it is.

    Raises:
        ModelError: not a model, or a damaged one.
        InterpreterError: no interpreter can be used, or none that keeps intermediate tensors.
    """
    advance("activations", 0.0)
    images = train.images[:NOISE_IMAGES]
    activations = file_activations(content, images, source)
    references = layer_activations(model, images)
    matches = match(activations, references)
    layers = [_layer(activation, found, references) for activation, found in zip(activations, matches, strict=True)]
    chosen = validation.chosen(np.arange(min(COST_IMAGES, len(validation))))
    steps = {index: step for index, layer in enumerate(layers) if (step := _step(layer)) is not None}
    simulation = Simulation(model, list(steps.values()), chosen)
    for done, (index, step) in enumerate(steps.items(), start=1):
        layers[index] = _with_cost(layers[index], simulation.cost([step.layer]), simulation.float_cost)
        advance(f"rounding {step.layer}", done / (len(steps) + 1))
    everything = simulation.cost([step.layer for step in steps.values()]) if steps else None
    return Quantization(tuple(layers), simulation.float_cost, everything, len(images), len(chosen))


def _layer(
    activation: Activation, found: tuple[str, float] | None, references: dict[str, np.ndarray]
) -> LayerQuantization:
    weights, own = activation.weights, None
    if found is not None and activation.scale:
        reference = references[found[0]]
        own = signal_to_noise(reference, rounded_activations(reference, activation.scale, activation.zero_point))
    return LayerQuantization(
        index=activation.index,
        operator=activation.operator,
        layer=None if found is None else found[0],
        shape=activation.values.shape[1:],
        weight_low=None if weights is None else weights.low,
        weight_high=None if weights is None else weights.high,
        weight_step_low=min(weights.scales) if weights and weights.scales else None,
        weight_step_high=max(weights.scales) if weights and weights.scales else None,
        scale=activation.scale,
        zero_point=activation.zero_point,
        snr=None if found is None else found[1],
        own_snr=own,
    )


def _step(layer: LayerQuantization) -> Step | None:
    """Return how a layer is rounded; None where it is float, or not known."""
    if layer.layer is None or not layer.scale:
        return None
    per_channel = None if layer.weight_step_low is None else layer.operator != "FULLY_CONNECTED"
    return Step(layer.layer, layer.scale, layer.zero_point, per_channel)


def _with_cost(layer: LayerQuantization, cost: Cost, reference: Cost) -> LayerQuantization:
    return replace(
        layer,
        divergence=cost.divergence,
        points_lost=(reference.top1 - cost.top1) * 100,
        agreement=cost.agreement,
    )
