"""Losses and accuracy, for Keras 3 and ``tf_keras``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from edge_fmnist_export.architectures.registry import CLASSES
from edge_fmnist_export.training import backend

# Keeps the logarithm finite if no correct class has any probability.
EPSILON = 1e-7
# In the accuracy, a prediction with a lower probability counts as rejected.
UNSURE = 0.5
# Excludes a class from a maximum of logits.
MINUS_INFINITY = -1e9

# From targets and logits, both float32 (N, classes), to float32 (N,).
PerRow = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Objective:
    """The loss of a phase.

    Attributes:
        label_smoothing: share of the loss against the uniform distribution, 0 to 1.
        unknown: weight of images without a correct class, where any number of classes may be correct; None if each
            image has one.
        teacher: weight of the teachers' loss, 0 to 1; 0 without teachers.
        temperature: divides the logits of teacher and student before they are compared.
    """

    label_smoothing: float = 0.0
    unknown: float | None = None
    teacher: float = 0.0
    temperature: float = 1.0


def training_loss(keras: Any, objective: Objective) -> PerRow:
    """Return the loss that training minimizes.

    With teachers, their logits are in the targets' columns from the tenth on
    (:func:`edge_fmnist_export.training.distill.with_teacher`), and the loss is that of knowledge distillation (Hinton
    et al. 2015, arXiv:1503.02531): the weighted mean of :func:`target_loss` and of the squared temperature times the
    Kullback-Leibler divergence of the softened student from the softened teacher.

    Returns:
        A function of targets, float32 (N, 10) or (N, 20), and logits, float32 (N, 10), to losses, float32 (N,), nats.
    """
    hard = target_loss(keras, objective)
    if not objective.teacher:
        return hard
    ops, weight, temperature = _operations(keras), objective.teacher, objective.temperature

    def loss(targets: Any, logits: Any) -> Any:
        student = ops.log_softmax(logits / temperature, axis=-1)
        teacher = ops.log_softmax(targets[:, CLASSES:] / temperature, axis=-1)
        divergence = ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)
        return (1 - weight) * hard(targets[:, :CLASSES], logits) + weight * temperature**2 * divergence

    return loss


def target_loss(keras: Any, objective: Objective) -> PerRow:
    """Return the loss on the targets, without teachers, of targets and logits, float32 (N, 10), to nats (N,).

    With ``objective.unknown``, several classes may be correct, or none. With correct classes, the loss is the negative
    logarithm of the sum of their probabilities, which is cross-entropy for a single one. Without, it is the
    cross-entropy with the uniform distribution, times ``unknown`` (outlier exposure, Hendrycks et al. 2019,
    arXiv:1812.04606).
    """
    smoothing, unknown = objective.label_smoothing, objective.unknown
    if unknown is None:
        return lambda targets, logits: keras.losses.categorical_crossentropy(
            targets, logits, from_logits=True, label_smoothing=smoothing
        )
    ops = _operations(keras)

    def loss(targets: Any, logits: Any) -> Any:
        logarithms = ops.log_softmax(logits, axis=-1)
        uniform = -ops.mean(logarithms, axis=-1)
        # PyTorch has no product of a NumPy array and a tensor.
        correct = ops.sum(ops.multiply(targets, ops.exp(logarithms)), axis=-1)
        known = (1 - smoothing) * -ops.log(correct + EPSILON) + smoothing * uniform
        return ops.where(ops.sum(targets, axis=-1) > 0, known, unknown * uniform)

    return loss


def accuracy(keras: Any, objective: Objective) -> PerRow:
    """Return the accuracy for an objective, of targets (N, 10 or more) and logits, to 1 for correct or 0.

    With ``objective.unknown``, a most probable class with a target of 1 is correct; without any, a top probability
    below UNSURE is.
    """
    if objective.unknown is None:
        return lambda targets, logits: keras.metrics.categorical_accuracy(targets[:, :CLASSES], logits)
    ops = _operations(keras)

    def correct(targets: Any, logits: Any) -> Any:
        # Without the teachers' logits.
        targets = targets[:, : logits.shape[-1]]
        best = ops.max(logits, axis=-1)
        hit = ops.max(ops.where(targets > 0, logits, MINUS_INFINITY), axis=-1) >= best
        unsure = ops.max(ops.exp(ops.log_softmax(logits, axis=-1)), axis=-1) < UNSURE
        return ops.cast(ops.where(ops.sum(targets, axis=-1) > 0, hit, unsure), "float32")

    return correct


def _operations(keras: Any) -> Any:
    """Return the array operations of a Keras module; ``tf_keras`` has none of its own."""
    if hasattr(keras, "ops"):
        return keras.ops
    tf = backend.tensorflow_module("quantization-aware training")
    return SimpleNamespace(
        log=tf.math.log, exp=tf.exp, multiply=tf.multiply, sum=tf.reduce_sum, mean=tf.reduce_mean, max=tf.reduce_max,
        where=tf.where, log_softmax=tf.nn.log_softmax, cast=tf.cast,
    )  # fmt: skip
