"""Rounding to int8 and back, as a quantized file does."""

from __future__ import annotations

import numpy as np

# Weights are symmetric, so that -128 is never used (TensorFlow Lite's int8 specification).
WEIGHT_LIMIT = 127
LOW, HIGH = -128, 127


def rounded_activations(values: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """Return values rounded to the int8 steps of a tensor, and clipped to its range.

    Args:
        values: float32, of any shape.
        scale: the size of a step, above 0.
        zero_point: what stands for 0.
    """
    steps = np.clip(np.round(values / np.float32(scale)) + zero_point, LOW, HIGH)
    result: np.ndarray = ((steps - zero_point) * np.float32(scale)).astype(np.float32)
    return result


def rounded_weights(kernel: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Return weights rounded to symmetric int8 steps.

    One step for each output channel rounds a kernel as it would round the
    kernel with batch normalization folded in: folding scales each channel, and
    its step with it.

    Args:
        kernel: float32, of any shape.
        axes: those that share a step: all for one step in all, all but the channels' for one each.
    """
    most = np.abs(kernel).max(axis=axes, keepdims=True)
    step = np.where(most > 0, most, 1) / np.float32(WEIGHT_LIMIT)
    result: np.ndarray = (np.round(kernel / step) * step).astype(np.float32)
    return result
