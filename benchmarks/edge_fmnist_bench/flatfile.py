"""Write small ``.tflite`` files without TensorFlow: one operator of a model, or one made to measure a machine."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from edge_fmnist.model.tflite_graph import file_schema

IDENTIFIER = b"TFL3"
VERSION = 3
# Of the INT8 variants of CONV_2D, FULLY_CONNECTED and ADD in TensorFlow Lite's list of versions.
OPERATOR_VERSIONS = {"CONV_2D": 3, "FULLY_CONNECTED": 4, "ADD": 2}
SCALE = 1 / 64


class Operand(NamedTuple):
    """A tensor of a made operator; ``values`` is None for one that is computed or given."""

    shape: tuple[int, ...]
    type: str = "INT8"
    scale: float = SCALE
    values: np.ndarray | None = None


def pack(model: Any) -> bytes:
    """Return the bytes of a model; buffers that no tensor uses are left empty.

    Args:
        model: a ``ModelT`` of the schema.
    """
    import flatbuffers

    used = {int(tensor.buffer) for graph in model.subgraphs for tensor in graph.tensors}
    for index, buffer in enumerate(model.buffers):
        if index not in used:
            buffer.data = None
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def cut_operator(content: bytes, index: int) -> bytes:
    """Return a model that holds one operator of another model's main graph, with its weights.

    Its inputs are what the operator reads and is no constant.

    Args:
        content: the bytes of the model.
        index: which operator, from 0.

    Raises:
        InterpreterError: no schema of the file format is installed.
    """
    model = file_schema().ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    operator = graph.operators[index]
    read = list(dict.fromkeys(int(tensor) for tensor in operator.inputs if tensor >= 0))
    written = [int(tensor) for tensor in operator.outputs]
    graph.operators = [operator]
    graph.inputs = [tensor for tensor in read if not _is_constant(model, graph.tensors[tensor])]
    graph.outputs = written
    for position, tensor in enumerate(graph.tensors):
        if position not in read and position not in written:
            tensor.buffer = 0
    model.subgraphs, model.signatureDefs, model.metadata = [graph], None, None
    return pack(model)


def _is_constant(model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def make_operator(kind: str, inputs: list[Operand], output: Operand) -> bytes:
    """Return a model of one int8 operator; inputs without values are the model's inputs.

    Args:
        kind: ``CONV_2D`` (same padding, stride 1), ``FULLY_CONNECTED`` or ``ADD``.
        inputs: in the operator's order.
        output: what it writes.

    Raises:
        InterpreterError: no schema of the file format is installed.
    """
    schema = file_schema()
    model, graph, operator = schema.ModelT(), schema.SubGraphT(), schema.OperatorT()
    model.version, model.buffers, graph.tensors = VERSION, [schema.BufferT()], []
    for position, operand in enumerate([*inputs, output]):
        graph.tensors.append(_tensor(schema, model, f"tensor_{position}", operand))
    graph.inputs = [position for position, operand in enumerate(inputs) if operand.values is None]
    operator.inputs, operator.outputs = list(range(len(inputs))), [len(inputs)]
    graph.outputs = operator.outputs
    operator.opcodeIndex = 0
    _set_options(schema, operator, kind)
    graph.operators, model.subgraphs = [operator], [graph]
    model.operatorCodes = [_code(schema, kind)]
    return pack(model)


def _tensor(schema: Any, model: Any, name: str, operand: Operand) -> Any:
    tensor, quantization = schema.TensorT(), schema.QuantizationParametersT()
    tensor.name, tensor.shape, tensor.buffer = name, list(operand.shape), 0
    tensor.type = getattr(schema.TensorType, operand.type)
    quantization.scale, quantization.zeroPoint = [operand.scale], [0]
    tensor.quantization = quantization
    if operand.values is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(operand.values.tobytes(), np.uint8)
        model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1
    return tensor


def _set_options(schema: Any, operator: Any, kind: str) -> None:
    name = {"CONV_2D": "Conv2DOptions", "FULLY_CONNECTED": "FullyConnectedOptions", "ADD": "AddOptions"}[kind]
    operator.builtinOptions = getattr(schema, f"{name}T")()
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
    if kind == "CONV_2D":
        operator.builtinOptions.padding = schema.Padding.SAME
        operator.builtinOptions.strideH = operator.builtinOptions.strideW = 1


def _code(schema: Any, kind: str) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
    code.version = OPERATOR_VERSIONS[kind]
    return code
