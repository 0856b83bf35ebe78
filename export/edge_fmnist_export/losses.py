"""The loss and the accuracy for training with photographs, on Keras 3 and on ``tf_keras`` alike."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from edge_fmnist_export import backend

# Keeps the logarithm finite where no right class has any probability.
EPSILON = 1e-7
# In the accuracy, a top probability below this counts as no answer.
UNSURE = 0.5
# Far below any logit: takes a class out of a maximum.
MINUS_INFINITY = -1e9

# Of targets and logits, both float32 (N, classes), to float32 (N,).
PerRow = Callable[[Any, Any], Any]


def _operations(keras: Any) -> Any:
    """Return the array operations of a Keras module; ``tf_keras`` has none of its own."""
    if hasattr(keras, "ops"):
        return keras.ops
    tf = backend.tensorflow_module("quantization-aware training")
    return SimpleNamespace(
        log=tf.math.log, exp=tf.exp, sum=tf.reduce_sum, mean=tf.reduce_mean, max=tf.reduce_max, where=tf.where,
        log_softmax=tf.nn.log_softmax, cast=tf.cast,
    )  # fmt: skip


def any_of_crossentropy(keras: Any, *, label_smoothing: float, unknown: float) -> PerRow:
    """Return a loss in which any of several classes may be right, or none.

    For a row of targets with ones: minus the logarithm of the sum of their
    probabilities, which for a single one is cross-entropy. For a row without
    any: cross-entropy with the uniform distribution, times ``unknown``
    (outlier exposure, Hendrycks et al. 2019, arXiv:1812.04606).

    Args:
        keras: the Keras module that the model was built with.
        label_smoothing: share of the loss that goes to the uniform distribution, 0 to 1.
        unknown: weight of rows without a right class.

    Returns:
        A function of targets (0 or 1) and logits, both float32 (N, classes), to losses, float32 (N,), in nats.
    """
    ops = _operations(keras)

    def loss(targets: Any, logits: Any) -> Any:
        logarithms = ops.log_softmax(logits, axis=-1)
        uniform = -ops.mean(logarithms, axis=-1)
        right = ops.sum(targets * ops.exp(logarithms), axis=-1)
        known = (1 - label_smoothing) * -ops.log(right + EPSILON) + label_smoothing * uniform
        return ops.where(ops.sum(targets, axis=-1) > 0, known, unknown * uniform)

    return loss


def any_of_accuracy(keras: Any) -> PerRow:
    """Return the accuracy that goes with :func:`any_of_crossentropy`.

    Right is a most probable class with a target of 1; where no class is right, a top probability below UNSURE.

    Args:
        keras: the Keras module that the model was built with.

    Returns:
        A function of targets (0 or 1) and logits, both float32 (N, classes), to float32 (N,): 1 for right, 0 for wrong.
    """
    ops = _operations(keras)

    def accuracy(targets: Any, logits: Any) -> Any:
        best = ops.max(logits, axis=-1)
        hit = ops.max(ops.where(targets > 0, logits, MINUS_INFINITY), axis=-1) >= best
        unsure = ops.max(ops.exp(ops.log_softmax(logits, axis=-1)), axis=-1) < UNSURE
        return ops.cast(ops.where(ops.sum(targets, axis=-1) > 0, hit, unsure), "float32")

    return accuracy
