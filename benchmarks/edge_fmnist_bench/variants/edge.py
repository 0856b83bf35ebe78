"""Variants of the base install: the classifier, the bare interpreter loop in each installed interpreter, the twin."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np

from edge_fmnist.errors import EdgeFmnistError, InterpreterError
from edge_fmnist.model import interpreter as interpreters
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.metadata import extract
from edge_fmnist.model.quantization import TensorInfo, dequantize, input_table
from edge_fmnist.model.registry import ModelBytes, read_model, shipped_models
from edge_fmnist.model.tflite_graph import read_structure
from edge_fmnist_bench.float32_reference import float_twin
from edge_fmnist_bench.variants.base import Runner, Variant, VariantError

CLASSIFIER = "classifier"
# In names and titles of variants.
SHORT = {"ai-edge-litert": "litert", "tflite-runtime": "tflite-runtime", "tensorflow": "tf-lite"}
TITLES = {"ai-edge-litert": "LiteRT", "tflite-runtime": "tflite-runtime", "tensorflow": "TensorFlow Lite"}
# It stands in for the float model; one of the same name that was exported from it takes its place.
TWIN = "float32"


def edge_variants(model: str) -> list[Variant]:
    """Return the variants of a model that need only the base install.

    ``Classifier.predict``; the bare interpreter loop in each installed
    interpreter, the preferred one first; and for an int8 model its float32
    twin in the preferred one.

    Args:
        model: a shipped model's name, or a ``.tflite`` file.

    Raises:
        ModelNotFoundError: neither a shipped model nor a file.
        ModelError: not a model, or a damaged one.
        InterpreterError: no interpreter is installed.
    """
    read = read_model(model)
    kind = quantization(read)
    preferred = interpreters.choose()
    others = [name for name in interpreters.installed() if name != preferred]
    variants: list[Variant] = [ClassifierVariant(model, preferred, kind)]
    variants += [InterpreterVariant(model, name, kind) for name in (preferred, *others)]
    if kind == "int8":
        variants.append(TwinVariant(model, preferred))
    return variants


def model_file(model: str) -> Path:
    """Return where a shipped model or a model file lies."""
    shipped = shipped_models().get(model)
    return shipped.path if shipped else Path(model)


def quantization(model: ModelBytes) -> str:
    """Return ``"int8"`` for a whole-integer model, ``"float32"`` for one without int8, else ``"mixed"``.

    Where no schema of the file format is installed (32-bit ARM), the file's own word is taken.

    Raises:
        ModelError: not a model, or a damaged one.
    """
    try:
        structure = read_structure(model.content, model.source)
    except InterpreterError:
        metadata = extract(model.content, model.source)
        said = str(metadata.settings.get("quantization", "")) if metadata else ""
        return said.partition(",")[0] or "mixed"
    if not any(tensor.type == "INT8" for tensor in structure.tensors):
        return "float32"
    return "mixed" if structure.stray_operators() else "int8"


class ClassifierVariant(Variant):
    """``Classifier.predict``, and ``Classifier.predict_batch`` for more than one image: what an application calls."""

    def __init__(self, model: str, interpreter: str, kind: str) -> None:
        """Take a model by name or path, the interpreter's name, and the model's quantization for the title."""
        self.name = CLASSIFIER
        self.title = f"Classifier.predict, {kind}"
        self.device = "CPU"
        self.file: Path | None = model_file(model)
        self._model, self._interpreter = model, interpreter

    def open(self, *, threads: int, batch: int) -> Runner:
        """See :meth:`Variant.open`."""
        classifier = Classifier.load(self._model, threads=threads, interpreter=self._interpreter)
        if batch == 1:
            return lambda images: classifier.predict(images[0]).scores[None]
        return lambda images: classifier.predict_batch(images).scores


class InterpreterVariant(Variant):
    """The bare loop: pixels into the input tensor, invoke, output tensor to reals."""

    def __init__(self, model: str, interpreter: str, kind: str) -> None:
        """Take a model by name or path, the interpreter's name, and the model's quantization for the title."""
        self.name = f"{SHORT[interpreter]}-{kind}"
        self.title = f"{TITLES[interpreter]} {interpreters.installed()[interpreter]}, {kind}"
        self.device = "CPU"
        self.file: Path | None = model_file(model)
        self._model, self._interpreter = model, interpreter

    def open(self, *, threads: int, batch: int) -> Runner:
        """See :meth:`Variant.open`."""
        # TensorFlow announces its processor, and that its interpreter moves to LiteRT.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return bare_loop(read_model(self._model), self._interpreter, threads=threads, batch=batch)


class TwinVariant(Variant):
    """The bare loop on the float32 twin of an int8 model."""

    def __init__(self, model: str, interpreter: str) -> None:
        """Take an int8 model by name or path, and the interpreter's name."""
        self.name = f"{SHORT[interpreter]}-{TWIN}"
        self.title = f"{TITLES[interpreter]} {interpreters.installed()[interpreter]}, float32 twin"
        self.device = "CPU"
        self.file: Path | None = None
        self._model, self._interpreter = model, interpreter

    def open(self, *, threads: int, batch: int) -> Runner:
        """See :meth:`Variant.open`."""
        read = read_model(self._model)
        try:
            twin = ModelBytes(float_twin(read.content, read.source), f"{read.source} as float32")
        except EdgeFmnistError as error:
            raise VariantError(str(error)) from error
        return bare_loop(twin, self._interpreter, threads=threads, batch=batch)


def bare_loop(model: ModelBytes, interpreter: str, *, threads: int, batch: int) -> Runner:
    """Return the least that runs a model: no checks, no labels, no softmax.

    Args:
        model: the model's bytes.
        interpreter: the name of an installed interpreter.
        threads: how many threads it may use.
        batch: images in each call.

    Raises:
        VariantError: the model takes another number of images only.
        ModelError: not a model, or a damaged one.
        InterpreterError: the interpreter cannot be imported.
    """
    allocated = interpreters.create(model.content, name=interpreter, threads=threads, batch=batch, source=model.source)
    input_, output = TensorInfo.from_details(allocated.input), TensorInfo.from_details(allocated.output)
    if input_.shape[0] != batch:
        raise VariantError(f"{model.source} takes {input_.shape[0]} images at a time, not {batch}")
    table = input_table(input_)
    set_tensor, invoke, get_tensor = (
        getattr(allocated.interpreter, name) for name in ("set_tensor", "invoke", "get_tensor")
    )

    def run(images: np.ndarray) -> np.ndarray:
        set_tensor(input_.index, (images if table is None else table[images])[..., None])
        invoke()
        return dequantize(get_tensor(output.index), output)

    return run
