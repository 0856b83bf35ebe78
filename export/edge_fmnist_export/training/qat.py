"""Quantization-aware training with TFMOT: the only module that imports ``tf_keras``.

TFMOT does not accept Keras 3 (gh:tensorflow/model-optimization#1119), so the same builder builds the network again
with ``tf_keras``, and the float weights are copied.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from edge_fmnist.cli.signals import interrupted_later
from edge_fmnist_export import architectures
from edge_fmnist_export.architectures.registry import CLASSES
from edge_fmnist_export.training import backend
from edge_fmnist_export.training.batches import Subset
from edge_fmnist_export.training.weights import assign_variables

# TFMOT's activation ranges are moving averages with decay 0.999, which take thousands of steps to leave their initial
# values (gh:tensorflow/model-optimization#368). Ours are initialized with the ranges on this many images.
CALIBRATION_IMAGES = 2048
CALIBRATION_BATCH = 128
# Largest weight of a constant channel, to its bias: 2**31 steps of the bias at an input scale of 0.001 and 127 steps of
# the weight.
CONSTANT, SMALLEST_GAIN = 6e-5, 1e-12


class Modules(NamedTuple):
    """``tf_keras`` and TFMOT's quantization API."""

    keras: Any
    quantization: Any


def modules() -> Modules:
    """Import ``tf_keras`` and TFMOT.

    Raises:
        MissingExtraError: the extra ``[export]`` is not installed.
    """
    # TFMOT imports Keras as tf.keras; with this, TensorFlow returns tf_keras.
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    backend.quiet_tensorflow()
    purpose = "quantization-aware training"
    keras = backend.require("tf_keras", purpose)
    # Dropout then uses a random generator whose state can be saved.
    keras.backend.experimental.enable_tf_random_generator()
    optimization = backend.require("tensorflow_model_optimization", purpose)
    return Modules(keras, optimization.quantization.keras)


@interrupted_later()
def quantization_aware(
    architecture: str, weights: Sequence[np.ndarray], calibration: Subset, dropout: float = 1.0
) -> Any:
    """Return a quantization-aware model initialized with trained float weights; dropout rates are times ``dropout``.

    Raises:
        UsageError: unknown architecture.
        RunError: the weights do not fit it.
    """
    model = architectures.build(architecture, modules().keras, dropout, classes=calibration.classes)
    assign_variables(model.weights, weights, f"the float weights of {architecture}")
    quantized = modules().quantization.quantize_model(model)
    _calibrate(quantized, model, calibration)
    return quantized


@interrupted_later()
def restored(architecture: str, weights: Sequence[np.ndarray], classes: int = CLASSES) -> Any:
    """Return a quantization-aware model with all its trained weights, including the ranges.

    Raises:
        UsageError: unknown architecture.
        RunError: the weights do not fit it.
    """
    # Layer names go into the exported file, and Keras numbers them; start again, so that its bytes are the same.
    modules().keras.backend.clear_session()
    model = modules().quantization.quantize_model(architectures.build(architecture, modules().keras, classes=classes))
    assign_variables(model.weights, weights, f"the quantization-aware weights of {architecture}")
    _clear_constant_channels(model)
    return model


def _clear_constant_channels(model: Any) -> None:
    """Set kernels to 0 in channels that are constant but for rounding, with a range that their bias can be stored with.

    Weight decay shrinks the kernel of a channel without a gradient, and the scale of its weights with it. The bias, in
    steps of the scales of input and weights, then exceeds 32 bits.
    """
    for layer in model.layers:
        normalization = getattr(layer, "layer", layer)
        if type(normalization).__name__ != "BatchNormalization":
            continue
        weights = {
            variable.name.rpartition("/")[2]: variable for variable in layer.inbound_nodes[0].inbound_layers.weights
        }
        kernel = weights["kernel:0"]
        gain = normalization.gamma / np.sqrt(normalization.moving_variance + normalization.epsilon)
        bias = np.abs(normalization.beta - normalization.moving_mean * gain)
        gain = np.maximum(np.abs(gain), SMALLEST_GAIN)
        constant = np.abs(kernel).max(axis=(0, 1, 2)) * gain < CONSTANT * bias
        kernel.assign(np.where(constant, 0, kernel))
        for name, sign in (("kernel_min:0", -1), ("kernel_max:0", 1)):
            weights[name].assign(np.where(constant, sign * CONSTANT * bias / gain, weights[name]))


def random_states(model: Any) -> tuple[Any, ...]:
    """Return the states of the model's random layers (dropout), which are not part of its weights."""
    layers = [getattr(layer, "layer", layer) for layer in model.layers]
    generators = [getattr(layer, "_random_generator", None) for layer in layers]
    states = []
    for generator in generators:
        if generator is not None:
            generator._maybe_init()
            states.append(generator._generator.state)
    return tuple(states)


def _calibrate(quantized: Any, model: Any, calibration: Subset) -> None:
    """Set each activation range to the float model's minimum and maximum, averaged over batches."""
    ranges = _activation_ranges(model, calibration)
    for layer in quantized.layers:
        name = layer.name.removeprefix("quant_")
        if name.startswith("quantize_layer"):
            # The input: fixed at 0..1, so that quantization keeps every pixel value.
            low, high = np.float32(0), np.float32(1)
        elif name in ranges:
            low, high = ranges[name]
        else:
            continue
        for variable in layer.weights:
            kind = variable.name.rpartition("/")[2]
            # Keras numbers the layers of a process: quantize_layer_1_min.
            if not kind.startswith(("output_", "post_activation_", "quantize_layer_")):
                continue
            if kind.endswith("_min:0"):
                variable.assign(min(low, np.float32(0)))
            elif kind.endswith("_max:0"):
                variable.assign(max(high, np.float32(1e-3)))


def _activation_ranges(model: Any, calibration: Subset) -> dict[str, tuple[np.float32, np.float32]]:
    layers = [layer for layer in model.layers if type(layer).__name__ != "InputLayer"]
    probe = modules().keras.Model(model.inputs, [layer.output for layer in layers])
    # At random, since a data set may be sorted by class.
    order = np.random.default_rng(0).permutation(len(calibration.images))
    images = calibration.chosen(order[:CALIBRATION_IMAGES]).inputs()
    lows, highs = [], []
    for start in range(0, len(images), CALIBRATION_BATCH):
        outputs = probe(images[start : start + CALIBRATION_BATCH], training=False)
        lows.append([output.numpy().min() for output in outputs])
        highs.append([output.numpy().max() for output in outputs])
    means = zip(np.mean(lows, axis=0), np.mean(highs, axis=0), strict=True)
    return {layer.name: (low, high) for layer, (low, high) in zip(layers, means, strict=True)}
