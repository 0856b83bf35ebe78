"""Which layer of the float model an operator of its file stands for.

Names do not tell: conversion fuses layers, and each converter names the result
in its own way. What they put out for the same images does: the layer meant is
the one that an operator's output is nearest to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edge_fmnist_export.report.analysis.activations import Activation

# An operator whose output has less signal than this beside its nearest layer stands for none of them.
LEAST_SNR = 3.0
# An exact copy would have no noise at all.
MOST_SNR = 120.0


def signal_to_noise(reference: np.ndarray, values: np.ndarray) -> float:
    """Return the signal-to-noise ratio of values beside a reference, in dB.

    Ten times the decimal logarithm of the reference's power over that of the
    difference; at most 120, where there is no difference to speak of.

    Args:
        reference: float, of any shape.
        values: float, of the same shape.
    """
    signal = float(np.square(reference, dtype=np.float64).sum())
    noise = float(np.square(np.subtract(values, reference, dtype=np.float64)).sum())
    if signal <= 0:
        return 0.0 if noise > 0 else MOST_SNR
    return min(MOST_SNR, float(10 * np.log10(signal / noise)) if noise > 0 else MOST_SNR)


def match(activations: Sequence[Activation], layers: Mapping[str, np.ndarray]) -> list[tuple[str, float] | None]:
    """Return the layer that each operator stands for, and the signal-to-noise ratio beside it in dB.

    Args:
        activations: what the operators of the file put out.
        layers: what the layers of the float model put out for the same images, by name, in the order of the model.

    Returns:
        One for each operator; None where no layer comes near. Of layers with the same output, as before and after
        dropout, the first is meant.
    """
    return [_nearest(activation.values, layers) for activation in activations]


def _nearest(values: np.ndarray, layers: Mapping[str, np.ndarray]) -> tuple[str, float] | None:
    best: tuple[str, float] | None = None
    for name, reference in layers.items():
        if reference.size != values.size or len(reference) != len(values):
            continue
        ratio = signal_to_noise(reference.reshape(len(values), -1), values.reshape(len(values), -1))
        if ratio >= LEAST_SNR and (best is None or ratio > best[1]):
            best = name, ratio
    return best
