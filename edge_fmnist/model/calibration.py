"""Calibration of scores: the temperature of the softmax, and the threshold below which the answer is "unknown"."""

from __future__ import annotations

import math

import numpy as np

from edge_fmnist.model.quantization import softmax

# Bounds of the logarithm of the temperature, and the width to which they are narrowed.
LOG_TEMPERATURE, PRECISION = (-2.0, 2.0), 1e-6
# Digits of temperature and threshold; they are rounded before they are evaluated.
DIGITS = 4
# Lower bound of probabilities before the logarithm.
TINY = 1e-12
GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


def negative_log_likelihood(logits: np.ndarray, rows: np.ndarray, temperature: float) -> float:
    """Return the mean negative log-likelihood in nats.

    Args:
        logits: float32, shape (N, classes).
        rows: float32, shape (N, classes), 1 for each correct class.
        temperature: divides the logits.
    """
    # In 64 bits: the search for its minimum compares values that are nearly equal.
    right = (softmax(logits / np.float64(temperature), float) * rows).sum(axis=1)
    return float(-np.log(np.maximum(right, TINY)).mean())


def fit_temperature(logits: np.ndarray, rows: np.ndarray) -> float:
    """Return the temperature that minimizes the negative log-likelihood (Guo et al. 2017, arXiv:1706.04599).

    Args:
        logits: float32, shape (N, classes).
        rows: float32, shape (N, classes), 1 for each correct class.
    """
    low, high = LOG_TEMPERATURE
    # Golden-section search; in its logarithm, the loss has one minimum in practice.
    while high - low > PRECISION:
        left, right = high - GOLDEN_RATIO * (high - low), low + GOLDEN_RATIO * (high - low)
        losses = [negative_log_likelihood(logits, rows, math.exp(logarithm)) for logarithm in (left, right)]
        low, high = (low, right) if losses[0] <= losses[1] else (left, high)
    return round(math.exp((low + high) / 2), DIGITS)


def correct_scores(scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the scores of the correct predictions, float32, shape (correct predictions,).

    Args:
        scores: probabilities, float32, shape (N, classes).
        rows: float32, shape (N, classes), 1 for each correct class; no prediction is correct for a row of zeros.
    """
    correct = rows[np.arange(len(rows)), scores.argmax(axis=1)] > 0
    chosen: np.ndarray = scores.max(axis=1)[correct]
    return chosen


def choose_threshold(scores: np.ndarray, false_reject_rate: float) -> float:
    """Return the highest threshold, with DIGITS digits, that rejects at most this share of the correct predictions.

    Args:
        scores: of correct predictions, 0 to 1; without any, the threshold is 0.
        false_reject_rate: 0 to 1.
    """
    if not len(scores):
        return 0.0
    # Rounded down: rounded up, it could exceed the very scores that it is taken from.
    scale = float(10**DIGITS)
    return math.floor(float(np.quantile(scores, false_reject_rate, method="lower")) * scale) / scale
