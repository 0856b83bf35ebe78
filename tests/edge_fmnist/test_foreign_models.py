"""Models of other people: input ranges and shapes, outputs, labels, other formats, and damaged files."""

from __future__ import annotations

import io
import os
import random
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest

from edge_fmnist import LABELS, Classifier, ModelError, ModelNotFoundError
from edge_fmnist.model.interpreter import MODULES
from edge_fmnist.model.registry import ModelBytes, read_model
from edge_fmnist.model.tflite_graph import check_model, file_schema, read_graph, stated_input_range

Models = Callable[[str], Path]
DAMAGED = "not a TensorFlow Lite model, or a damaged one"


@pytest.mark.parametrize(
    "name", ["range_255_uint8", "range_255_float", "range_signed_int8", "range_signed_uint8", "logits_float_io"]
)
def test_the_input_range_is_the_one_that_the_file_states(model_path: Models, images: np.ndarray, name: str) -> None:
    reference = Classifier(model_path("logits_uint8"))
    classifier = Classifier(model_path(name))
    assert classifier.assumptions == (f"{model_path(name)} has no labels: using Fashion-MNIST's",)
    # Each is quantized on its own, so some steps of the output.
    np.testing.assert_allclose(
        classifier.predict_batch(images).scores,
        reference.predict_batch(images).scores,
        atol=4 * reference.output.scale / 2,
    )


def test_what_a_float_file_does_not_state_is_assumed(model_path: Models) -> None:
    path = model_path("logits_float")
    assert stated_input_range(path.read_bytes()) is None
    assert Classifier(path).labels == LABELS
    assert Classifier(path, labels=LABELS).assumptions == (
        f"{path} does not state its input range: scaling pixels to 0..1",
    )


def test_activations_of_16_bits_do_not_state_where_black_is(model_path: Models, images: np.ndarray) -> None:
    classifier = Classifier(model_path("activations_int16"), labels=LABELS)
    assert "does not state its input range: scaling pixels to 0..1" in classifier.assumptions[0]
    expected = Classifier(model_path("logits_float")).predict_batch(images).scores
    np.testing.assert_allclose(classifier.predict_batch(images).scores, expected, atol=0.05)


@pytest.mark.parametrize("shape", ["28_28", "1_28_28", "n_784", "4_28_28_1"])
def test_input_shapes(model_path: Models, images: np.ndarray, shape: str) -> None:
    expected = Classifier(model_path("logits_float")).predict_batch(images[:135]).scores
    classifier = Classifier(model_path(f"shape_{shape}"))
    np.testing.assert_allclose(classifier.predict_batch(images[:135]).scores, expected, atol=1e-5)
    np.testing.assert_allclose(classifier.predict(images[0]).scores, expected[0], atol=1e-5)


# The second states any batch.
@pytest.mark.parametrize("name", ["fixed_batch", "open_batch_of_one"])
def test_a_model_for_one_image_takes_batches(model_path: Models, images: np.ndarray, name: str) -> None:
    classifier = Classifier(model_path(name))
    expected = [classifier.predict(image).scores for image in images[:130]]
    np.testing.assert_allclose(classifier.predict_batch(images[:130]).scores, expected, atol=1e-5)


def test_of_several_outputs_the_one_for_the_classes(model_path: Models, images: np.ndarray) -> None:
    expected = Classifier(model_path("logits_float")).predict_batch(images).scores
    np.testing.assert_allclose(Classifier(model_path("two_outputs")).predict_batch(images).scores, expected, atol=1e-5)
    with pytest.raises(ModelError, match=r"expected one output of 10 classes, got outputs \(1, 10\), \(1, 10\)"):
        Classifier(model_path("two_alike"))


def test_many_classes(model_path: Models, images: np.ndarray) -> None:
    labels = tuple(f"class {i}" for i in range(1000))
    assert Classifier(model_path("many_classes"), labels=labels).predict(images[0]).label in labels


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "input_32",
            "expected a model with input (1, 28, 28, 1) or another of 784 values an image, got (1, 32, 32, 1)",
        ),
        ("input_int32", "expected an input tensor of float32, or of quantized uint8 or int8, got int32"),
        ("five_classes", "expected an output for 10 labels, got 5; name the model's classes with labels=(…)"),
        ("select_tf", "needs the TensorFlow operators FlexMatrixInverse, which TensorFlow Lite does not have"),
        ("two_inputs", "expected a model with one input, got 2"),
        ("whole_numbers", "expected scores, got an output of whole numbers without a scale"),
        ("not_finite", "gave outputs that are not finite (NaN or infinity)"),
    ],
)
def test_models_that_do_not_fit(model_path: Models, images: np.ndarray, name: str, message: str) -> None:
    with pytest.raises(ModelError, match=re.escape(f"{name}.tflite: {message}")):
        Classifier(model_path(name)).predict(images[0])


def test_an_output_that_is_empty_when_the_model_runs(
    model_path: Models, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = Classifier(model_path("logits_uint8"))
    interpreter = import_module(MODULES[classifier.info.name]).Interpreter
    monkeypatch.setattr(interpreter, "get_tensor", lambda *_: np.zeros((0, 10), np.uint8))
    with pytest.raises(ModelError, match=r"got shape \(0, 10\) when it ran"):
        classifier.predict(images[0])
    monkeypatch.setattr(interpreter, "invoke", lambda _: (_ for _ in ()).throw(RuntimeError("no data")))
    with pytest.raises(ModelError, match=r"failed while running, so the file is damaged \(no data\)"):
        classifier.predict(images[0])


# Labels of TensorFlow Lite Metadata.


def with_files(path: Path, **files: str) -> ModelBytes:
    stream = io.BytesIO()
    stream.write(path.read_bytes())
    with zipfile.ZipFile(stream, "a") as archive:
        for name, text in files.items():
            archive.writestr(f"{name}.txt", text)
    return ModelBytes(stream.getvalue(), "theirs")


def test_labels_of_tflite_metadata(model_path: Models) -> None:
    digits, others = [f"digit {i}" for i in range(10)], "\n".join(map(str, range(10)))
    files = {"notes": "ten\nclasses\n", "a": others, "labels_de": others, "labels": "\n".join(digits)}
    assert Classifier(with_files(model_path("logits_uint8"), **files)).labels == tuple(digits)
    five = Classifier(with_files(model_path("five_classes"), labels="a\r\nb\r\nc\r\nd\r\ne\r\n"))
    assert five.labels == ("a", "b", "c", "d", "e")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n".join("abcde"), "expected 10 labels in its TensorFlow Lite Metadata; labels.txt has 5"),
        ("\n".join(["", *"bcdefghij"]), "line 1 is empty"),
    ],
)
def test_labels_of_tflite_metadata_are_checked(model_path: Models, text: str, message: str) -> None:
    with pytest.raises(ModelError, match=re.escape(message)):
        Classifier(with_files(model_path("logits_uint8"), labels=text))


# Other formats.


def zipped(*names: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"\x89HDF\r\n\x1a\n" + bytes(64), "a Keras model (.h5), not a .tflite file; convert", id="h5"),
        pytest.param(
            zipped("metadata.json", "config.json", "model.weights.h5"),
            "a Keras model (.keras), not a .tflite",
            id="keras",
        ),
        pytest.param(zipped("model/data.pkl"), "a PyTorch file, not a .tflite file", id="pytorch"),
        pytest.param(b"\x08\x08\x12\x07pytorch" + bytes(64), "an ONNX model, not a .tflite file", id="onnx"),
        pytest.param(b"", DAMAGED, id="empty"),
        pytest.param(b"a text file, not a model\n" * 200, DAMAGED, id="text"),
        pytest.param(bytes(4096), DAMAGED, id="zeros"),
        pytest.param(b"\x1c\0\0\0TFL3" + b"\xff" * 400, DAMAGED, id="only an identifier"),
    ],
)
def test_files_of_other_kinds(content: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=f"^theirs: {re.escape(message)}"):
        Classifier(ModelBytes(content, "theirs"))
    # What benchmarks and reports read.
    with pytest.raises(ModelError, match=f"^theirs: {re.escape(message)}"):
        read_graph(content, "theirs")


def test_a_saved_model_folder(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(ModelNotFoundError, match="a SavedModel folder, not a \\.tflite file; convert it with"):
        Classifier(tmp_path)


# Damage on which interpreters crash.


def changed(edit: Callable[[Any], None]) -> bytes:
    """Return the model ``nano`` after an edit of its main graph."""
    model = file_schema().ModelT.InitFromPackedBuf(read_model("nano").content, 0)
    edit(model.subgraphs[0])
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def first_scale(value: float) -> Callable[[Any], None]:
    return lambda graph: setattr(graph.tensors[0].quantization, "scale", np.array([value], np.float32))


def zero_point(value: int) -> Callable[[Any], None]:
    return lambda graph: setattr(graph.tensors[0].quantization, "zeroPoint", np.array([value], np.int64))


def activation(graph: Any) -> Any:
    """Return a tensor inside of the graph: the output of its third operator."""
    return graph.tensors[graph.operators[2].outputs[0]]


EDITS: dict[str, tuple[Callable[[Any], None], str]] = {
    **{f"scale {value}": (first_scale(value), "scale that is not") for value in (0, -1, np.nan, np.inf, 1e-38)},
    **{f"zero point {value}": (zero_point(value), "zero point outside of") for value in (-1, 256, 1 << 40)},
    "scales and channels": (
        lambda graph: setattr(graph.tensors[0].quantization, "scale", np.ones(3, np.float32)),
        "has 3 scales and 1 zero points for 1 channels",
    ),
    "no scale": (lambda graph: setattr(activation(graph), "quantization", None), "tensors with and without a quant"),
    "far scales": (
        lambda graph: setattr(activation(graph).quantization, "scale", np.array([1e9], np.float32)),
        "quantization scales from",
    ),
    "huge shape": (lambda graph: setattr(activation(graph), "shape", [65536, 65536]), "has the shape"),
    "negative shape": (lambda graph: setattr(activation(graph), "shape", [1, -7, 7, 20]), "has the shape"),
    "weights of another shape": (
        lambda graph: setattr(graph.tensors[graph.operators[2].inputs[1]], "shape", [1, 1, 1, 1]),
        "bytes instead of",
    ),
    "input -1": (lambda graph: setattr(graph.operators[2], "inputs", [-1, *graph.operators[2].inputs[1:]]), "nothing"),
    "input 9999": (lambda graph: setattr(graph.operators[2], "inputs", [9999]), "nothing has written"),
    "output -1": (lambda graph: setattr(graph, "outputs", [-1]), "its inputs or outputs do not exist"),
    "no output": (lambda graph: setattr(graph, "outputs", []), "it has no input or no output"),
    "written twice": (
        lambda graph: setattr(graph.operators[3], "outputs", graph.operators[2].outputs),
        "writes a tensor that is already written",
    ),
    "in the wrong order": (lambda graph: graph.operators.reverse(), "nothing has written"),
    "type 77": (lambda graph: setattr(activation(graph), "type", 77), "index out of range"),
    "buffer 99999": (lambda graph: setattr(activation(graph), "buffer", 99999), "index out of range"),
    "operator 99999": (lambda graph: setattr(graph.operators[2], "opcodeIndex", 99999), "index out of range"),
}


@pytest.mark.parametrize("name", EDITS)
def test_damage_is_found_before_the_interpreter_sees_it(name: str) -> None:
    edit, message = EDITS[name]
    with pytest.raises(ModelError, match=rf"^nano: {DAMAGED} \(.*{re.escape(message)}"):
        check_model(changed(edit), "nano")


def test_an_unchanged_model_passes() -> None:
    check_model(changed(lambda graph: None), "nano")
    graph = read_graph(read_model("nano").content, "nano")
    assert graph.stray_operators() == graph.unsupported_operators() == []
    assert graph.macs > 1_000_000


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.9999])
def test_a_truncated_model(model_path: Models, share: float) -> None:
    content = model_path("logits_uint8").read_bytes()
    with pytest.raises(ModelError, match=DAMAGED):
        Classifier(ModelBytes(content[: int(len(content) * share)], "cut"))


def mutated(content: bytes, generator: random.Random) -> bytes:
    """Return a file with some changed bytes, half of them in the tables at its ends."""
    result = bytearray(content)
    ends = min(4000, len(content) // 2)
    where = generator.randrange(len(content)) if generator.random() < 0.5 else generator.randrange(-ends, ends)
    values = (b"\0" * 4, b"\xff" * 4, b"\0\0\x80\x7f", b"\0\0\xc0\x7f", b"\xff\xff\xff\x7f", generator.randbytes(16))
    value = generator.choice([*values, generator.randbytes(1)])
    where %= len(content) - len(value)
    result[where : where + len(value)] = value
    return bytes(result)


TRIAL = """
import sys, pathlib, numpy as np
from edge_fmnist import Classifier, EdgeFmnistError
image = np.load(sys.argv[1])
for path in sys.argv[2:]:
    try:
        print(path, Classifier(path).predict(image).label)
    except EdgeFmnistError as error:
        print(path, type(error).__name__)
"""


@pytest.mark.slow
@pytest.mark.parametrize("hashed", [True, False])
def test_no_mutation_ends_the_process(tmp_path: Path, images: np.ndarray, hashed: bool) -> None:
    """Mutations of the shipped files give an error or, where they carry their hash, the same label."""
    count, generator = int(os.environ.get("EDGE_FMNIST_MUTATIONS", "200")), random.Random(7)
    contents = [read_model(name).content for name in ("nano", "edge", "camera", "max")]
    if not hashed:
        contents = [content[: content.index(b"PK\x03\x04")] for content in contents]
    np.save(tmp_path / "image.npy", images[0])
    paths = []
    for number in range(count):
        paths.append(tmp_path / f"{number % 4}-{number}.tflite")
        paths[-1].write_bytes(mutated(contents[number % 4], generator))
    command = [sys.executable, "-c", TRIAL, str(tmp_path / "image.npy"), *map(str, paths)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60 + count)
    assert ended.returncode == 0, (ended.stdout.splitlines()[-1:], ended.stderr[-500:])
    answers = [line.split()[1:] for line in ended.stdout.splitlines()]
    assert len(answers) == count
    if hashed:
        expected = [Classifier(ModelBytes(content, "m")).predict(images[0]).label.split() for content in contents]
        others = [answer for number, answer in enumerate(answers) if answer != expected[number % 4]]
        assert {name for name, *_ in others} <= {"ModelError", "ModelHashError"}
