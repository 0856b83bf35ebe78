from __future__ import annotations

from typing import Any

import numpy as np

from edge_fmnist.model.quantization import softmax
from edge_fmnist_export.training import backend
from edge_fmnist_export.training.batches import FOOTWEAR, TARGET_ROWS, UNKNOWN
from edge_fmnist_export.training.losses import Objective, accuracy, target_loss, training_loss

SHOES = [5, 7, 9]
ROWS = TARGET_ROWS[[0, 3, 9, FOOTWEAR, FOOTWEAR, UNKNOWN, UNKNOWN]]
KNOWN, OF_SHOES, OF_UNKNOWN = slice(0, 3), slice(3, 5), slice(5, 7)
LOGITS = np.random.default_rng(1).normal(0, 2, ROWS.shape).astype(np.float32)
PROBABILITIES = softmax(LOGITS)
SURE = np.full(ROWS.shape, -50, np.float32)
SURE[:, 0] = 50


def losses(each_keras: Any, logits: np.ndarray, objective: Objective) -> tuple[np.ndarray, np.ndarray]:
    """Return losses and their gradients."""
    tf = backend.tensorflow_module()
    watched = tf.Variable(logits)
    with tf.GradientTape() as tape:
        values = target_loss(each_keras, objective)(ROWS, watched)
    return values.numpy(), tape.gradient(values, watched).numpy()


def test_one_or_several_correct_classes_or_none(each_keras: Any) -> None:
    plain, gradients = losses(each_keras, LOGITS, Objective(unknown=1.0))
    np.testing.assert_allclose(plain[KNOWN], -np.log(PROBABILITIES[range(3), [0, 3, 9]]), rtol=1e-4)
    np.testing.assert_allclose(plain[OF_SHOES], -np.log(PROBABILITIES[OF_SHOES][:, SHOES].sum(axis=1)), rtol=1e-4)
    np.testing.assert_allclose(plain[OF_UNKNOWN], -np.log(PROBABILITIES[OF_UNKNOWN]).mean(axis=1), rtol=1e-4)
    for gradient in gradients[OF_SHOES]:
        assert (gradient < 0).nonzero()[0].tolist() == SHOES


def test_label_smoothing_and_the_weight_of_the_unknown(each_keras: Any) -> None:
    smooth, _ = losses(each_keras, LOGITS, Objective(0.1, unknown=0.5))
    reference = each_keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1, reduction="none")
    np.testing.assert_allclose(smooth[KNOWN], np.asarray(reference(ROWS[:3], LOGITS[:3])), rtol=1e-4)
    np.testing.assert_allclose(smooth[OF_UNKNOWN], -np.log(PROBABILITIES[OF_UNKNOWN]).mean(axis=1) / 2, rtol=1e-4)


def test_extreme_logits_give_finite_losses_and_gradients(each_keras: Any) -> None:
    values, gradients = losses(each_keras, SURE, Objective(0.1, unknown=0.5))
    assert np.isfinite(values).all()
    assert np.isfinite(gradients).all()
    assert gradients.any(axis=1).all()


def test_accuracy_takes_any_correct_class_and_rejection_of_the_unknown(each_keras: Any) -> None:
    correct = accuracy(each_keras, Objective(unknown=1.0))
    expected = ROWS[range(len(ROWS)), PROBABILITIES.argmax(axis=1)]
    expected[OF_UNKNOWN] = PROBABILITIES[OF_UNKNOWN].max(axis=1) < 0.5
    assert correct(ROWS, LOGITS).numpy().tolist() == expected.tolist()
    assert correct(np.hstack([ROWS, LOGITS]), LOGITS).numpy().tolist() == expected.tolist()  # with a teacher's logits
    assert correct(ROWS, SURE).numpy().tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert correct(ROWS, SURE * 0).numpy()[OF_UNKNOWN].tolist() == [1, 1]


def test_distillation_is_the_weighted_mean_of_targets_and_teacher(each_keras: Any) -> None:
    rng = np.random.default_rng(5)
    targets = np.eye(10, dtype=np.float32)[rng.integers(0, 10, 6)]
    student, teacher = rng.normal(0, 2, (2, 6, 10)).astype(np.float32)
    rows = np.concatenate([targets, teacher], axis=1)
    objective = Objective(label_smoothing=0.1, teacher=0.7, temperature=3.0)
    loss = training_loss(each_keras, objective)
    tf = backend.tensorflow_module()
    soft, prediction = softmax(teacher / 3), softmax(student / 3)
    divergence = (soft * np.log(soft / prediction)).sum(axis=1)
    smooth = targets * 0.9 + 0.01
    hard = -(smooth * np.log(softmax(student))).sum(axis=1)
    np.testing.assert_allclose(np.asarray(loss(tf.constant(rows), student)), 0.3 * hard + 6.3 * divergence, rtol=1e-4)
    same = -0.3 * (smooth * np.log(softmax(teacher))).sum(axis=1)
    np.testing.assert_allclose(np.asarray(loss(tf.constant(rows), teacher)), same, rtol=1e-4)
    found = np.asarray(accuracy(each_keras, objective)(tf.constant(rows), student))
    assert found.tolist() == (student.argmax(axis=1) == targets.argmax(axis=1)).astype(float).tolist()
