"""What a classifier refuses, and what it then says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_fmnist import LABELS, Classifier, ImageError, ModelError, ModelNotFoundError, UsageError
from edge_fmnist.model import interpreter

CUT = "looks at the last name only, which is that of the central directory"
LABELS_OF_FIVE = ("a", "b", "c", "d", "e")


@pytest.fixture
def classifier(model_path: Callable[[str], Path]) -> Classifier:
    return Classifier.load(model_path("logits_uint8"))


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        (np.float32, "got float32 with values 0 to 1;"),
        (np.float64, "got float64 with values 0 to 1;"),
        (np.int64, "got int64 with values 0 to 1;"),
        (np.uint16, "got uint16 with values 0 to 1;"),
        (np.int8, "got int8 with values 0 to 1;"),
        (np.bool_, "got bool;"),
    ],
)
def test_wrong_dtype(classifier: Classifier, dtype: type, message: str) -> None:
    image: np.ndarray = np.zeros((28, 28), dtype)
    image[14] = 1
    expected = f"expected dtype uint8 with values 0 to 255, {message} scale to 0..255"
    with pytest.raises(ImageError, match=expected):
        classifier.predict(image)
    with pytest.raises(ImageError, match=expected):
        classifier.predict_batch(image[None])


@pytest.mark.parametrize("shape", [(), (28,), (28, 28, 1), (32, 32), (5, 28, 28), (28, 27), (0, 28)])
def test_wrong_shape_for_one_image(classifier: Classifier, shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=re.escape(f"expected shape (28, 28), got {shape}; for photographs")):
        classifier.predict(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("shape", [(28,), (28, 28), (4, 28, 28, 1), (4, 32, 32), (4, 784), (28, 28, 4)])
def test_wrong_shape_for_a_batch(classifier: Classifier, shape: tuple[int, ...]) -> None:
    expected = re.escape(f"expected shape (N, 28, 28), got {shape}; for photographs")
    with pytest.raises(ImageError, match=expected):
        classifier.predict_batch(np.zeros(shape, np.uint8))
    with pytest.raises(ImageError, match=expected):
        classifier.outputs(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("thing", [[[0] * 28] * 28, "shirt.png", None, 7, b"\0" * 784])
def test_no_array(classifier: Classifier, thing: Any) -> None:
    expected = f"expected a NumPy array of uint8 and shape .*, got {type(thing).__name__}$"
    with pytest.raises(ImageError, match=expected):
        classifier.predict(thing)
    with pytest.raises(ImageError, match=expected):
        classifier.predict_batch(thing)


def test_empty_batch(classifier: Classifier) -> None:
    with pytest.raises(ImageError, match="expected at least one image, got an empty batch"):
        classifier.predict_batch(np.zeros((0, 28, 28), np.uint8))


@pytest.mark.parametrize("threads", [0, -1])
def test_too_few_threads(model_path: Callable[[str], Path], threads: int) -> None:
    with pytest.raises(UsageError, match=f"expected at least 1 thread, got {threads}"):
        Classifier.load(model_path("logits_uint8"), threads=threads)


@pytest.mark.parametrize("name", ["no-such-model", "no/such/model.tflite"])
def test_no_such_model(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match=f"^{name}: neither a file nor a shipped model"):
        Classifier.load(name)


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="neither a file nor a shipped model"):
        Classifier.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello\n", b"a text file, not a model\n" * 200, bytes(4096)])
def test_a_file_that_is_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"^{re.escape(str(path))}: not a TensorFlow Lite model, or a damaged one"):
        Classifier.load(path)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.9999])
def test_a_truncated_model(model_path: Callable[[str], Path], tmp_path: Path, share: float) -> None:
    content = model_path("logits_uint8").read_bytes()
    path = tmp_path / "model.tflite"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelError, match="not a TensorFlow Lite model, or a damaged one"):
        Classifier.load(path)


@pytest.mark.parametrize("lost", [*(pytest.param(lost) for lost in (1, 22)), 100, 250])
def test_a_model_truncated_in_its_metadata(describe_model: Callable[..., Path], lost: int) -> None:
    path = describe_model()
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(ModelError, match="metadata"):
        Classifier.load(path)


@pytest.mark.parametrize("name", [b"pixels", b"Identity"])
def test_a_model_with_a_damaged_name_of_a_tensor(
    model_path: Callable[[str], Path], tmp_path: Path, name: bytes
) -> None:
    content = model_path("logits_uint8").read_bytes()
    assert name in content
    path = tmp_path / "model.tflite"
    path.write_bytes(content.replace(name, name[:-1] + b"\xff"))
    with pytest.raises(ModelError, match=r"model.tflite: not a TensorFlow Lite model, or a damaged one"):
        Classifier.load(path)


def test_a_damaged_name_inside_a_model_does_no_harm(
    model_path: Callable[[str], Path], tmp_path: Path, images: np.ndarray
) -> None:
    content = model_path("logits_uint8").read_bytes()
    assert b"MatMul" in content
    path = tmp_path / "model.tflite"
    path.write_bytes(content.replace(b"MatMul", b"MatMu\xff"))
    sound, damaged = (Classifier.load(model).predict(images[0]) for model in (model_path("logits_uint8"), path))
    np.testing.assert_array_equal(sound.scores, damaged.scores)


def test_a_model_that_fails_when_it_runs(model_path: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        """An interpreter of a model damaged where only running it shows."""

        def __init__(self, interpreter: Any) -> None:
            self.set_tensor = interpreter.set_tensor

        def invoke(self) -> None:
            raise RuntimeError("Input tensor 2 lacks data")

    create = interpreter.create

    def create_failing(*arguments: Any, **options: Any) -> interpreter.Allocated:
        made = create(*arguments, **options)
        return made._replace(interpreter=Failing(made.interpreter))

    monkeypatch.setattr(interpreter, "create", create_failing)
    monkeypatch.setattr(interpreter, "describe", lambda *arguments: None)
    classifier = Classifier.load(model_path("logits_uint8"))
    with pytest.raises(ModelError, match=r"logits_uint8.tflite: .*Input tensor 2 lacks data"):
        classifier.predict(np.zeros((28, 28), np.uint8))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("input_32", "expected a model with input (1, 28, 28, 1), got (1, 32, 32, 1)"),
        ("stacked_output", "expected a model with output (1, classes), got (1, 10, 1)"),
        ("five_classes", "expected an output for 10 labels, got 5"),
    ],
)
def test_a_model_that_does_not_fit(model_path: Callable[[str], Path], name: str, message: str) -> None:
    with pytest.raises(ModelError, match=f"^{re.escape(f'{model_path(name)}: {message}')}$"):
        Classifier.load(model_path(name))


def test_a_model_with_an_integer_input(model_path: Callable[[str], Path]) -> None:
    with pytest.raises(ModelError, match=r"input_int32.tflite: expected an input tensor of float32, .*, got int32"):
        Classifier.load(model_path("input_int32"))


@pytest.mark.parametrize("labels", [("a",), LABELS[:9], (*LABELS, "Hat")])
def test_labels_that_do_not_fit(describe_model: Callable[..., Path], labels: tuple[str, ...]) -> None:
    path = describe_model(labels=labels)
    with pytest.raises(ModelError, match=f"expected an output for {len(labels)} labels, got 10"):
        Classifier.load(path)


def test_a_model_of_five_classes_with_their_labels(describe_model: Callable[..., Path], images: np.ndarray) -> None:
    classifier = Classifier.load(describe_model("five_classes", labels=LABELS_OF_FIVE))
    assert classifier.predict(images[0]).label in LABELS_OF_FIVE
    assert classifier.predict_batch(images[:3]).scores.shape == (3, 5)
