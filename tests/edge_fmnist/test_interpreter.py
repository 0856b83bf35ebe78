from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edge_fmnist import Classifier, InterpreterError, ModelError, UsageError
from edge_fmnist.model import interpreter
from edge_fmnist.model.interpreter import INTERPRETER_VARIABLE, MODULES, choose, create, describe, installed


def raises(error: type[Exception]) -> Callable[..., None]:
    """Return a function that raises an error."""

    def fail(*_: object) -> None:
        raise error("libfoo.so: cannot open shared object file")

    return fail


@pytest.fixture
def have(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that makes only the named interpreters look installed."""

    def only(*names: str) -> None:
        roots = {MODULES[name].partition(".")[0] for name in names}
        monkeypatch.setattr(interpreter, "find_spec", lambda root: SimpleNamespace() if root in roots else None)

    return only


def test_installed_finds_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [name for name, module in MODULES.items() if find_spec(module.partition(".")[0])]
    assert list(installed()) == expected
    assert expected
    monkeypatch.setattr(metadata, "version", raises(metadata.PackageNotFoundError))
    assert set(installed().values()) == {"unknown"}


def test_order_of_preference(have: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    have("tensorflow", "tflite-runtime")
    assert choose() == "tflite-runtime"
    have(*MODULES)
    assert choose() == "ai-edge-litert"
    monkeypatch.setenv(INTERPRETER_VARIABLE, "tensorflow")
    assert choose() == "tensorflow"
    assert choose("tflite-runtime") == "tflite-runtime"
    monkeypatch.setenv(INTERPRETER_VARIABLE, "")
    assert choose() == "ai-edge-litert"


@pytest.mark.parametrize("through_the_variable", [False, True])
def test_an_unknown_name(monkeypatch: pytest.MonkeyPatch, through_the_variable: bool) -> None:
    if through_the_variable:
        monkeypatch.setenv(INTERPRETER_VARIABLE, "onnx")
    with pytest.raises(UsageError, match="unknown interpreter 'onnx'; expected one of ai-edge-litert, tflite-runtime"):
        choose(None if through_the_variable else "onnx")


def test_one_that_is_not_installed(have: Callable[..., None]) -> None:
    have("tensorflow")
    with pytest.raises(InterpreterError, match="ai-edge-litert is not installed; installed: tensorflow"):
        choose("ai-edge-litert")


def test_none_installed(have: Callable[..., None], model_path: Callable[[str], Path]) -> None:
    have()
    with pytest.raises(InterpreterError, match="no TensorFlow Lite interpreter is installed; `pip install ai-edge-lit"):
        choose()
    with pytest.raises(InterpreterError, match="installed: none"):
        choose("tensorflow")
    with pytest.raises(InterpreterError, match="no TensorFlow Lite interpreter is installed"):
        Classifier.load(model_path("logits_uint8"))


def test_one_that_cannot_be_imported(model_path: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    content = model_path("logits_uint8").read_bytes()
    for load in (raises(ImportError), lambda module: SimpleNamespace()):
        with monkeypatch.context() as patch:
            patch.setattr(importlib, "import_module", load)
            with pytest.raises(InterpreterError, match=r"tflite-runtime cannot be imported \(tflite-runtime needs num"):
                create(content, name="tflite-runtime", threads=1, batch=1, source="m")


def test_create_names_the_model_in_its_error() -> None:
    with pytest.raises(ModelError, match=r"^my model: not a TensorFlow Lite model, or a damaged one"):
        create(b"no model", name=choose(), threads=1, batch=1, source="my model")


@pytest.mark.parametrize(
    ("model", "batch", "images"), [("logits_uint8", 1, 1), ("logits_uint8", 5, 5), ("fixed_batch", 5, 1)]
)
def test_create_allocates_for_the_batch_that_the_model_allows(
    model_path: Callable[[str], Path], model: str, batch: int, images: int
) -> None:
    made = create(model_path(model).read_bytes(), name=choose(), threads=1, batch=batch, source="m")
    assert made.input["shape"].tolist() == [images, 28, 28, 1]
    assert made.output["shape"].tolist() == [images, 10]


@pytest.mark.parametrize(("operations", "delegate"), [(["CONV_2D"], "none"), (["CONV_2D", "DELEGATE"], "XNNPACK")])
def test_describe_finds_the_delegate(operations: list[str], delegate: str) -> None:
    fake = SimpleNamespace(_get_ops_details=lambda: [{"op_name": name} for name in operations])
    info = describe(fake, choose(), 3)
    assert (info.name, info.version, info.delegate, info.threads) == (choose(), installed()[choose()], delegate, 3)
    # tflite-runtime does not have the private method.
    assert describe(SimpleNamespace(), choose(), 1).delegate == "none"


@pytest.mark.parametrize("name", [name for name in ("tflite-runtime", "tensorflow") if name in installed()])
def test_every_interpreter_gives_the_same_scores(
    model_path: Callable[[str], Path], images: np.ndarray, tmp_path: Path, name: str
) -> None:
    path = model_path("logits_uint8")
    np.save(tmp_path / "images.npy", images[:40])
    # In a process of its own: two interpreters' native libraries do not belong in one.
    script = (
        "import json, sys, numpy; from edge_fmnist import Classifier; "
        "classifier = Classifier.load(sys.argv[1], interpreter=sys.argv[2]); "
        "print(json.dumps([classifier.info.name, classifier.predict_batch(numpy.load(sys.argv[3])).scores.tolist()]))"
    )
    command = [sys.executable, "-c", script, str(path), name, str(tmp_path / "images.npy")]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    used, scores = json.loads(answer.stdout)
    classifier = Classifier.load(path)
    assert used == name
    # One step of the logits moves a probability by at most half of it.
    expected = classifier.predict_batch(images[:40]).scores
    np.testing.assert_allclose(scores, expected, atol=classifier.output.scale / 2)
