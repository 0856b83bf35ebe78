"""What training minimises and what accuracy counts, on Keras 3 and on ``tf_keras`` alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from edge_fmnist_export.architectures.registry import CLASSES
from edge_fmnist_export.training import backend

# Keeps the logarithm finite where no right class has any probability.
EPSILON = 1e-7
# In the accuracy, a top probability below this counts as no answer.
UNSURE = 0.5
# Far below any logit: takes a class out of a maximum.
MINUS_INFINITY = -1e9

# Of targets and logits, both float32 (N, classes), to float32 (N,).
PerRow = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Objective:
    """What a phase minimises.

    Attributes:
        label_smoothing: share of the loss that goes to the uniform distribution, 0 to 1.
        unknown: weight of images without a right class, where several classes or none may be right;
            None where each image has one.
        teacher: weight of the teacher's answer against the target's, 0 to 1; 0 without a teacher.
        temperature: what the logits of teacher and student are divided by before they are compared.
    """

    label_smoothing: float = 0.0
    unknown: float | None = None
    teacher: float = 0.0
    temperature: float = 1.0


def training_loss(keras: Any, objective: Objective) -> PerRow:
    """Return the loss that training minimises.

    With a teacher, the targets carry its logits behind their ten columns
    (:func:`edge_fmnist_export.training.distill.with_teacher`), and the loss is
    knowledge distillation's (Hinton et al. 2015, arXiv:1503.02531): the
    weighted mean of :func:`target_loss` and of the squared temperature times
    the Kullback-Leibler divergence of the softened student from the softened teacher.

    Args:
        keras: the Keras module that the model was built with.
        objective: what to minimise.

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
    """Return the loss against the targets alone, without any teacher: of targets (N, 10) and logits (N, 10)."""
    if objective.unknown is not None:
        return any_of_crossentropy(keras, label_smoothing=objective.label_smoothing, unknown=objective.unknown)

    def loss(targets: Any, logits: Any) -> Any:
        return keras.losses.categorical_crossentropy(
            targets, logits, from_logits=True, label_smoothing=objective.label_smoothing
        )

    return loss


def accuracy(keras: Any, objective: Objective) -> PerRow:
    """Return the accuracy that goes with an objective: of targets (N, 10 or more) and logits to 1 for right, else 0."""
    if objective.unknown is not None:
        return any_of_accuracy(keras)

    def right(targets: Any, logits: Any) -> Any:
        return keras.metrics.categorical_accuracy(targets[:, :CLASSES], logits)

    return right


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
