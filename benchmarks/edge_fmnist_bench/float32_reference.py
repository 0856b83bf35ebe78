"""The float32 twin of an int8 model: the same operators on float32, written without TensorFlow.

It is what the int8 file is timed against where nothing but an interpreter is
installed, on a device and in continuous integration. Weights are the int8 ones
times their scales, so accuracy is that of the quantized weights, not of the
float model that was trained.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_fmnist.errors import ModelError
from edge_fmnist.model.tflite_graph import CONVERSIONS, file_schema, read_structure
from edge_fmnist_bench.flatfile import pack

INTEGERS = {"INT8": np.int8, "INT32": np.int32}


def float_twin(content: bytes, source: str) -> bytes:
    """Return a float32 model of the same operators and weights as a whole-integer one.

    Input and output are float32 too: the conversions at the graph's boundary are left out.

    Args:
        content: the bytes of the int8 model.
        source: what messages call it.

    Raises:
        ModelError: it is not whole-integer, or not a model.
        InterpreterError: no schema of the file format is installed.
    """
    structure = read_structure(content, source)
    types = {tensor.type for tensor in structure.tensors}
    if "INT8" not in types or structure.stray_operators():
        raise ModelError(f"{source}: a float32 twin is made of a whole-integer int8 model, and this is none")
    schema = file_schema()
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    (graph,) = model.subgraphs[:1]
    _drop_conversions(model, graph, schema)
    for tensor in graph.tensors:
        _to_float(model, tensor, schema)
    # The signatures name tensors that may be gone, and the metadata buffers.
    model.subgraphs, model.signatureDefs, model.metadata = [graph], None, None
    return pack(model)


def _drop_conversions(model: Any, graph: Any, schema: Any) -> None:
    """Remove each QUANTIZE and DEQUANTIZE, and let who read its output read its input."""
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    kept: list[Any] = []
    same: dict[int, int] = {}
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        if names[max(code.builtinCode, code.deprecatedBuiltinCode)] in CONVERSIONS:
            same[int(operator.outputs[0])] = same.get(int(operator.inputs[0]), int(operator.inputs[0]))
            continue
        operator.inputs = np.array([same.get(int(index), int(index)) for index in operator.inputs], np.int32)
        kept.append(operator)
    graph.operators = kept
    graph.outputs = np.array([same.get(int(index), int(index)) for index in graph.outputs], np.int32)


def _to_float(model: Any, tensor: Any, schema: Any) -> None:
    """Turn a quantized tensor into float32; a constant that counts, as an axis or a shape, stays."""
    quantization, tensor.quantization = tensor.quantization, None
    if quantization is None or quantization.scale is None or len(quantization.scale) == 0:
        return
    names = {value: name for name, value in vars(schema.TensorType).items() if not name.startswith("_")}
    integer = INTEGERS.get(names[tensor.type])
    tensor.type = schema.TensorType.FLOAT32
    data = model.buffers[tensor.buffer].data
    if data is None or len(data) == 0 or integer is None:
        return
    values = np.frombuffer(bytes(bytearray(data)), integer).reshape(tensor.shape).astype(np.float32)
    real = (values - _along(quantization.zeroPoint, quantization, values)) * _along(
        quantization.scale, quantization, values
    )
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(real.astype(np.float32).tobytes(), np.uint8)
    # A buffer of its own: two tensors may share one with different scales.
    model.buffers.append(buffer)
    tensor.buffer = len(model.buffers) - 1


def _along(values: Any, quantization: Any, like: np.ndarray) -> np.ndarray:
    """Return scales or zero points in a shape that goes with the tensor: one for all, or one for each channel."""
    array: np.ndarray = np.asarray(values, np.float32)
    if array.size == 1:
        return array
    shape = [1] * like.ndim
    shape[int(quantization.quantizedDimension)] = -1
    return array.reshape(shape)
