"""Outputs of every operator of a model file, and of every layer of its float model."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_fmnist.errors import InterpreterError, ModelError
from edge_fmnist.model import interpreter as interpreters
from edge_fmnist.model.classifier import pixel_range
from edge_fmnist.model.metadata import extract
from edge_fmnist.model.quantization import TensorInfo, dequantize, input_table
from edge_fmnist.model.tflite_graph import WEIGHTED
from edge_fmnist_export.training.batches import scaled

# Operators that change only the type or the shape.
WITHOUT_ARITHMETIC = frozenset({"QUANTIZE", "DEQUANTIZE", "RESHAPE"})
# Weights are symmetric, so -128 and -8 are not used (TensorFlow Lite 8-bit quantization specification).
INT8_LIMIT, INT4_LIMIT = 127, 7


@dataclass(frozen=True, eq=False)
class OperatorWeights:
    """Smallest and largest weight of an operator, dequantized, and its quantization scales.

    There is one scale for each channel or one in all, and none for float weights. ``limit`` is the largest step: 127 of
    weights of 8 bits, 7 of those of 4 bits.
    """

    low: float
    high: float
    scales: tuple[float, ...]
    limit: int


@dataclass(frozen=True, eq=False)
class Activation:
    """Output of an operator of a model file.

    Attributes:
        index: index of the operator in the graph, from 0.
        operator: name of the operator, such as ``CONV_2D``.
        values: dequantized, float32, shape (N, ...).
        scale: quantization scale; 0 for a float output.
        weights: None for an operator without weights.
    """

    index: int
    operator: str
    values: np.ndarray
    scale: float
    zero_point: int
    weights: OperatorWeights | None


def file_activations(content: bytes, images: np.ndarray, source: str) -> list[Activation]:
    """Run a model file on images, uint8 (N, 28, 28), and return the output of each operator.

    Uses the interpreter's built-in kernels, since XNNPACK does not keep intermediate tensors. The two differ by at most
    one quantization step. All activations must fit into memory. ``source`` names the model in messages.

    Returns:
        One per operator, in the order of the graph, without operators that only convert or reshape.

    Raises:
        ModelError: not a model, or damaged.
        InterpreterError: no interpreter that keeps intermediate tensors.
    """
    interpreter = _interpreter(content, source)
    try:
        entry = interpreter.get_input_details()[0]
        interpreter.resize_tensor_input(entry["index"], [len(images), *map(int, entry["shape"][1:])])
        interpreter.allocate_tensors()
        info = TensorInfo.from_details(interpreter.get_input_details()[0])
        table = input_table(info, pixel_range(content, extract(content, source), info)[0])
        interpreter.set_tensor(info.index, (images if table is None else table[images]).reshape(info.shape))
        interpreter.invoke()
        details = {int(tensor["index"]): tensor for tensor in interpreter.get_tensor_details()}
        return [
            _activation(interpreter, operation, details)
            for operation in interpreter._get_ops_details()
            if operation["op_name"] not in WITHOUT_ARITHMETIC
        ]
    except (ValueError, RuntimeError, IndexError, KeyError) as error:
        raise ModelError(f"{source}: its operators cannot be run one by one ({error})") from error


def _interpreter(content: bytes, source: str) -> Any:
    name = interpreters.choose()
    try:
        module = importlib.import_module(interpreters.MODULES[name])
        resolver = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    except (ImportError, AttributeError) as error:
        raise InterpreterError(
            f"the interpreter {name} does not keep intermediate tensors; pip install ai-edge-litert ({error})"
        ) from error
    try:
        return module.Interpreter(
            model_content=content, experimental_preserve_all_tensors=True, experimental_op_resolver_type=resolver
        )
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{source}: not a TensorFlow Lite model, or damaged ({error})") from error


def _activation(interpreter: Any, operation: dict[str, Any], details: dict[int, dict[str, Any]]) -> Activation:
    output = TensorInfo.from_details(details[int(operation["outputs"][0])])
    values = interpreter.get_tensor(output.index)
    if output.scale:
        values = dequantize(values, output)
    weights = None
    if operation["op_name"] in WEIGHTED:
        weights = _weights(interpreter, details[int(operation["inputs"][1])])
    return Activation(
        index=int(operation["index"]),
        operator=str(operation["op_name"]),
        values=values.astype(np.float32, copy=False),
        scale=output.scale,
        zero_point=output.zero_point,
        weights=weights,
    )


def _weights(interpreter: Any, tensor: dict[str, Any]) -> OperatorWeights:
    values = interpreter.get_tensor(int(tensor["index"])).astype(np.float32)
    parameters = tensor["quantization_parameters"]
    scales = parameters["scales"]
    # Interpreters give weights of both kinds as int8.
    limit = INT4_LIMIT if np.abs(values).max() <= INT4_LIMIT else INT8_LIMIT
    if len(scales):
        # Weights are symmetric: their zero point is 0.
        shape = [1] * values.ndim
        shape[int(parameters["quantized_dimension"]) if len(scales) > 1 else 0] = len(scales)
        values = values * scales.reshape(shape)
    return OperatorWeights(float(values.min()), float(values.max()), tuple(map(float, scales)), limit)


def layer_activations(model: Any, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the output of each layer of a functional Keras 3 model for images, uint8 (N, 28, 28).

    All must fit into memory.

    Returns:
        float32, shape (N, ...), by layer name, in the order of the model.
    """
    import keras

    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    probe = keras.Model(model.inputs, [layer.output for layer in layers])
    outputs = probe.predict_on_batch(scaled(images))
    return {layer.name: np.asarray(output) for layer, output in zip(layers, outputs, strict=True)}
