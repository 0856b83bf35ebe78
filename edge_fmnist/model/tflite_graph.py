"""What a model file is made of: operators, types, weights, multiply-accumulates.

Reads the flatbuffer with the schema that LiteRT's wheel carries (or
TensorFlow's copy of it), so no workstation is needed.
"""

from __future__ import annotations

import importlib
import math
import struct
from dataclasses import dataclass
from typing import Any

from edge_fmnist.errors import InterpreterError, ModelError

SCHEMAS = ("ai_edge_litert.schema_py_generated", "tensorflow.lite.python.schema_py_generated")
UNSUPPORTED = frozenset({"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CUSTOM"})
CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE"})
# Types that may stand inside a whole-integer network: activations and weights, biases and shapes.
INTEGER_TYPES = frozenset({"INT8", "INT32"})


@dataclass(frozen=True)
class Tensor:
    """A tensor of the file.

    Attributes:
        name: as in the file.
        type: ``INT8``, ``FLOAT32`` and so on.
        shape: as in the file; a batch size that is open is 1 or -1.
        constant_bytes: bytes of constant data; 0 for an activation.
        scale: size of one quantization step; None where not quantized, or quantized per channel.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    constant_bytes: int
    scale: float | None


@dataclass(frozen=True)
class Operator:
    """An operator: its name (``CONV_2D`` …), the tensors it reads and writes (by index), its MACs for one image."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    macs: int


@dataclass(frozen=True)
class Structure:
    """The main graph of a model file."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return sum(operator.macs for operator in self.operators)

    @property
    def output_step(self) -> float | None:
        """Size of one quantization step of the graph's output, before a last dequantization; None for a float net."""
        index = self.outputs[0]
        last = next((operator for operator in self.operators if index in operator.outputs), None)
        if last is not None and last.name == "DEQUANTIZE":
            index = last.inputs[0]
        return self.tensors[index].scale

    def unsupported_operators(self) -> list[str]:
        """Return the operators that a plain interpreter cannot run on its own: variables, TensorFlow's, custom ones."""
        return sorted({operator.name for operator in self.operators} & UNSUPPORTED)

    def is_boundary(self, operator: Operator) -> bool:
        """Tell whether an operator only converts the type of the graph's input or output."""
        return operator.name in CONVERSIONS and (
            any(index in self.inputs for index in operator.inputs)
            or any(index in self.outputs for index in operator.outputs)
        )

    def stray_operators(self) -> list[str]:
        """Return what keeps the network from being whole-integer; empty when nothing does.

        Every operator but the conversions at the graph's boundary must read and
        write int8 (int32 for biases and shapes), and none may be a conversion.
        """
        problems = []
        for operator in self.operators:
            if self.is_boundary(operator):
                continue
            if operator.name in CONVERSIONS:
                problems.append(f"{operator.name} inside the graph")
            used = (*operator.inputs, *operator.outputs)
            types = {self.tensors[index].type for index in used if index >= 0} - INTEGER_TYPES
            if types:
                problems.append(f"{operator.name} on {', '.join(sorted(types))}")
        return problems


def file_schema() -> Any:
    """Return the module of the file format's classes.

    Raises:
        InterpreterError: neither LiteRT nor TensorFlow, which carry it, is installed.
    """
    for name in SCHEMAS:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise InterpreterError("reading a model's structure needs ai-edge-litert (pip install ai-edge-litert)")


def read_structure(content: bytes, source: str) -> Structure:
    """Read the structure of a model's main graph.

    Args:
        content: the bytes of the model file; appended metadata is ignored.
        source: what messages call the model.

    Raises:
        ModelError: not a model, or a damaged one.
        InterpreterError: no schema is installed.
    """
    schema = file_schema()
    try:
        model = schema.ModelT.InitFromPackedBuf(content, 0)
        graph = model.subgraphs[0]
        types = {value: name for name, value in vars(schema.TensorType).items() if not name.startswith("_")}
        names = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
        tensors = tuple(_tensor(tensor, types, model.buffers) for tensor in graph.tensors)
        codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
        operators = tuple(
            _operator(operator, names[codes[operator.opcodeIndex]], tensors) for operator in graph.operators
        )
        return Structure(tensors, operators, tuple(map(int, graph.inputs)), tuple(map(int, graph.outputs)))
    except (struct.error, IndexError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{source}: not a TensorFlow Lite model, or a damaged one ({error})") from error


def _tensor(tensor: Any, types: dict[int, str], buffers: Any) -> Tensor:
    data = buffers[tensor.buffer].data
    shape = () if tensor.shape is None else tuple(map(int, tensor.shape))
    name = tensor.name.decode(errors="replace") if tensor.name else ""
    scales = None if tensor.quantization is None else tensor.quantization.scale
    scale = float(scales[0]) if scales is not None and len(scales) == 1 else None
    return Tensor(name, types[tensor.type], shape, 0 if data is None else len(data), scale)


def _operator(operator: Any, name: str, tensors: tuple[Tensor, ...]) -> Operator:
    inputs, outputs = tuple(map(int, operator.inputs)), tuple(map(int, operator.outputs))
    return Operator(name, inputs, outputs, _macs(name, inputs, outputs, tensors))


def _macs(name: str, inputs: tuple[int, ...], outputs: tuple[int, ...], tensors: tuple[Tensor, ...]) -> int:
    """Return the multiply-accumulates of one operator; 0 for those without weights."""
    if name == "CONV_2D":
        _, height, width, depth = tensors[inputs[1]].shape
        return math.prod(tensors[outputs[0]].shape[1:]) * height * width * depth
    if name == "DEPTHWISE_CONV_2D":
        _, height, width, _ = tensors[inputs[1]].shape
        return math.prod(tensors[outputs[0]].shape[1:]) * height * width
    if name == "FULLY_CONNECTED":
        return math.prod(tensors[inputs[1]].shape)
    return 0
