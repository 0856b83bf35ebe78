"""Read the graph of a ``.tflite`` file, and check it before an interpreter sees it.

The few tables of the file that matter here are read directly, by their field numbers in TensorFlow Lite's schema:
importing the generated schema takes longer than classifying an image, and tflite-runtime does not have it.
https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs
"""

from __future__ import annotations

import importlib
import math
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from edge_fmnist.errors import InterpreterError, ModelError
from edge_fmnist.model.flatbuffer import DAMAGE, Table

# At byte 4 of every file.
IDENTIFIER = b"TFL3"
SCHEMAS = ("ai_edge_litert.schema_py_generated", "tensorflow.lite.python.schema_py_generated")
UNSUPPORTED = frozenset({"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CUSTOM"})
CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE"})
WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
# Types allowed inside a fully integer network: activations and weights, biases and shapes, weights of four bits.
INTEGER_TYPES = frozenset({"INT8", "INT32", "INT4"})

# In the order of the schema's enum TensorType, with bytes per element; 0: not checked. Two INT4 share a byte.
TYPES = (
    *(("FLOAT32", 4), ("FLOAT16", 2), ("INT32", 4), ("UINT8", 1), ("INT64", 8), ("STRING", 0), ("BOOL", 1)),
    *(("INT16", 2), ("COMPLEX64", 8), ("INT8", 1), ("FLOAT64", 8), ("COMPLEX128", 16), ("UINT64", 8)),
    *(("RESOURCE", 0), ("VARIANT", 0), ("UINT32", 4), ("UINT16", 2), ("INT4", 0.5), ("BFLOAT16", 2)),
)
# Values of the schema's enum BuiltinOperator.
CONV_2D, DEPTHWISE_CONV_2D, DEQUANTIZE, FULLY_CONNECTED = 3, 4, 6, 9
MUL, CUSTOM, SUB, DIV, TRANSPOSE_CONV, QUANTIZE = 18, 32, 41, 42, 67, 114
# Far above any classifier of 28x28 images; stops a damaged shape from filling memory.
MAX_TENSOR_BYTES = 256 << 20
MAX_GRAPH_BYTES = 1 << 30
# Of quantization: far beyond any real model, where kernels that compute in fixed point abort the process.
MIN_SCALE = 1e-20
MAX_SCALE_RATIO = 1 << 16

CONVERT_KERAS = "a Keras model ({}), not a .tflite file; convert it with `edge-fmnist export FILE`"
PYTORCH = "a PyTorch file, not a .tflite file; export it with ai-edge-torch"
ONNX = "an ONNX model, not a .tflite file; convert it with onnx2tf"


@dataclass(frozen=True)
class Tensor:
    """A tensor of the file.

    Attributes:
        name: as in the file.
        type: ``INT8``, ``FLOAT32`` and so on.
        shape: as in the file; an open batch size is 1 or -1.
        constant_bytes: bytes of constant data; 0 for an activation.
        scale: size of one quantization step; None if not quantized, or quantized per channel.
        zero_point: the value that stands for 0.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    constant_bytes: int
    scale: float | None
    zero_point: int = 0


@dataclass(frozen=True)
class Operator:
    """An operator: its name (``CONV_2D`` …), the indexes of its input and output tensors, its MACs for one image."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    macs: int


@dataclass(frozen=True)
class Graph:
    """The main graph of a model file."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations for one image."""
        return sum(operator.macs for operator in self.operators)

    @property
    def output_step(self) -> float | None:
        """Size of one quantization step of the output, before a last dequantization; None for a float network."""
        index = self.outputs[0]
        last = next((operator for operator in self.operators if index in operator.outputs), None)
        if last is not None and last.name == "DEQUANTIZE":
            index = last.inputs[0]
        return self.tensors[index].scale

    def unsupported_operators(self) -> list[str]:
        """Return the operators that a plain interpreter cannot run: variables, TensorFlow's, custom ones."""
        return sorted({operator.name for operator in self.operators} & UNSUPPORTED)

    def stray_operators(self) -> list[str]:
        """Return what keeps the network from being fully integer; empty if nothing does.

        Every operator except for the conversions at the graph's boundary must read and write int8 (int32 for biases
        and shapes), and none may be a conversion.
        """
        problems = []
        for operator in self.operators:
            used = (*operator.inputs, *operator.outputs)
            if operator.name in CONVERSIONS:
                if not {*self.inputs, *self.outputs}.isdisjoint(used):
                    continue
                problems.append(f"{operator.name} inside the graph")
            types = {self.tensors[index].type for index in used if index >= 0} - INTEGER_TYPES
            if types:
                problems.append(f"{operator.name} on {', '.join(sorted(types))}")
        return problems


class _RawTensor:
    """A tensor with what its check needs, read from its table."""

    def __init__(self, table: Table, buffers: list[np.ndarray]) -> None:
        self.table = table
        self.type, item = TYPES[table.number(1, "B")]
        self.shape = tuple(map(int, table.numbers(0, "<i4")))
        self.bytes = math.ceil(math.prod(max(1, size) if size < 0 else size for size in self.shape) * item)
        self.constant = buffers[table.number(2, "I")]
        self.constant_bytes = len(self.constant)
        quantization = table.table(4)
        self.scales = quantization.numbers(2, "<f4") if quantization else np.empty(0)
        self.zero_points = quantization.numbers(3, "<i8") if quantization else np.empty(0)
        self.axis = quantization.number(6, "i") if quantization else 0

    @property
    def is_stored(self) -> bool:
        """Whether its value needs no operator: a constant, an empty tensor or a variable."""
        return self.constant_bytes > 0 or self.bytes == 0 or self.table.number(5, "B") > 0

    @property
    def is_zero(self) -> bool:
        """Whether it is a constant of zeros."""
        return self.constant_bytes > 0 and not self.constant.any()

    def check(self) -> None:
        """Raise ``ValueError`` if an interpreter could crash on the tensor."""
        name = self.table.text(3) or "a tensor"
        if min(self.shape, default=0) < -1 or self.bytes > MAX_TENSOR_BYTES:
            raise ValueError(f"{name} has the shape {self.shape}")
        if self.constant_bytes and self.bytes and not self.table.table(6) and self.constant_bytes != self.bytes:
            raise ValueError(f"{name} holds {self.constant_bytes} bytes instead of {self.bytes}")
        if not self.type.startswith(("INT", "UINT")) or not len(self.scales):
            return
        # NaN is in no range.
        if not ((self.scales > MIN_SCALE) & (self.scales < 1 / MIN_SCALE)).all():
            raise ValueError(f"{name} has a quantization scale that is not positive and finite")
        channels = self.shape[self.axis] if 0 <= self.axis < len(self.shape) else 1
        if len(self.scales) not in (1, channels) or len(self.zero_points) not in (0, len(self.scales)):
            raise ValueError(
                f"{name} has {len(self.scales)} scales and {len(self.zero_points)} zero points for {channels} channels"
            )
        low, high = _limits(self.type)
        if len(self.zero_points) and not low <= self.zero_points.min() <= self.zero_points.max() <= high:
            raise ValueError(f"{name} has a zero point outside of {self.type}")


def _limits(integer: str) -> tuple[int, int]:
    """Return the least and the greatest value of an integer type."""
    if integer == "INT4":
        return -8, 7
    limits = np.iinfo(integer.lower())
    return int(limits.min), int(limits.max)


class _RawGraph:
    """A subgraph of a file, as its check and :class:`Graph` need it."""

    def __init__(self, table: Table, buffers: list[np.ndarray], codes: list[tuple[int, str]]) -> None:
        self.inputs, self.outputs = _indexes(table, 1), _indexes(table, 2)
        self.tensors = [_RawTensor(tensor, buffers) for tensor in table.tables(0)]
        # Code, name of a custom operator, inputs, outputs.
        self.operators = [
            (*codes[operator.number(0, "I")], _indexes(operator, 1), _indexes(operator, 2))
            for operator in table.tables(3)
        ]

    def check(self) -> None:
        """Raise ``ValueError`` if an interpreter could crash on the graph."""
        for tensor in self.tensors:
            tensor.check()
        if sum(tensor.bytes for tensor in self.tensors) > MAX_GRAPH_BYTES:
            raise ValueError("its tensors would take more than 1 GiB")
        # A tensor that is read must have been written before; one is written once.
        ready = {index for index, tensor in enumerate(self.tensors) if tensor.is_stored}
        written = ready | {*self.inputs}
        ready |= {*self.inputs}
        for position, (_, _, inputs, outputs) in enumerate(self.operators):
            # -1 is an optional input that is left out, such as a bias: none of the first two.
            if not ready.issuperset(index for place, index in enumerate(inputs) if index != -1 or place < 2):
                raise ValueError(f"operator {position} reads a tensor that nothing has written")
            if not written.isdisjoint(outputs):
                raise ValueError(f"operator {position} writes a tensor that is already written")
            self._check_scales(position, [self.tensors[index] for index in (*inputs, *outputs) if index >= 0])
            ready.update(outputs)
            written.update(outputs)
        if not ready.issuperset(self.outputs) or not ready <= set(range(len(self.tensors))):
            raise ValueError("its inputs or outputs do not exist")

    def _check_scales(self, position: int, tensors: list[_RawTensor]) -> None:
        quantized = [tensor for tensor in tensors if tensor.type in ("INT8", "UINT8")]
        if len({len(tensor.scales) > 0 for tensor in quantized}) > 1:
            raise ValueError(f"operator {position} has tensors with and without a quantization scale")
        scales = [(float(tensor.scales[0]), tensor) for tensor in quantized if len(tensor.scales) == 1]
        largest = max((scale for scale, _ in scales), default=1.0)
        # The converter gives a constant of zeros, such as the slopes of a PReLU, a tiny scale.
        least = min((scale for scale, tensor in scales if not tensor.is_zero), default=1.0)
        if scales and largest > MAX_SCALE_RATIO * least:
            raise ValueError(f"operator {position} has quantization scales from {least:g} to {largest:g}")


class _RawModel:
    """A model file, read as far as its check needs; raises one of ``DAMAGE``."""

    def __init__(self, content: bytes) -> None:
        if content[4:8] != IDENTIFIER:
            raise ValueError(f"no {IDENTIFIER.decode()} at its start")
        self.root = Table.root(content)
        # A buffer over 2 GB lies outside of the flatbuffer and is refused by its tensors' sizes.
        self.buffers = [buffer.numbers(0, "u1") for buffer in self.root.tables(4)]
        codes = [(max(code.number(0, "b"), code.number(3, "i")), code.text(1)) for code in self.root.tables(1)]
        self.graphs = [_RawGraph(graph, self.buffers, codes) for graph in self.root.tables(2)]

    @cached_property
    def custom_operators(self) -> list[str]:
        """The names of operators that TensorFlow Lite itself does not have."""
        used = (operator for graph in self.graphs for operator in graph.operators)
        return sorted({name for code, name, *_ in used if code == CUSTOM})


def _indexes(table: Table, field: int) -> tuple[int, ...]:
    return tuple(map(int, table.numbers(field, "<i4")))


def check_model(content: bytes, source: str, *, allow_custom: bool = False) -> None:
    """Check a model file for what an interpreter crashes or hangs on; takes milliseconds.

    Args:
        content: the bytes of the file; appended metadata is ignored.
        source: how messages call the model.
        allow_custom: accept operators that are not built into TensorFlow Lite.

    Raises:
        ModelError: not a TensorFlow Lite model, a damaged one, or one that needs other operators.
    """
    _check_format(content, source)
    try:
        model = _RawModel(content)
        for graph in model.graphs:
            graph.check()
        if not model.graphs[0].inputs or not model.graphs[0].outputs:
            raise ValueError("it has no input or no output")
    except DAMAGE as error:
        raise ModelError(f"{source}: not a TensorFlow Lite model, or a damaged one ({_reason(error)})") from error
    if model.custom_operators and not allow_custom:
        names = ", ".join(model.custom_operators)
        kind = "TensorFlow" if names.startswith("Flex") else "custom"
        raise ModelError(
            f"{source}: needs the {kind} operators {names}, which TensorFlow Lite does not have; convert the model "
            "with TFLITE_BUILTINS only, or use --interpreter tensorflow"
        )


def _reason(error: Exception) -> str:
    """Return what is wrong, without the terms of the struct module."""
    return "a part of it lies outside of the file" if isinstance(error, struct.error) else str(error)


def _check_format(content: bytes, source: str) -> None:
    """Raise a ModelError for a file of another known format."""
    if other := _other_format(content):
        raise ModelError(f"{source}: {other}")


def _other_format(content: bytes) -> str | None:
    """Return what a file of another known format is and what to do with it."""
    if content.startswith(b"\x89HDF\r\n"):
        return CONVERT_KERAS.format(".h5")
    if content.startswith(b"PK\x03\x04"):
        if b"model.weights.h5" in content:
            return CONVERT_KERAS.format(".keras")
        return PYTORCH if b"/data.pkl" in content else None
    # The fields of an ONNX file: its IR version, then the producer's name or what follows it.
    if content[:1] == b"\x08" and content[1:2] <= b"\x20" and content[2:3] in b"\x12\x1a\x22\x28\x32\x3a\x42":
        return ONNX
    return None


def stated_input_range(content: bytes) -> tuple[float, float] | None:
    """Return the values that a float model expects for pixels 0 and 255, if its first operator states them.

    It does if it quantizes the input, or scales 0..255.

    Args:
        content: the bytes of a model that passed :func:`check_model`.
    """
    model = _RawModel(content)
    graph = model.graphs[0]
    code, _, inputs, outputs = next(
        (operator for operator in graph.operators if graph.inputs[0] in operator[2]), (CUSTOM, "", (), ())
    )
    if code == QUANTIZE and len(graph.tensors[outputs[0]].scales):
        tensor = graph.tensors[outputs[0]]
        (low, high), scale, zero_point = _limits(tensor.type), float(tensor.scales[0]), int(tensor.zero_points[0])
        if tensor.type == "INT16":
            # Always symmetric, so that it does not state the lower end.
            return (0.0, 255.0) if high * scale > 100 else None
        return (low - zero_point) * scale, (high - zero_point) * scale
    if code in (MUL, DIV, SUB):
        constants = [graph.tensors[index] for index in inputs if index != graph.inputs[0]]
        if constants and constants[0].type == "FLOAT32" and constants[0].constant_bytes == 4:
            value = model.root.tables(4)[constants[0].table.number(2, "I")].numbers(0, "<f4")[0]
            if abs(value) < 0.01 if code == MUL else value > 100:
                return 0.0, 255.0
    return None


def file_schema() -> Any:
    """Return the module with the file format's classes, which :mod:`ai_edge_litert` or TensorFlow brings.

    Raises:
        InterpreterError: neither is installed.
    """
    for name in SCHEMAS:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise InterpreterError("reading the operators of a model needs ai-edge-litert (pip install ai-edge-litert)")


def read_graph(content: bytes, source: str) -> Graph:
    """Read the main graph of a model; appended metadata is ignored.

    Raises:
        ModelError: not a model, or a damaged one.
        InterpreterError: no schema is installed.
    """
    _check_format(content, source)
    names = {value: name for name, value in vars(file_schema().BuiltinOperator).items() if not name.startswith("_")}
    try:
        graph = _RawModel(content).graphs[0]
        tensors = tuple(
            Tensor(
                raw.table.text(3),
                raw.type,
                raw.shape,
                raw.constant_bytes,
                float(raw.scales[0]) if len(raw.scales) == 1 else None,
                int(raw.zero_points[0]) if len(raw.zero_points) else 0,
            )
            for raw in graph.tensors
        )
        operators = tuple(
            Operator(names[code], inputs, outputs, _macs(code, inputs, outputs, tensors))
            for code, _, inputs, outputs in graph.operators
        )
        return Graph(tensors, operators, graph.inputs, graph.outputs)
    except DAMAGE as error:
        raise ModelError(f"{source}: not a TensorFlow Lite model, or a damaged one ({_reason(error)})") from error


def _macs(code: int, inputs: tuple[int, ...], outputs: tuple[int, ...], tensors: tuple[Tensor, ...]) -> int:
    """Return the multiply-accumulate operations of one operator; 0 for those without weights."""
    if code not in (CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED, TRANSPOSE_CONV):
        return 0
    weights = tensors[inputs[1]].shape
    if code == FULLY_CONNECTED:
        # For each row of an image, if it has several.
        return math.prod(tensors[outputs[0]].shape[1:-1]) * math.prod(weights)
    if code == TRANSPOSE_CONV:
        # Each input value is multiplied by a kernel for each output channel.
        return math.prod(tensors[inputs[2]].shape[1:]) * math.prod(weights[:3])
    # Each output value is a sum over the kernel, for a convolution in all input channels.
    return math.prod(tensors[outputs[0]].shape[1:]) * math.prod(weights[1:] if code == CONV_2D else weights[1:3])
