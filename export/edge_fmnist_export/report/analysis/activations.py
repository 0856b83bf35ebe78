"""What every operator of a model file puts out, and every layer of the float model beside it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_fmnist.errors import InterpreterError, ModelError
from edge_fmnist.model import interpreter as interpreters
from edge_fmnist.model.quantization import TensorInfo, input_table
from edge_fmnist_export.training.batches import scaled

# They change the type or the shape and nothing else.
WITHOUT_ARITHMETIC = frozenset({"QUANTIZE", "DEQUANTIZE", "RESHAPE"})


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of an operator.

    Attributes:
        low: the smallest, as a real number.
        high: the largest.
        scales: the size of a quantization step, one for each channel or one in all; empty where they are floats.
    """

    low: float
    high: float
    scales: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Activation:
    """What an operator of a model file puts out.

    Attributes:
        index: the operator's place in the graph, from 0.
        operator: ``CONV_2D`` …
        values: dequantized, float32, shape (N, ...).
        scale: the size of a quantization step; 0 where the output is float.
        zero_point: what stands for 0.
        weights: None for an operator without.
    """

    index: int
    operator: str
    values: np.ndarray
    scale: float
    zero_point: int
    weights: Weights | None


def file_activations(content: bytes, images: np.ndarray, source: str) -> list[Activation]:
    """Run a model file and return what each of its operators puts out.

    The interpreter's own kernels run, without XNNPACK, which keeps no
    intermediate tensors; the two differ by a quantization step at most.

    Args:
        content: the bytes of the model file.
        images: uint8, shape (N, 28, 28), as many as the memory holds all activations of.
        source: what messages call the model.

    Returns:
        One for each operator, in the order of the graph; those that only convert or reshape are left out.

    Raises:
        ModelError: not a model, or a damaged one.
        InterpreterError: no interpreter can be used, or none that keeps intermediate tensors.
    """
    interpreter = _interpreter(content, source)
    try:
        entry = interpreter.get_input_details()[0]
        interpreter.resize_tensor_input(entry["index"], [len(images), *map(int, entry["shape"][1:])])
        interpreter.allocate_tensors()
        info = TensorInfo.from_details(interpreter.get_input_details()[0])
        table = input_table(info)
        interpreter.set_tensor(info.index, (images if table is None else table[images])[..., None])
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
            f"the interpreter {name} keeps no intermediate tensors; pip install ai-edge-litert ({error})"
        ) from error
    try:
        return module.Interpreter(
            model_content=content, experimental_preserve_all_tensors=True, experimental_op_resolver_type=resolver
        )
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{source}: not a TensorFlow Lite model, or a damaged one ({error})") from error


def _activation(interpreter: Any, operation: dict[str, Any], details: dict[int, dict[str, Any]]) -> Activation:
    output = details[int(operation["outputs"][0])]
    scales, zero_points = _quantization(output)
    values = interpreter.get_tensor(int(output["index"]))
    scale, zero_point = (float(scales[0]), int(zero_points[0])) if len(scales) else (0.0, 0)
    if scale:
        values = (values.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
    return Activation(
        index=int(operation["index"]),
        operator=str(operation["op_name"]),
        values=values.astype(np.float32, copy=False),
        scale=scale,
        zero_point=zero_point,
        weights=_weights(interpreter, operation, details),
    )


def _quantization(tensor: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    parameters = tensor["quantization_parameters"]
    return parameters["scales"], parameters["zero_points"]


def _weights(interpreter: Any, operation: dict[str, Any], details: dict[int, dict[str, Any]]) -> Weights | None:
    if operation["op_name"] not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        return None
    tensor = details[int(operation["inputs"][1])]
    values = interpreter.get_tensor(int(tensor["index"])).astype(np.float32)
    scales, _ = _quantization(tensor)
    if len(scales):
        # Weights are symmetric: their zero point is 0.
        shape = [1] * values.ndim
        shape[int(tensor["quantization_parameters"]["quantized_dimension"]) if len(scales) > 1 else 0] = len(scales)
        values = values * scales.reshape(shape)
    return Weights(float(values.min()), float(values.max()), tuple(map(float, scales)))


def layer_activations(model: Any, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return what each layer of a float Keras model puts out.

    Args:
        model: a functional Keras 3 model that maps float32 (N, 28, 28, 1), 0 to 1, to logits.
        images: uint8, shape (N, 28, 28), as many as the memory holds all activations of.

    Returns:
        float32, shape (N, ...), by the name of the layer, in the order of the model.
    """
    import keras

    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    probe = keras.Model(model.inputs, [layer.output for layer in layers])
    outputs = probe.predict_on_batch(scaled(images))
    return {layer.name: np.asarray(output) for layer, output in zip(layers, outputs, strict=True)}
