"""The float32 reference of an int8 model: the same operators on float32, written without TensorFlow.

The int8 model is timed against it where only an interpreter is installed: on
a device and in continuous integration. Its weights are the int8 ones times
their scales, so its accuracy is that of the quantized weights, not of the
float model that was trained.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edge_fmnist.errors import ModelError
from edge_fmnist.model.tflite_graph import DEQUANTIZE, QUANTIZE, TYPES, file_schema, read_graph

INTEGERS = {"INT4": np.int8, "INT8": np.int8, "INT32": np.int32}


def float32_reference(content: bytes, source: str) -> bytes:
    """Return a float32 model with the operators and weights of a whole-integer model; ``source`` names it in messages.

    Its input and output are float32: the conversions at the graph's boundary are left out.

    Raises:
        ModelError: not a model, or not a whole-integer one.
        InterpreterError: no schema of the file format is installed.
    """
    graph = read_graph(content, source)
    types = {tensor.type for tensor in graph.tensors}
    if "INT8" not in types or graph.stray_operators():
        raise ModelError(f"{source}: a float32 reference needs a whole-integer int8 model, and this is not one")
    schema = file_schema()
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    (graph,) = model.subgraphs[:1]
    _drop_conversions(model, graph)
    for tensor in graph.tensors:
        _to_float(model, tensor, schema)
    # The signatures name tensors that may be gone, and the metadata buffers.
    model.subgraphs, model.signatureDefs, model.metadata = [graph], None, None
    # Of the export package, which comes in the same wheel; it needs no extra.
    from edge_fmnist_export.quantize.compact import compact_model

    return compact_model(model)


def _drop_conversions(model: Any, graph: Any) -> None:
    """Remove each QUANTIZE and DEQUANTIZE; readers of its output then read its input."""
    kept: list[Any] = []
    same: dict[int, int] = {}
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        if max(code.builtinCode, code.deprecatedBuiltinCode) in (QUANTIZE, DEQUANTIZE):
            same[int(operator.outputs[0])] = same.get(int(operator.inputs[0]), int(operator.inputs[0]))
            continue
        operator.inputs = np.array([same.get(int(index), int(index)) for index in operator.inputs], np.int32)
        kept.append(operator)
    graph.operators = kept
    graph.outputs = np.array([same.get(int(index), int(index)) for index in graph.outputs], np.int32)


def _to_float(model: Any, tensor: Any, schema: Any) -> None:
    """Turn a quantized tensor into float32; other constants, such as axes and shapes, stay."""
    quantization, tensor.quantization = tensor.quantization, None
    if quantization is None or quantization.scale is None or len(quantization.scale) == 0:
        return
    kind, _ = TYPES[tensor.type]
    integer = INTEGERS.get(kind)
    tensor.type = schema.TensorType.FLOAT32
    data = model.buffers[tensor.buffer].data
    if data is None or len(data) == 0 or integer is None:
        return
    stored = np.frombuffer(bytes(bytearray(data)), integer)
    if kind == "INT4":
        # Two in a byte, the first in the lower half. Shifting right extends the sign.
        stored = np.stack([stored << 4 >> 4, stored >> 4], axis=-1).reshape(-1)[: math.prod(tensor.shape)]
    values = stored.reshape(tensor.shape).astype(np.float32)
    # One scale for all, or one per channel.
    shape = [1] * values.ndim
    if len(quantization.scale) > 1:
        shape[int(quantization.quantizedDimension)] = -1
    scale, zero_point = (
        np.asarray(part, np.float32).reshape(shape) for part in (quantization.scale, quantization.zeroPoint)
    )
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(((values - zero_point) * scale).tobytes(), np.uint8)
    # A buffer of its own: two tensors may share one with different scales.
    model.buffers.append(buffer)
    tensor.buffer = len(model.buffers) - 1
