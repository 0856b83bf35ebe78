"""A classifier on 28x28 images: scores, batches, threads, calibration, and what it refuses."""

from __future__ import annotations

import io
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from edge_fmnist import LABELS, Classifier, DataError, ImageError, ModelError, ModelNotFoundError, UsageError
from edge_fmnist.model import interpreter
from edge_fmnist.model.classifier import BATCH, FLIP_LIMIT
from edge_fmnist.model.inputs import read_pixels
from edge_fmnist.model.quantization import SOFTMAX_SCALE, softmax
from edge_fmnist.vision.preprocess import preprocess
from edge_fmnist.vision.read_image import read_image

Models = Callable[[str], Path]
Describe = Callable[..., Path]
ALL = ["logits_float", "softmax_float", "logits_float_io", "logits_int8", "logits_uint8", "softmax_uint8"]


@pytest.fixture
def classifier(model_path: Models) -> Classifier:
    return Classifier(model_path("logits_uint8"))


@pytest.mark.parametrize("name", ALL)
def test_single_images_and_batches_give_the_same_probabilities(
    model_path: Models, images: np.ndarray, name: str
) -> None:
    classifier = Classifier(model_path(name))
    predictions = classifier.predict_batch(images)
    np.testing.assert_allclose(predictions.scores.sum(axis=1), 1, atol=1e-5)
    assert predictions.scores.min() >= 0
    assert len(set(predictions.indexes)) >= 4
    one_by_one = [classifier.predict(image) for image in images[:40]]
    np.testing.assert_allclose(predictions.scores[:40], [single.scores for single in one_by_one], atol=1e-5)
    assert [single.label for single in one_by_one] == [LABELS[index] for index in predictions.indexes[:40]]


@pytest.mark.parametrize("name", ALL)
def test_the_type_of_input_and_output_changes_the_scores_by_their_steps_only(
    model_path: Models, images: np.ndarray, name: str
) -> None:
    reference = Classifier(model_path("logits_uint8"))
    scores = Classifier(model_path(name)).predict_batch(images).scores
    # A step of the logits moves a probability by at most half of it: p(1 - p) is at most 1/4, twice.
    step = reference.output.scale / 2
    tolerance = 4 * step if name.endswith("_float") else step + 2 * SOFTMAX_SCALE * name.startswith("softmax")
    np.testing.assert_allclose(scores, reference.predict_batch(images).scores, atol=tolerance)


@pytest.mark.parametrize("count", [1, BATCH, BATCH + 1, 300])
def test_batches_of_every_size(classifier: Classifier, images: np.ndarray, count: int) -> None:
    outputs, milliseconds = classifier.outputs(images[:count])
    assert (outputs.shape, str(outputs.dtype)) == ((count, 10), "uint8")
    assert milliseconds > 0
    one_by_one = np.stack([classifier.predict(image).scores for image in images[:count]])
    np.testing.assert_array_equal(classifier.predict_batch(images[:count]).scores, one_by_one)


def test_threads_share_a_classifier(model_path: Models, images: np.ndarray) -> None:
    classifier = Classifier(model_path("logits_uint8"), threads=2)
    assert classifier.info.threads == 2
    expected = classifier.predict_batch(images).scores
    together = threading.Barrier(4)

    def work(start: int) -> np.ndarray:
        together.wait(timeout=30)
        return np.stack([classifier.predict(image).scores for image in images[start : start + 60]])

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, [0, 60, 120, 180]))
    np.testing.assert_array_equal(np.concatenate(results), expected[:240])


def test_results_and_images_stay_as_they_are(classifier: Classifier, images: np.ndarray) -> None:
    given = images.copy()
    single, batch = classifier.predict(images[0]), classifier.predict_batch(images[:1])
    kept = single.scores.copy(), batch.scores.copy()
    classifier.predict_batch(images)
    np.testing.assert_array_equal(single.scores, kept[0])
    np.testing.assert_array_equal(batch.scores, kept[1])
    np.testing.assert_array_equal(images, given)


# The forked process ends as any other: interpreters whose threads do not exist in it are not deleted.
FORK = """
import os, signal, sys
import numpy as np
from edge_fmnist import Classifier
classifier, image = Classifier(sys.argv[1], threads=2), np.eye(28, dtype=np.uint8)
label = classifier.predict(image).label
if sys.argv[2]:
    classifier.release()
child = os.fork()
if not child:
    signal.alarm(20)
    if sys.argv[2]:
        classifier.release()
    print("same" if classifier.predict(image).label == label else "different", flush=True)
    sys.exit()
print(os.waitpid(child, 0)[1])
"""


def test_views_in_any_order_work(classifier: Classifier, images: np.ndarray) -> None:
    flipped = images[:40, :, ::-1]
    expected = classifier.predict_batch(np.ascontiguousarray(flipped)).scores
    np.testing.assert_array_equal(classifier.predict_batch(flipped).scores, expected)
    np.testing.assert_array_equal(classifier.predict(flipped[0]).scores, expected[0])


def test_a_pickled_classifier_has_the_labels_it_was_given(images: np.ndarray) -> None:
    labels = list(LABELS)
    classifier = Classifier("nano", labels=labels)
    labels.reverse()
    assert pickle.loads(pickle.dumps(classifier)).predict(images[0]).label == classifier.predict(images[0]).label


@pytest.mark.parametrize("name", ["nano", "nano4"])
@pytest.mark.parametrize("released", [False, True])
def test_a_classifier_works_in_a_forked_process_and_it_ends(name: str, released: bool) -> None:
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK, name, "released" * released],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.stdout.split() == ["same", "0"], answer.stderr


def test_a_classifier_pickles_and_has_a_short_repr(describe_model: Describe, images: np.ndarray) -> None:
    path = describe_model()
    classifier = Classifier(path, threads=2)
    classifier.threshold, classifier.flip_tta = 0.75, True
    again = pickle.loads(pickle.dumps(classifier))
    assert (again.threshold, again.flip_tta) == (0.75, True)
    path.unlink()
    np.testing.assert_array_equal(again.predict(images[0]).scores, classifier.predict(images[0]).scores)
    assert again.info == classifier.info
    for value in (1.5, float("nan"), "0.5", None, True):
        with pytest.raises(UsageError, match="threshold: expected a number from 0 to 1"):
            classifier.threshold = value
    assert repr(again) == f"Classifier('{path}', 10 classes, {classifier.info.name}, {classifier.info.delegate})"


# Pictures of any kind.


@pytest.fixture
def photograph(picture: Callable[..., Path], make_result: Callable[..., Any]) -> Path:
    return picture("coat.png", make_result(size=(200, 150)).frame.picture)


def test_a_picture_of_any_kind(classifier: Classifier, photograph: Path) -> None:
    pixels = cv2.imread(str(photograph))
    with photograph.open("rb") as file, Image.open(photograph) as opened:
        content = photograph.read_bytes()
        kinds: list[Any] = [photograph, str(photograph), content, io.BytesIO(content), file, opened]
        kinds += [opened.convert("RGBA"), pixels, cv2.cvtColor(pixels, cv2.COLOR_BGR2BGRA)]
        kinds.append(np.asarray(pixels, np.uint16) * 257)
        results = [classifier(kind) for kind in kinds]
    for result in results:
        np.testing.assert_array_equal(result.scores, results[0].scores)


def test_a_small_image_is_used_as_it_is(classifier: Classifier, images: np.ndarray) -> None:
    image = images[0]
    expected = classifier.predict(image).scores
    deep, colour = image.astype(np.uint16) * 257, np.dstack([image] * 3)
    for kind in (image, image[..., None], deep, Image.fromarray(image), colour):
        result: Any = classifier(kind)
        np.testing.assert_array_equal(result.scores, expected)


def test_pil_images_of_other_depths(classifier: Classifier, images: np.ndarray) -> None:
    expected = classifier.predict(images[0]).scores
    deep: Any = classifier(Image.fromarray(images[0].astype(np.int32) * 257))
    np.testing.assert_array_equal(deep.scores, expected)
    whole = images[0].astype(np.int32)
    for values in (images[0].astype(np.float32) / 255, whole - 1, whole << 9):
        with pytest.raises(ImageError, match=r"expected a PIL image of 8 or 16 bits, got mode [FI]"):
            classifier(Image.fromarray(values))


def test_a_transparent_colour_of_a_pil_image(tmp_path: Path) -> None:
    grey = np.full((40, 40), 255, np.uint8)
    grey[10:30, 10:30] = 90
    Image.fromarray(grey).save(tmp_path / "grey.png", transparency=255)
    with Image.open(tmp_path / "grey.png") as opened:
        np.testing.assert_array_equal(read_pixels(opened), read_image(tmp_path / "grey.png"))


def test_a_list_is_answered_in_one_batch(classifier: Classifier, photograph: Path, images: np.ndarray) -> None:
    empty = np.full((100, 100, 3), 128, np.uint8)
    first, nothing, last = classifier([photograph, empty, images[0]])
    assert nothing is None
    assert first is not None
    assert last is not None
    np.testing.assert_array_equal(last.scores, classifier.predict(images[0]).scores)
    assert classifier([]) == []
    assert classifier((empty,)) == [None]


def test_pil_images_that_cannot_be_read(classifier: Classifier, photograph: Path) -> None:
    content = photograph.read_bytes()
    closed = Image.open(photograph)
    closed.close()
    for picture in (Image.open(io.BytesIO(content[: len(content) // 2])), closed, Image.new("I", (0, 0))):
        with pytest.raises(ImageError):
            classifier(picture)


def test_a_matrix_is_an_array_like_any_other(classifier: Classifier, images: np.ndarray) -> None:
    matrix = images[0].view(np.matrix)
    expected = classifier.predict(images[0]).label
    assert classifier.predict(matrix).label == expected
    assert classifier(matrix).label == expected


def test_pil_images_of_other_packages(classifier: Classifier, photograph: Path) -> None:
    picture = Image.open(photograph)
    picture.__class__ = type("HeifImageFile", (type(picture),), {"__module__": "pillow_heif"})
    assert classifier(picture).label == classifier(photograph).label  # type: ignore[union-attr]


def test_the_image_of_a_small_picture_is_a_copy(images: np.ndarray) -> None:
    assert not np.shares_memory(preprocess(images[0]).image, images)


@pytest.mark.parametrize("thing", [7, None, {"a": 1}])
def test_what_is_not_a_picture(classifier: Classifier, thing: Any) -> None:
    with pytest.raises(ImageError, match=f"expected a path, bytes, .* got {type(thing).__name__}"):
        classifier(thing)
    with pytest.raises(ImageError, match="expected a file opened in binary mode, got str"):
        classifier(io.StringIO("text"))


# What is refused.


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([[0] * 28] * 28, "expected a NumPy array of uint8 and shape (28, 28), got list"),
        (np.linspace(0, 1, 784).reshape(28, 28), "got float64 with values 0 to 1; scale to 0..255"),
        (np.zeros((28, 28), np.int8), "expected dtype uint8 with values 0 to 255, got int8"),
        (np.zeros((28, 28), bool), "got bool; scale to 0..255"),
        (np.zeros((), np.uint8), "expected shape (28, 28), got ()"),
        (np.zeros((32, 32), np.uint8), "expected shape (28, 28), got (32, 32); for photographs"),
        (np.zeros((28, 28, 1), np.uint8), "expected shape (28, 28), got (28, 28, 1)"),
    ],
)
def test_what_is_not_an_image(classifier: Classifier, images: Any, message: str) -> None:
    with pytest.raises(ImageError, match=re.escape(message)):
        classifier.predict(images)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (None, "shape (N, 28, 28), got NoneType"),
        (np.zeros((0, 28, 28), np.float32), "got float32; scale to"),
        (np.zeros((28, 28), np.uint8), "expected shape (N, 28, 28), got (28, 28)"),
        (np.zeros((4, 28, 28, 1), np.uint8), "expected shape (N, 28, 28), got (4, 28, 28, 1)"),
        (np.zeros((0, 28, 28), np.uint8), "expected at least one image, got an empty batch"),
    ],
)
def test_what_is_not_a_batch(classifier: Classifier, images: Any, message: str) -> None:
    for method in (classifier.predict_batch, classifier.outputs):
        with pytest.raises(ImageError, match=re.escape(message)):
            method(images)


def test_wrong_arguments(model_path: Models, tmp_path: Path) -> None:
    path = model_path("logits_uint8")
    for threads in (0, 65, 2.0, "2", None):
        with pytest.raises(UsageError, match=f"expected 1 to 64 threads, got {threads!r}"):
            Classifier(path, threads=threads)  # type: ignore[arg-type]
    for labels in ("abcdefghij", ["unknown", *"abcdefghi"], ["a"] * 10):
        with pytest.raises(DataError, match="labels: "):
            Classifier(path, labels=labels)
    for model in (None, 5, object()):
        with pytest.raises(UsageError, match="expected a name, a path or the bytes of a model file, got "):
            Classifier(model)  # type: ignore[arg-type]
    for name in ("no-such-model", tmp_path):
        with pytest.raises(ModelNotFoundError, match="neither a file nor a shipped model"):
            Classifier(name)


def test_arguments_of_other_types(model_path: Models) -> None:
    content = model_path("logits_uint8").read_bytes()
    classifier = Classifier(content, threads=np.int64(2), labels=np.array(list("abcdefghij")))  # type: ignore[arg-type]
    assert classifier.labels == tuple("abcdefghij")
    assert type(classifier.labels[0]) is str
    assert classifier.info.threads == 2
    assert classifier.name == "model"


# Metadata.


def test_metadata_gives_labels_and_kind_of_output(describe_model: Describe, images: np.ndarray) -> None:
    labels = tuple(f"garment {i}" for i in range(10))
    logits = Classifier(describe_model("softmax_uint8", labels=labels, name="mine", output="logits"))
    assert logits.metadata is not None
    assert (logits.metadata.name, logits.labels, logits.assumptions) == ("mine", labels, ())
    # A softmax of probabilities lies between 1/(9 + e) and e/(9 + e).
    assert logits.predict_batch(images).scores.max() < 0.24
    probabilities = Classifier(describe_model("softmax_uint8", output="probabilities"))
    assert probabilities.predict_batch(images).scores.max() > 0.5


@pytest.mark.parametrize("model", ["logits_uint8", "logits_float"])
def test_logits_that_the_metadata_calls_probabilities(describe_model: Describe, images: np.ndarray, model: str) -> None:
    with pytest.raises(ModelError, match="expected probabilities of 0 to 1, as its metadata states, got outputs from"):
        Classifier(describe_model(model, output="probabilities")).predict(images[0])


def calibrated(
    describe_model: Describe, temperature: Any, threshold: Any, model: str = "logits_uint8", **settings: Any
) -> Classifier:
    calibration = {"temperature": temperature, "threshold": threshold}
    return Classifier(describe_model(model, calibration=calibration, **settings))


@pytest.mark.parametrize(
    ("model", "temperature"),
    [
        ("logits_uint8", 0.001),
        ("logits_uint8", 0.5),
        ("logits_int8", 2.0),
        ("logits_float", 2.0),
        ("logits_uint8", 1000),
    ],
)
def test_logits_are_divided_by_the_temperature(
    describe_model: Describe, images: np.ndarray, model: str, temperature: float
) -> None:
    plain = Classifier(describe_model(model))
    scores = calibrated(describe_model, temperature, 0, model).predict_batch(images).scores
    np.testing.assert_allclose(scores, softmax(plain.values(images)[0] / np.float32(temperature)), atol=1e-5)


def test_scores_below_the_threshold_are_unknown(describe_model: Describe, images: np.ndarray) -> None:
    plain = Classifier(describe_model())
    best = plain.predict_batch(images).scores.max(axis=1)
    assert all(prediction.known for prediction in plain.predict_batch(images))
    classifier = calibrated(describe_model, 1, float(np.median(best)))
    predictions = classifier.predict_batch(images)
    np.testing.assert_array_equal([prediction.known for prediction in predictions], best >= np.median(best))
    single = [classifier.predict(image).answer for image in images[:20]]
    assert single == [prediction.answer for prediction in predictions[:20]]
    assert "unknown" in single


def test_flip_test_time_augmentation_where_the_image_alone_leaves_a_doubt(
    describe_model: Describe, images: np.ndarray
) -> None:
    plain = Classifier(describe_model())
    there, back = plain.values(images)[0], plain.values(np.ascontiguousarray(images[:, :, ::-1]))[0]
    assert not np.allclose(there, back)
    for key in ("flip_tta", "mirrored"):
        flipped = Classifier(describe_model(**{key: True}))
        assert flipped.flip_tta
        np.testing.assert_allclose(flipped.values(images)[0], (there + back) / 2, rtol=1e-6)
        np.testing.assert_array_equal(flipped.outputs(images)[0], plain.outputs(images)[0])
    flipped = calibrated(describe_model, 0.1, 0, flip_tta=True)
    alone, both = softmax(there / 0.1), softmax((there + back) / 2 / 0.1)
    sure = alone.max(axis=1) >= FLIP_LIMIT
    assert 20 < sure.sum() < 280
    predictions = flipped.predict_batch(images)
    np.testing.assert_allclose(predictions.scores, np.where(sure[:, None], alone, both), atol=1e-5)
    for image, expected in zip(images[:40], predictions.scores, strict=False):
        np.testing.assert_array_equal(flipped.predict(image).scores, expected)


def test_unused_outputs_are_never_the_answer(describe_model: Describe, images: np.ndarray) -> None:
    labels = ("a", "b", *(f"unused {i}" for i in range(2, 10)))
    classifier = Classifier(describe_model(labels=labels))
    predictions = classifier.predict_batch(images)
    assert classifier.labels == ("a", "b")
    assert Classifier(classifier.content, labels=("c", "d")).labels == ("c", "d")
    assert predictions.scores.shape == (300, 2)
    np.testing.assert_allclose(predictions.scores.sum(axis=1), 1, atol=1e-5)
    assert {choice.label for choice in classifier.predict(images[0]).top(10)} == {"a", "b"}
    assert classifier.values(images)[0].shape == (300, 10)


def test_another_model_keeps_the_threads(model_path: Models) -> None:
    classifier = Classifier(model_path("logits_uint8"), threads=2)
    assert classifier.load_other(model_path("logits_int8")).info.threads == 2


def test_another_model_keeps_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, choose = list[str | None](), interpreter.choose

    def note(name: str | None) -> str:
        asked.append(name)
        return choose(name)

    monkeypatch.setattr(interpreter, "choose", note)
    Classifier("nano", interpreter=choose(None)).load_other("edge")
    assert asked == [choose(None)] * 2


def test_a_released_interpreter_is_used_by_one_thread_only(
    model_path: Models, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The interpreters themselves: the identity of one that is gone may be that of the next.
    classifier, used, invoke = Classifier(model_path("logits_uint8")), list[Any](), Classifier._invoke

    def note(self: Classifier, bound: Any, views: np.ndarray) -> np.ndarray:
        used.append(bound.interpreter)
        return invoke(self, bound, views)

    monkeypatch.setattr(Classifier, "_invoke", note)
    classifier.release()
    threads = [threading.Thread(target=classifier.predict, args=(images[0],)) for _ in range(2)]
    for thread in threads:
        thread.start()
        thread.join()
    classifier.predict(images[0])
    assert len(set(map(id, used))) == 3


def test_a_pil_image_is_turned_upright(photograph: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(photograph) as upright:
        upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as turned:
        np.testing.assert_array_equal(read_pixels(turned), cv2.imread(str(photograph)))
