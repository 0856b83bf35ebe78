from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_fmnist.model.quantization import softmax
from edge_fmnist_export.training.batches import FOOTWEAR, UNKNOWN, one_hot

SHOES = [5, 7, 9]
TARGETS = np.array([0, 3, 9, FOOTWEAR, FOOTWEAR, UNKNOWN, UNKNOWN], np.uint8)
KNOWN, OF_SHOES, OF_UNKNOWN = slice(0, 3), slice(3, 5), slice(5, 7)


def measure(module: str) -> None:
    """Print losses, accuracies and gradients of drawn and of extreme logits, as JSON."""
    import json

    import numpy as np

    from edge_fmnist_export.quantize import qat
    from edge_fmnist_export.training import backend
    from edge_fmnist_export.training.batches import FOOTWEAR, UNKNOWN, one_hot
    from edge_fmnist_export.training.losses import any_of_accuracy, any_of_crossentropy

    tf = backend.tensorflow_module()
    keras = backend.keras_module() if module == "keras" else qat.modules().keras
    assert hasattr(keras, "ops") is (module == "keras")
    rows = one_hot(np.array([0, 3, 9, FOOTWEAR, FOOTWEAR, UNKNOWN, UNKNOWN], np.uint8))
    drawn = np.random.default_rng(1).normal(0, 2, rows.shape).astype(np.float32)
    sure = np.full(rows.shape, -50, np.float32)
    sure[:, 0] = 50

    def results(logits: Any, smoothing: float, unknown: float) -> dict[str, Any]:
        watched = tf.Variable(logits)
        with tf.GradientTape() as tape:
            losses = any_of_crossentropy(keras, label_smoothing=smoothing, unknown=unknown)(rows, watched)
        return {"losses": losses.numpy().tolist(), "gradients": tape.gradient(losses, watched).numpy().tolist()}

    reference = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1, reduction="none")
    print(
        json.dumps(
            {
                "logits": drawn.tolist(),
                "plain": results(drawn, 0.0, 1.0),
                "smooth": results(drawn, 0.1, 0.5),
                "extreme": results(sure, 0.1, 0.5),
                "reference": np.asarray(reference(rows[:3], drawn[:3])).tolist(),
                "accuracy": any_of_accuracy(keras)(rows, drawn).numpy().tolist(),
                "sure": any_of_accuracy(keras)(rows, sure).numpy().tolist(),
                "unsure": any_of_accuracy(keras)(rows, sure * 0).numpy().tolist(),
            }
        )
    )


@pytest.fixture(scope="module", params=["keras", "tf_keras"])
def measured(request: pytest.FixtureRequest, run_function: Callable[..., Any]) -> dict[str, Any]:
    """Return what :func:`measure` prints, for Keras 3 and for ``tf_keras``."""
    return dict(run_function(measure, request.param))


@pytest.fixture(scope="module")
def probabilities(measured: dict[str, Any]) -> np.ndarray:
    return softmax(np.array(measured["logits"], np.float32))


def test_for_one_class_it_is_cross_entropy(measured: dict[str, Any], probabilities: np.ndarray) -> None:
    expected = -np.log(probabilities[np.arange(3), TARGETS[KNOWN]])
    np.testing.assert_allclose(measured["plain"]["losses"][KNOWN], expected, rtol=1e-4)
    np.testing.assert_allclose(measured["smooth"]["losses"][KNOWN], measured["reference"], rtol=1e-4)


def test_for_footwear_the_probabilities_of_all_shoes_count(measured: dict[str, Any], probabilities: np.ndarray) -> None:
    expected = -np.log(probabilities[OF_SHOES][:, SHOES].sum(axis=1))
    np.testing.assert_allclose(measured["plain"]["losses"][OF_SHOES], expected, rtol=1e-4)


@pytest.mark.parametrize(("setting", "weight"), [("plain", 1.0), ("smooth", 0.5)])
def test_for_the_unknown_it_is_cross_entropy_with_the_uniform_distribution(
    measured: dict[str, Any], probabilities: np.ndarray, setting: str, weight: float
) -> None:
    expected = -np.log(probabilities[OF_UNKNOWN]).mean(axis=1) * weight
    np.testing.assert_allclose(measured[setting]["losses"][OF_UNKNOWN], expected, rtol=1e-4)


@pytest.mark.parametrize("setting", ["plain", "smooth", "extreme"])
def test_losses_and_gradients_are_finite(measured: dict[str, Any], setting: str) -> None:
    assert np.isfinite(measured[setting]["losses"]).all()
    gradients = np.array(measured[setting]["gradients"])
    assert np.isfinite(gradients).all()
    assert gradients.any(axis=1).all()


def test_footwear_gradients_raise_every_shoe_and_lower_the_rest(measured: dict[str, Any]) -> None:
    for gradient in np.array(measured["plain"]["gradients"])[OF_SHOES]:
        assert (gradient < 0).nonzero()[0].tolist() == SHOES


def test_accuracy_takes_any_right_class(measured: dict[str, Any], probabilities: np.ndarray) -> None:
    rows, answers = one_hot(TARGETS), probabilities.argmax(axis=1)
    right = rows[np.arange(len(rows)), answers]
    right[OF_UNKNOWN] = probabilities[OF_UNKNOWN].max(axis=1) < 0.5
    assert measured["accuracy"] == right.tolist()


def test_accuracy_of_the_unknown_asks_for_doubt(measured: dict[str, Any]) -> None:
    assert measured["sure"] == [1, 0, 0, 0, 0, 0, 0]
    assert measured["unsure"][OF_UNKNOWN] == [1, 1]
