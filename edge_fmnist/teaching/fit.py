"""Multinomial logistic regression, its strength of regularization by cross-validation, in NumPy alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edge_fmnist.model.calibration import TINY
from edge_fmnist.model.quantization import softmax

# Of the squared distance from the centre against the sum of the photographs' losses, strongest first. Weaker ones were
# worse with 3 to 50 photographs of each of ten classes; cross-validation chooses them for photographs that the parent
# was trained with. Where classes are kept, they would move these too far.
STRENGTHS = (100.0, 30.0, 10.0, 3.0)
# The bias is hardly regularized.
BIAS_SHARE = 1e-3
FOLDS = 10
# Stops a fit: most steps, and the change of a step against the largest weight.
MAX_STEPS, TOLERANCE = 300, 1e-3
# OpenBLAS computes a product of matrices in one thread up to this many multiplications.
SINGLE_THREADED = 1 << 17
# Fold assignments are always the same.
SEED = 0


class Regression:
    """Multinomial logistic regression on examples, for any strength of regularization.

    Newton steps with a fixed upper bound in place of the Hessian (Böhning 1992), so that one small matrix is decomposed
    once for all strengths, accelerated by momentum that restarts where it points uphill (O'Donoghue and Candès 2015).
    It computes in 64 bits: then the order of sums, which depends on the processor, changes no weight of the int8 file.
    """

    def __init__(self, features: np.ndarray, targets: np.ndarray, centre: np.ndarray) -> None:
        """Take the examples, all float32.

        Features have the shape (N, features + 1), their last column is 1; each row of the targets, shape (N, classes),
        sums to 1. Weights are drawn to the centre, shape (classes, features + 1).
        """
        self.centre = centre
        features = features.astype(float)
        self._share = np.ones(features.shape[1])
        self._share[-1] = BIAS_SHARE
        root = np.sqrt(self._share)
        self._curvature, vectors = np.linalg.eigh(0.5 * (features / root).T @ (features / root))
        self._basis = vectors / root[:, None]
        # Stacks of blocks of rows, the last one filled up with zeros. Products this small are computed in one thread:
        # OpenBLAS' threads cost far more than they gain here.
        self._size = max(1, SINGLE_THREADED // centre.size)
        self._features, self._targets = self._blocks(features), self._blocks(targets)

    def _blocks(self, rows: np.ndarray) -> np.ndarray:
        count = -(-len(rows) // self._size)
        filled = np.zeros((count * self._size, rows.shape[1]))
        filled[: len(rows)] = rows
        return filled.reshape(count, self._size, -1)

    def fit(self, strength: float, start: np.ndarray, used: np.ndarray) -> np.ndarray:
        """Return the weights, float64, shape (classes, features + 1); ``used`` is bool, shape (N,).

        The strength is that of the squared distance from the centre against the sum of the losses, above 0.
        """
        # The bound is that of all examples, which holds for any of them.
        scale = 1 / (np.maximum(self._curvature, 0) + strength)
        share = self._blocks(used[:, None])
        weights, ahead, momentum = start, start, 1.0
        for _ in range(MAX_STEPS):
            errors = (softmax(self._features @ ahead.T, float) - self._targets) * share
            gradient = (errors.transpose(0, 2, 1) @ self._features).sum(axis=0)
            gradient += (ahead - self.centre) * self._share * strength
            stepped = ahead - (gradient @ self._basis * scale) @ self._basis.T
            change = stepped - weights
            if (change * gradient).sum() > 0:
                momentum = 1.0
            following = (1 + (1 + 4 * momentum * momentum) ** 0.5) / 2
            weights, ahead = stepped, stepped + (momentum - 1) / following * change
            momentum = following
            if np.abs(change).max() < TOLERANCE * max(TOLERANCE, float(np.abs(weights).max())):
                break
        return weights

    def losses(self, weights: np.ndarray, used: np.ndarray) -> np.ndarray:
        """Return the negative log-likelihoods of some examples, in nats."""
        both = self._features, self._targets
        features, targets = (blocks.reshape(-1, blocks.shape[2])[: len(used)] for blocks in both)
        scores = (softmax(features[used] @ weights.T, float) * targets[used]).sum(axis=1)
        negative: np.ndarray = -np.log(np.maximum(scores, TINY))
        return negative


def folds_of(targets: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the number of the fold that holds out each example; classes, groups and folds are int, shape (N,).

    Each class is spread over the folds evenly; examples of one group are held out together.
    """
    rng = np.random.default_rng(SEED)
    folds, following = np.zeros(len(targets), int), 0
    for label in np.unique(targets):
        for group in rng.permutation(np.unique(groups[targets == label])):
            folds[groups == group] = following % FOLDS
            following += 1
    return folds


def cross_validate(
    regression: Regression, folds: np.ndarray, judged: int, step: Callable[[], object]
) -> tuple[float, dict[int, np.ndarray]]:
    """Return the strength to use, and the weights of each fold with it.

    It is the strongest whose loss on held-out examples is within one standard error of the least (Breiman et al. 1984),
    judged by the first ``judged`` examples. ``step`` is called after each fold.
    """
    losses = np.zeros((len(STRENGTHS), len(folds)))
    fitted: list[dict[int, np.ndarray]] = [{} for _ in STRENGTHS]
    for fold in range(FOLDS):
        held = folds == fold
        if held.any():
            weights = regression.centre
            # Each fit starts from the one before.
            for index, strength in enumerate(STRENGTHS):
                weights = regression.fit(strength, weights, ~held)
                losses[index, held] = regression.losses(weights, held)
                fitted[index][fold] = weights
        step()
    losses = losses[:, :judged]
    least = losses[losses.mean(axis=1).argmin()]
    chosen = int((losses.mean(axis=1) <= least.mean() + least.std() / np.sqrt(least.size)).argmax())
    return STRENGTHS[chosen], fitted[chosen]
