from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edge_fmnist import LABELS, Classifier, Prediction, Predictions
from edge_fmnist.model.classifier import BATCH
from edge_fmnist.model.quantization import SOFTMAX_SCALE

QUANTIZED = ["logits_float_io", "logits_int8", "logits_uint8", "softmax_int8", "softmax_uint8"]
ALL = ["logits_float", "softmax_float", *QUANTIZED]


@pytest.fixture
def classifier(model_path: Callable[[str], Path]) -> Classifier:
    return Classifier.load(model_path("logits_uint8"))


def scores_of(model: Path, images: np.ndarray) -> np.ndarray:
    return Classifier.load(model).predict_batch(images).scores


def test_the_small_models_tell_images_apart(classifier: Classifier, images: np.ndarray) -> None:
    assert len(set(classifier.predict_batch(images).indexes)) >= 4


def test_predict(classifier: Classifier, images: np.ndarray) -> None:
    prediction = classifier.predict(images[0])
    assert isinstance(prediction, Prediction)
    assert prediction.scores.shape == (10,)
    assert prediction.scores.dtype == np.float32
    assert prediction.index == int(prediction.scores.argmax())
    assert prediction.label == LABELS[prediction.index]
    assert prediction.score == prediction.scores.max()
    assert prediction.labels == LABELS
    assert prediction.milliseconds > 0


def test_predict_batch(classifier: Classifier, images: np.ndarray) -> None:
    predictions = classifier.predict_batch(images)
    assert isinstance(predictions, Predictions)
    assert predictions.scores.shape == (300, 10)
    assert predictions.scores.dtype == np.float32
    assert predictions.milliseconds > 0


@pytest.mark.parametrize("name", ALL)
def test_scores_are_probabilities(model_path: Callable[[str], Path], images: np.ndarray, name: str) -> None:
    scores = scores_of(model_path(name), images)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
    assert scores.min() >= 0
    assert scores.max() <= 1


@pytest.mark.parametrize("name", ALL)
def test_predict_and_predict_batch_agree(model_path: Callable[[str], Path], images: np.ndarray, name: str) -> None:
    classifier = Classifier.load(model_path(name))
    one_by_one = [classifier.predict(image).scores for image in images[:40]]
    np.testing.assert_allclose(classifier.predict_batch(images[:40]).scores, one_by_one, atol=1e-5)


@pytest.mark.parametrize("count", [1, 31, 32, BATCH - 1, BATCH, BATCH + 1, 300])
def test_batches_of_every_size_give_what_single_images_give(
    classifier: Classifier, images: np.ndarray, count: int
) -> None:
    one_by_one = np.stack([classifier.predict(image).scores for image in images[:count]])
    batch = classifier.predict_batch(images[:count])
    assert len(batch) == count
    np.testing.assert_array_equal(batch.scores, one_by_one)


@pytest.mark.parametrize("name", ["logits_int8", "logits_float_io"])
def test_the_dtype_of_input_and_output_changes_no_score(
    model_path: Callable[[str], Path], images: np.ndarray, name: str
) -> None:
    reference = Classifier.load(model_path("logits_uint8"))
    # A step of the logits moves a probability by at most half of it: p(1 - p) is at most 1/4, twice.
    tolerance = reference.output.scale / 2
    np.testing.assert_allclose(
        scores_of(model_path(name), images), reference.predict_batch(images).scores, atol=tolerance
    )


@pytest.mark.parametrize("name", ["softmax_int8", "softmax_uint8"])
def test_quantized_softmax_and_logits_agree(model_path: Callable[[str], Path], images: np.ndarray, name: str) -> None:
    reference = Classifier.load(model_path("logits_uint8"))
    # Half a step of the logits, and one of the softmax before the scores are made to sum to 1 again.
    tolerance = reference.output.scale / 4 + 2 * SOFTMAX_SCALE
    np.testing.assert_allclose(
        scores_of(model_path(name), images), reference.predict_batch(images).scores, atol=tolerance
    )


def test_float_softmax_and_logits_agree(model_path: Callable[[str], Path], images: np.ndarray) -> None:
    expected = scores_of(model_path("logits_float"), images)
    np.testing.assert_allclose(scores_of(model_path("softmax_float"), images), expected, atol=1e-5)


def test_the_quantized_network_follows_the_float_one(model_path: Callable[[str], Path], images: np.ndarray) -> None:
    quantized = Classifier.load(model_path("logits_uint8"))
    # Weights and activations are rounded too, so some steps of the output: four were never reached.
    np.testing.assert_allclose(
        quantized.predict_batch(images).scores,
        scores_of(model_path("logits_float"), images),
        atol=4 * quantized.output.scale / 2,
    )


@pytest.mark.parametrize(("name", "dtype"), [("uint8", np.uint8), ("int8", np.int8), ("float", np.float32)])
def test_outputs_are_raw(model_path: Callable[[str], Path], images: np.ndarray, name: str, dtype: type) -> None:
    outputs, milliseconds = Classifier.load(model_path(f"logits_{name}")).outputs(images[:130])
    assert outputs.shape == (130, 10)
    assert outputs.dtype == dtype
    assert milliseconds > 0


def test_pixels_reach_a_uint8_model_unchanged(classifier: Classifier) -> None:
    assert classifier.input.dtype == np.uint8
    assert classifier.input.scale == pytest.approx(1 / 255, abs=1e-8)
    assert classifier.input.zero_point == 0


def test_two_threads_give_the_same_scores(
    classifier: Classifier, model_path: Callable[[str], Path], images: np.ndarray
) -> None:
    two = Classifier.load(model_path("logits_uint8"), threads=2)
    assert two.info.threads == 2
    np.testing.assert_array_equal(two.predict_batch(images).scores, classifier.predict_batch(images).scores)


def test_python_threads_share_a_classifier(classifier: Classifier, images: np.ndarray) -> None:
    expected = classifier.predict_batch(images).scores
    together = threading.Barrier(4)

    def work(start: int) -> np.ndarray:
        together.wait(timeout=30)
        rows = range(start, start + 60)
        singles = np.stack([classifier.predict(images[row]).scores for row in rows])
        np.testing.assert_array_equal(singles, classifier.predict_batch(images[start : start + 60]).scores)
        return singles

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, [0, 60, 120, 180]))
    np.testing.assert_array_equal(np.concatenate(results), expected[:240])


def test_results_stay_valid_after_the_next_call(classifier: Classifier, images: np.ndarray) -> None:
    order = classifier.predict_batch(images).indexes
    first, other = images[0], images[int(np.argmax(order != order[0]))]
    single, batch = classifier.predict(first), classifier.predict_batch(first[None])
    outputs, _ = classifier.outputs(first[None])
    kept = single.scores.copy(), batch.scores.copy(), outputs.copy()
    classifier.predict(other)
    classifier.predict_batch(np.stack([other] * 40))
    np.testing.assert_array_equal(single.scores, kept[0])
    np.testing.assert_array_equal(batch.scores, kept[1])
    np.testing.assert_array_equal(outputs, kept[2])


def test_images_are_not_changed(classifier: Classifier, images: np.ndarray) -> None:
    given = images[:40].copy()
    classifier.predict_batch(given)
    classifier.predict(given[0])
    np.testing.assert_array_equal(given, images[:40])


def test_views_in_any_order_work(classifier: Classifier, images: np.ndarray) -> None:
    flipped = images[:40, :, ::-1]
    assert not flipped.flags.c_contiguous
    expected = classifier.predict_batch(np.ascontiguousarray(flipped)).scores
    np.testing.assert_array_equal(classifier.predict_batch(flipped).scores, expected)
    np.testing.assert_array_equal(classifier.predict(flipped[0]).scores, expected[0])


def test_a_model_for_one_image_takes_batches(model_path: Callable[[str], Path], images: np.ndarray) -> None:
    classifier = Classifier.load(model_path("fixed_batch"))
    expected = [classifier.predict(image).scores for image in images[:40]]
    np.testing.assert_allclose(classifier.predict_batch(images[:40]).scores, expected, atol=1e-5)
