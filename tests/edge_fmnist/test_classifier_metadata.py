"""What a classifier makes of a model's metadata, and of a model without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_fmnist import LABELS, Classifier, ModelError
from edge_fmnist.model.quantization import softmax

GARMENTS = tuple(f"garment {i}" for i in range(10))


def test_metadata_is_read(describe_model: Callable[..., Path], images: np.ndarray) -> None:
    classifier = Classifier.load(describe_model(labels=GARMENTS, name="mine", accuracy={"top1": 0.9}))
    assert classifier.metadata is not None
    assert classifier.metadata.name == "mine"
    assert classifier.metadata.settings["accuracy"] == {"top1": 0.9}
    assert classifier.labels == GARMENTS
    assert classifier.predict(images[0]).label.startswith("garment ")


def test_metadata_changes_no_score(
    describe_model: Callable[..., Path], model_path: Callable[[str], Path], images: np.ndarray
) -> None:
    np.testing.assert_array_equal(
        Classifier.load(describe_model()).predict_batch(images).scores,
        Classifier.load(model_path("logits_uint8")).predict_batch(images).scores,
    )


def test_metadata_decides_what_the_output_is(describe_model: Callable[..., Path], images: np.ndarray) -> None:
    logits = Classifier.load(describe_model("softmax_uint8", output="logits")).predict_batch(images).scores
    probabilities = (
        Classifier.load(describe_model("softmax_uint8", output="probabilities")).predict_batch(images).scores
    )
    # A softmax of probabilities lies between 1/(9 + e) and e/(9 + e).
    assert logits.max() < 0.24
    assert probabilities.max() > 0.5


@pytest.mark.parametrize("name", ["logits_uint8", "softmax_uint8", "softmax_float", "logits_float"])
def test_without_metadata_it_is_a_fashion_mnist_model(
    model_path: Callable[[str], Path], name: str, images: np.ndarray
) -> None:
    classifier = Classifier.load(model_path(name))
    assert classifier.metadata is None
    assert classifier.labels == LABELS
    assert 0.24 < classifier.predict_batch(images).scores.max() <= 1


def test_metadata_with_a_wrong_checksum(describe_model: Callable[..., Path]) -> None:
    path = describe_model()
    content = bytearray(path.read_bytes())
    # The CRC-32 in the central directory.
    content[content.rindex(b"PK\x01\x02") + 16] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="metadata is damaged"):
        Classifier.load(path)


def calibrated(describe_model: Callable[..., Path], temperature: float, threshold: float) -> Classifier:
    return Classifier.load(describe_model(calibration={"temperature": temperature, "threshold": threshold}))


def test_without_calibration_nothing_is_unknown(
    describe_model: Callable[..., Path], model_path: Callable[[str], Path], images: np.ndarray
) -> None:
    for path in (describe_model(), model_path("logits_uint8")):
        classifier = Classifier.load(path)
        assert (classifier.temperature, classifier.threshold) == (1, 0)
        assert all(prediction.known for prediction in classifier.predict_batch(images))


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_logits_are_divided_by_the_temperature(
    describe_model: Callable[..., Path], images: np.ndarray, temperature: float
) -> None:
    raw = Classifier.load(describe_model()).predict_batch(images).scores
    classifier = calibrated(describe_model, temperature, 0)
    scores = classifier.predict_batch(images).scores
    assert classifier.temperature == temperature
    # Softmax of logits over T is the T-th root of the probabilities, made to sum to 1.
    powered = raw.astype(float) ** (1 / temperature)
    np.testing.assert_allclose(scores, powered / powered.sum(axis=1, keepdims=True), atol=1e-5)
    np.testing.assert_array_equal(scores.argmax(axis=1), raw.argmax(axis=1))
    np.testing.assert_array_equal(classifier.predict(images[0]).scores, scores[0])


def test_what_is_below_the_threshold_is_unknown(describe_model: Callable[..., Path], images: np.ndarray) -> None:
    best = Classifier.load(describe_model()).predict_batch(images).scores.max(axis=1)
    threshold = float(np.median(best))
    classifier = calibrated(describe_model, 1, threshold)
    assert classifier.threshold == threshold
    predictions = classifier.predict_batch(images)
    np.testing.assert_array_equal([prediction.known for prediction in predictions], best >= threshold)
    assert {prediction.answer for prediction in predictions} > {"unknown"}
    single = [classifier.predict(image).answer for image in images[:20]]
    assert single == [prediction.answer for prediction in predictions[:20]]


@pytest.mark.parametrize("temperature", [0.001, 1000])
def test_the_outermost_temperatures_give_probabilities(
    describe_model: Callable[..., Path], images: np.ndarray, temperature: float
) -> None:
    scores = calibrated(describe_model, temperature, 0).predict_batch(images).scores
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)


def test_a_calibration_that_cannot_be(describe_model: Callable[..., Path]) -> None:
    with pytest.raises(ModelError, match=r"described_logits_uint8\.tflite: expected a calibration with a temperature"):
        calibrated(describe_model, 0, 0.5)


def test_a_mirrored_model_takes_the_mean_with_the_mirror_image(
    describe_model: Callable[..., Path], images: np.ndarray
) -> None:
    plain = Classifier.load(describe_model())
    there, back = plain.values(images)[0], plain.values(np.ascontiguousarray(images[:, :, ::-1]))[0]
    assert not np.allclose(there, back)
    mirrored = Classifier.load(describe_model(mirrored=True))
    assert mirrored.mirrored
    assert not plain.mirrored
    np.testing.assert_allclose(mirrored.values(images)[0], (there + back) / 2, rtol=1e-6)
    scores = mirrored.predict_batch(images).scores
    np.testing.assert_allclose(scores, softmax((there + back) / 2), atol=1e-6)
    np.testing.assert_allclose(mirrored.predict(images[0]).scores, scores[0], atol=1e-6)
    np.testing.assert_array_equal(mirrored.outputs(images)[0], plain.outputs(images)[0])


def test_mirrored_is_true_or_false(describe_model: Callable[..., Path]) -> None:
    with pytest.raises(ModelError, match="expected mirrored to be true or false, got 'yes'"):
        Classifier.load(describe_model(mirrored="yes"))
