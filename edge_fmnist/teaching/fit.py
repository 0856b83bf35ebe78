"""Multinomial logistic regression, its strength of regularization by cross-validation, in NumPy alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edge_fmnist.model.calibration import negative_log_likelihood
from edge_fmnist.model.quantization import softmax

# Weights of the squared weights against the sum of the photographs' losses, strongest first: each fit starts from the
# one before.
STRENGTHS = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3)
# The bias is hardly regularized.
BIAS_SHARE = 1e-3
FOLDS = 10
# Stops a fit: most steps, and the change of a step against the largest weight.
MOST_STEPS, TOLERANCE = 300, 1e-3
# Fold assignments are always the same.
SEED = 0


def fit(
    features: np.ndarray, targets: np.ndarray, strength: float, *, start: np.ndarray, centre: np.ndarray
) -> np.ndarray:
    """Return the weights of a multinomial logistic regression.

    Newton steps with a fixed upper bound in place of the Hessian (Böhning 1992), so that one small matrix is inverted
    once, accelerated by momentum that restarts where it points uphill (O'Donoghue and Candès 2015).

    Args:
        features: float32, shape (N, features + 1); the last column is 1.
        targets: float32, shape (N, classes), each row sums to 1.
        strength: of the squared distance from ``centre`` against the sum of the losses, above 0.
        start: first guess, float32, shape (classes, features + 1); the last column is the bias.
        centre: what the weights are drawn to, of the same shape.
    """
    ridge = np.full(features.shape[1], strength, np.float32)
    ridge[-1] *= BIAS_SHARE
    inverse = np.linalg.inv(0.5 * features.T @ features + np.diag(ridge)).astype(np.float32)
    weights, ahead, momentum = start, start, 1.0
    for _ in range(MOST_STEPS):
        gradient = (softmax(features @ ahead.T) - targets).T @ features + (ahead - centre) * ridge
        stepped = ahead - gradient @ inverse
        change = stepped - weights
        if (change * gradient).sum() > 0:
            momentum = 1.0
        following = (1 + (1 + 4 * momentum * momentum) ** 0.5) / 2
        weights, ahead = stepped, stepped + np.float32((momentum - 1) / following) * change
        momentum = following
        if np.abs(change).max() < TOLERANCE * max(TOLERANCE, float(np.abs(weights).max())):
            break
    return weights


def folds_of(targets: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the number of the fold that holds out each example, int, shape (N,).

    Each class is spread over the folds evenly; examples of one group are held out together.

    Args:
        targets: class of each example, int, shape (N,).
        groups: group of each example, int, shape (N,).
    """
    rng = np.random.default_rng(SEED)
    folds, following = np.zeros(len(targets), int), 0
    for label in np.unique(targets):
        for group in rng.permutation(np.unique(groups[targets == label])):
            folds[groups == group] = following % FOLDS
            following += 1
    return folds


def cross_validate(
    features: np.ndarray, targets: np.ndarray, folds: np.ndarray, centre: np.ndarray, step: Callable[[], object]
) -> tuple[float, dict[int, np.ndarray]]:
    """Return the strength with the least loss on held-out examples, and the weights of each fold with it.

    Args:
        features: float32, shape (N, features + 1); the last column is 1.
        targets: float32, shape (N, classes), each row sums to 1.
        folds: the fold that holds out each example, int, shape (N,); -1 for none.
        centre: what the weights are drawn to, float32, shape (classes, features + 1).
        step: called after each fold.
    """
    losses = np.zeros(len(STRENGTHS))
    fitted: list[dict[int, np.ndarray]] = [{} for _ in STRENGTHS]
    for fold in range(FOLDS):
        held = folds == fold
        weights = centre
        for index, strength in enumerate(STRENGTHS if held.any() else ()):
            weights = fit(features[~held], targets[~held], strength, start=weights, centre=centre)
            losses[index] += held.sum() * negative_log_likelihood(features[held] @ weights.T, targets[held], 1.0)
            fitted[index][fold] = weights
        step()
    best = int(losses.argmin())
    return STRENGTHS[best], fitted[best]
