"""Variants of the base install: the classifier, the bare interpreter loop, and its float32 reference."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edge_fmnist.data.labels import LABELS
from edge_fmnist.errors import EdgeFmnistError, InterpreterError, ModelError
from edge_fmnist.model import interpreter as interpreters
from edge_fmnist.model.classifier import Classifier, pixel_range
from edge_fmnist.model.metadata import extract
from edge_fmnist.model.quantization import TensorInfo, choose_output, dequantize, input_table
from edge_fmnist.model.registry import ModelBytes, read_model, shipped_models
from edge_fmnist.model.tflite_graph import read_graph
from edge_fmnist_bench.float32_reference import float32_reference
from edge_fmnist_bench.variants.base import BenchmarkVariant, Runner, VariantError

CLASSIFIER = "classifier"
# In names and titles of variants.
SHORT = {"ai-edge-litert": "litert", "tflite-runtime": "tflite-runtime", "tensorflow": "tf-lite"}
TITLES = {"ai-edge-litert": "LiteRT", "tflite-runtime": "tflite-runtime", "tensorflow": "TensorFlow Lite"}
# Also the name of the exported float32 model, which replaces the float32 reference under --against float.
FLOAT32 = "float32"


def edge_variants(model: str) -> list[BenchmarkVariant]:
    """Return the variants of a shipped model or a file that need only the base install.

    ``Classifier.predict`` where the model takes 28x28 images; the bare interpreter loop in each installed interpreter,
    the preferred one first; for an int8 model its float32 reference in the preferred one.

    Raises:
        ModelNotFoundError: neither a shipped model nor a file.
        ModelError: not a model, or a damaged one.
        InterpreterError: no interpreter is installed.
    """
    read = read_model(model)
    kind = quantization(read)
    preferred = interpreters.choose()
    inputs, _ = tensors(read)
    others = [name for name in interpreters.installed() if name != preferred]
    variants: list[BenchmarkVariant] = [ClassifierVariant(model, preferred, kind)] if takes_images(inputs) else []
    variants += [InterpreterVariant(model, name, kind) for name in (preferred, *others)]
    if kind == "int8":
        variants.append(Float32Variant(model, preferred))
    return variants


def model_file(model: str) -> Path:
    """Return the path of a shipped model or a model file."""
    shipped = shipped_models().get(model)
    return shipped.path if shipped else Path(model)


def tensors(model: ModelBytes) -> tuple[list[TensorInfo], list[TensorInfo]]:
    """Return the inputs and outputs of a model at batch 1.

    Raises:
        ModelError: not a model, or a damaged one.
        InterpreterError: no interpreter can be used.
    """
    name = interpreters.choose()
    return _tensors(interpreters.create(model.content, name=name, threads=1, batch=1, source=model.source).interpreter)


def _tensors(engine: Any) -> tuple[list[TensorInfo], list[TensorInfo]]:
    details = engine.get_input_details(), engine.get_output_details()
    inputs, outputs = ([TensorInfo.from_details(entry) for entry in entries] for entries in details)
    return inputs, outputs


def takes_images(inputs: Sequence[TensorInfo]) -> bool:
    """Return whether a model has one input, and that takes 28x28 pixels per image, as the classifier does."""
    types = (np.uint8, np.int8, np.float32, np.float16)
    return len(inputs) == 1 and inputs[0].dtype in types and inputs[0].images > 0


def scores_output(model: ModelBytes, inputs: Sequence[TensorInfo], outputs: list[TensorInfo]) -> TensorInfo:
    """Return the output that the classifier takes; the first one of a model that does not take 28x28 images.

    Raises:
        ModelError: none or several of the outputs have the scores of the classes.
    """
    if len(outputs) == 1 or not takes_images(inputs):
        return outputs[0]
    metadata = extract(model.content, model.source)
    classes = len((metadata.labels if metadata else None) or LABELS)
    return choose_output(outputs, inputs[0].images, classes, model.source)


def quantization(model: ModelBytes) -> str:
    """Return the types of a model's numbers.

    ``"int8"`` for a whole-integer model, ``"float32"`` or ``"float16"`` for one whose weights are, else ``"mixed"``.

    Where no schema of the file format is installed (32-bit ARM), this is what the metadata says.

    Raises:
        ModelError: not a model, or a damaged one.
    """
    try:
        graph = read_graph(model.content, model.source)
    except InterpreterError:
        metadata = extract(model.content, model.source)
        stated = str(metadata.settings.get("quantization", "")) if metadata else ""
        return stated.partition(",")[0] or "mixed"
    if any(tensor.type == "INT8" for tensor in graph.tensors):
        return "mixed" if graph.stray_operators() else "int8"
    stored = {tensor.type for tensor in graph.tensors if tensor.constant_bytes}
    return "mixed" if stored & {"INT4", "UINT8"} else "float16" if "FLOAT16" in stored else FLOAT32


class ClassifierVariant(BenchmarkVariant):
    """``Classifier.predict``, and ``Classifier.predict_batch`` for batches: what an application calls."""

    def __init__(self, model: str, interpreter: str, kind: str) -> None:
        self.name, self.title, self.device = CLASSIFIER, f"Classifier.predict, {kind}", "CPU"
        self.file: Path | None = model_file(model)
        self._model, self._interpreter = model, interpreter

    def open(self, *, threads: int, batch: int) -> Runner:
        """See :meth:`BenchmarkVariant.open`."""
        classifier = Classifier.load(self._model, threads=threads, interpreter=self._interpreter)
        if batch == 1:
            return lambda images: classifier.predict(images[0]).scores[None]
        return lambda images: classifier.predict_batch(images).scores


class InterpreterVariant(BenchmarkVariant):
    """The bare loop: pixels into the input tensor, invoke, output tensor to real numbers."""

    def __init__(self, model: str, interpreter: str, kind: str) -> None:
        self.name = f"{SHORT[interpreter]}-{kind}"
        self.title = f"{TITLES[interpreter]} {interpreters.installed()[interpreter]}, {kind}"
        self.device = "CPU"
        self.file: Path | None = model_file(model)
        self._model, self._interpreter = model, interpreter

    def open(self, *, threads: int, batch: int) -> Runner:
        """See :meth:`BenchmarkVariant.open`."""
        # TensorFlow logs its CPU features, and warns that its interpreter moves to LiteRT.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return bare_loop(read_model(self._model), self._interpreter, threads=threads, batch=batch)


class Float32Variant(InterpreterVariant):
    """The bare loop on the float32 reference of an int8 model."""

    def __init__(self, model: str, interpreter: str) -> None:
        super().__init__(model, interpreter, FLOAT32)
        self.title, self.file = f"{self.title} reference", None

    def __getstate__(self) -> dict[str, Any]:
        # Memory and start of a process are those of running the reference, not of making it.
        _ = self._reference
        return self.__dict__

    @cached_property
    def _reference(self) -> tuple[ModelBytes, tuple[float, float]]:
        """The reference, and the input values of pixels 0 and 255, which it does not state."""
        read = read_model(self._model)
        try:
            content = float32_reference(read.content, read.source)
        except EdgeFmnistError as error:
            raise VariantError(str(error)) from error
        return ModelBytes(content, f"{read.source} as float32"), _input_values(read, tensors(read)[0][0])

    def open(self, *, threads: int, batch: int) -> Runner:
        """See :meth:`BenchmarkVariant.open`."""
        reference, values = self._reference
        return bare_loop(reference, self._interpreter, threads=threads, batch=batch, values=values)


def bare_loop(
    model: ModelBytes, interpreter: str, *, threads: int, batch: int, values: tuple[float, float] | None = None
) -> Runner:
    """Return the minimal code that runs a model in an installed interpreter: no checks, no labels, no softmax.

    A model that does not take 28x28 images runs on inputs generated once. ``values`` are the input values of pixels 0
    and 255; None takes those that the model states.

    Raises:
        VariantError: the model does not take this batch size, or inputs cannot be generated.
        ModelError: not a model, or a damaged one.
        InterpreterError: the interpreter cannot be imported.
    """
    allocated = interpreters.create(model.content, name=interpreter, threads=threads, batch=batch, source=model.source)
    engine = allocated.interpreter
    inputs, outputs = _tensors(engine)
    output = outputs[0]
    # Otherwise its accuracy is not measured.
    with suppress(ModelError):
        output = scores_output(model, inputs, outputs)
    set_tensor, invoke, get_tensor = engine.set_tensor, engine.invoke, engine.get_tensor
    if takes_images(inputs):
        (given,) = inputs
        if given.images != batch:
            raise VariantError(f"{model.source} takes {given.images} images at a time, not {batch}")
        table = input_table(given, values or _input_values(model, given))

        def run(images: np.ndarray) -> np.ndarray:
            set_tensor(given.index, (images if table is None else table[images]).reshape(given.shape))
            invoke()
            return dequantize(get_tensor(output.index).reshape(batch, -1), output)

        return run
    if batch != 1 and (len(inputs) != 1 or inputs[0].shape[:1] != (batch,)):
        raise VariantError(f"{model.source} does not take batches of {batch}")
    generated = [(given.index, generated_input(given, model.source)) for given in inputs]

    def run_generated(_: np.ndarray) -> np.ndarray:
        for index, value in generated:
            set_tensor(index, value)
        invoke()
        return dequantize(get_tensor(output.index).reshape(1, -1), output)

    return run_generated


def _input_values(model: ModelBytes, given: TensorInfo) -> tuple[float, float]:
    """Return the values of an input tensor for pixels 0 and 255, as the classifier takes them."""
    return pixel_range(model.content, extract(model.content, model.source), given)[0]


def generated_input(tensor: TensorInfo, source: str) -> np.ndarray:
    """Return random values for an input tensor: floats 0 to 1, any 8 or 16 bit integer, else 0 or 1 (an index, a flag).

    Raises:
        VariantError: a tensor of strings.
    """
    rng, dtype = np.random.default_rng(0), tensor.dtype
    if dtype.kind == "f":
        return rng.random(tensor.shape).astype(dtype)
    if dtype.kind == "b" or (dtype.kind in "iu" and dtype.itemsize > 2):
        return rng.integers(0, 2, tensor.shape).astype(dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, tensor.shape, dtype=dtype, endpoint=True)
    raise VariantError(f"{source}: no input of type {dtype} can be generated")
