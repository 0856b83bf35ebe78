"""Replace the last layer of an int8 ``.tflite`` file, or cut it off.

What changes size is appended to the flatbuffer and the offsets in its tables are set to it; offsets point forward, so
that works for any file. The former values stay as a few hundred unused bytes. TensorFlow Lite's own schema is not
needed: tflite-runtime does not have it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from edge_fmnist.errors import ModelError
from edge_fmnist.model.flatbuffer import DAMAGE, Table
from edge_fmnist.model.tflite_graph import DEQUANTIZE, FULLY_CONNECTED, QUANTIZE, TYPES

# Fields of the schema's tables.
BUFFERS, SUBGRAPHS, OPERATOR_CODES, SIGNATURES = 4, 2, 1, 7
TENSORS, OUTPUTS, OPERATORS = 0, 2, 3
SHAPE, TYPE, BUFFER, QUANTIZATION, SHAPE_SIGNATURE = 0, 1, 2, 4, 7
MINIMUM, MAXIMUM, SCALE, ZERO_POINT = 0, 1, 2, 3
# Alignment that kernels expect of constants.
ALIGNMENT = 16
# Outputs beyond the range of the photographs, as a share of it.
HEADROOM = 0.1
INT8_STEPS = 255
# Avoids a scale of 0 where all weights are 0.
TINY = 1e-9


@dataclass(frozen=True)
class Head:
    """The last layer of a model: a fully connected one with a bias.

    Attributes:
        content: the flatbuffer, without metadata.
        source: how messages call the model.
        operator: position of the layer among the operators.
        features: index of its input tensor.
        weights: index of its weights.
        bias: index of its bias.
        outputs: indexes of the tensors after it: its own output, and that of a last conversion of the type.
    """

    content: bytes
    source: str
    operator: int
    features: int
    weights: int
    bias: int
    outputs: tuple[int, ...]

    def tensor(self, index: int) -> Table:
        """Return the table of a tensor."""
        return Table.root(self.content).tables(SUBGRAPHS)[0].tables(TENSORS)[index]

    @property
    def size(self) -> int:
        """Number of features."""
        return int(self.tensor(self.weights).numbers(SHAPE, "<i4")[1])

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.tensor(self.weights).numbers(SHAPE, "<i4")[0])

    def values(self) -> tuple[np.ndarray, np.ndarray]:
        """Return weights, float32, shape (classes, features), and bias, float32, shape (classes,), as real numbers."""
        buffers = Table.root(self.content).tables(BUFFERS)
        weights, bias = self.tensor(self.weights), self.tensor(self.bias)
        raw, raw_bias = (buffers[tensor.number(BUFFER, "I")].numbers(0, "u1").tobytes() for tensor in (weights, bias))
        steps = np.frombuffer(raw_bias, "<i4")
        quantized = np.frombuffer(raw, "i1").reshape(weights.numbers(SHAPE, "<i4"))
        return quantized * _scales(weights)[:, None], steps * _scales(bias)


def find_head(content: bytes, source: str) -> Head:
    """Return the last layer of a model.

    Args:
        content: the bytes of a model that an interpreter has accepted, without metadata.
        source: how messages call the model.

    Raises:
        ModelError: the model does not end in a fully connected int8 layer with a bias, and perhaps a conversion of its
            output's type.
    """
    try:
        root = Table.root(content)
        graph = root.tables(SUBGRAPHS)[0]
        codes = [max(code.number(0, "b"), code.number(3, "i")) for code in root.tables(OPERATOR_CODES)]
        operators, outputs = graph.tables(OPERATORS), []
        position = len(operators) - 1
        if codes[operators[position].number(0, "I")] in (QUANTIZE, DEQUANTIZE):
            outputs = [int(operators[position].numbers(2, "<i4")[0])]
            position -= 1
        layer = operators[position]
        features, weights, bias = map(int, layer.numbers(1, "<i4"))
        outputs = [int(layer.numbers(2, "<i4")[0]), *outputs]
        options = layer.table(4)
        if (
            codes[layer.number(0, "I")] != FULLY_CONNECTED
            or bias < 0
            or (options is not None and options.number(0, "b"))
            or outputs[-1] != int(graph.numbers(OUTPUTS, "<i4")[0])
        ):
            raise ValueError
        head = Head(content, source, position, features, weights, bias, tuple(outputs))
        _check(head, graph.tables(TENSORS))
    except DAMAGE as error:
        raise ModelError(
            f"{source}: expected a model that ends in an int8 fully connected layer with a bias, as those of "
            "`edge-fmnist export --int8` do; only such a layer can be replaced"
        ) from error
    return head


def _check(head: Head, tensors: list[Table]) -> None:
    """Raise ``ValueError`` if a tensor of the head is not int8, or shares what will be changed with another tensor."""
    for index in (head.features, head.weights, head.outputs[0]):
        if TYPES[tensors[index].number(TYPE, "B")][0] != "INT8":
            raise ValueError
    for index in (head.weights, head.bias, *head.outputs):
        buffer, quantization = tensors[index].number(BUFFER, "I"), tensors[index].target(QUANTIZATION)
        for other, tensor in enumerate(tensors):
            shared = index in (head.weights, head.bias) and tensor.number(BUFFER, "I") == buffer
            if other != index and (shared or (quantization and tensor.target(QUANTIZATION) == quantization)):
                raise ValueError


def without_head(head: Head) -> bytes:
    """Return the flatbuffer of the network whose output is the input of the last layer: int8, shape (1, features)."""
    file = _File(head.content)
    graph = Table.root(head.content).tables(SUBGRAPHS)[0]
    file.put("<I", graph.target(OPERATORS), head.operator)
    file.put("<i", graph.target(OUTPUTS) + 4, head.features)
    # Signatures name the former output.
    if signatures := Table.root(head.content).target(SIGNATURES):
        file.put("<I", signatures, 0)
    return bytes(file.content)


def with_head(head: Head, weights: np.ndarray, bias: np.ndarray, features: np.ndarray) -> bytes:
    """Return the flatbuffer with another last layer, quantized as the former one was.

    Args:
        head: the former layer.
        weights: float, shape (classes, features).
        bias: float, shape (classes,).
        features: what the layer will be given, float, shape (N, features): sets the range of its output.
    """
    file, root, classes = _File(head.content), Table.root(head.content), len(bias)
    per_channel = len(_scales(head.tensor(head.weights))) > 1
    largest = np.abs(weights).max(axis=1 if per_channel else None).reshape(-1)
    scales = np.maximum(largest, TINY) / 127
    bias_scales = scales * _scales(head.tensor(head.features))[0]
    file.constant(root, head.tensor(head.weights), np.round(weights / scales[:, None]).astype("i1"))
    file.quantization(head.tensor(head.weights), scales, np.zeros(len(scales)))
    # Of an int32, so far beyond any real value that it cannot overflow the sum.
    steps = np.clip(np.round(bias / bias_scales), -(2**30), 2**30)
    file.constant(root, head.tensor(head.bias), steps.astype("<i4"))
    file.quantization(head.tensor(head.bias), bias_scales, np.zeros(len(scales)))
    logits = features @ weights.T + bias
    low, high = min(0.0, float(logits.min())), max(0.0, float(logits.max()))
    margin = HEADROOM * max(high - low, TINY)
    low, high = low - margin, high + margin
    scale = (high - low) / INT8_STEPS
    zero_point = round(-low / scale) - 128
    for index in head.outputs:
        tensor = head.tensor(index)
        file.shape(tensor, (1, classes))
        if tensor.target(QUANTIZATION) and len(_scales(tensor)):
            unsigned = TYPES[tensor.number(TYPE, "B")][0] == "UINT8"
            file.quantization(tensor, np.array([scale]), np.array([zero_point + 128 * unsigned]))
    return bytes(file.content)


def _scales(tensor: Table) -> np.ndarray:
    """Return the scales of a quantized tensor: one, or one for each channel."""
    quantization = tensor.table(QUANTIZATION)
    if quantization is None:
        raise ValueError("no quantization")
    return quantization.numbers(SCALE, "<f4")


class _File:
    """A flatbuffer that is changed in place and appended to."""

    def __init__(self, content: bytes) -> None:
        self.content = bytearray(content)

    def put(self, kind: str, position: int, value: int) -> None:
        """Write a number."""
        struct.pack_into(kind, self.content, position, value)

    def vector(self, table: Table, field: int, values: np.ndarray) -> None:
        """Set a field that the table already has to a new vector."""
        # The values follow their number.
        self.content += bytes(-(len(self.content) + 4) % ALIGNMENT)
        place, start = table.place(field), len(self.content)
        if not place:
            raise ValueError(f"field {field} is absent")
        self.content += struct.pack("<I", values.size) + values.tobytes()
        self.put("<I", place, start - place)

    def shape(self, tensor: Table, shape: tuple[int, ...]) -> None:
        """Set the shape of a tensor; an open batch size stays open."""
        self.vector(tensor, SHAPE, np.array(shape, "<i4"))
        if len(signature := tensor.numbers(SHAPE_SIGNATURE, "<i4")):
            self.vector(tensor, SHAPE_SIGNATURE, np.array([signature[0], *shape[1:]], "<i4"))

    def constant(self, root: Table, tensor: Table, values: np.ndarray) -> None:
        """Set shape and value of a constant tensor."""
        self.shape(tensor, values.shape)
        buffer = root.tables(BUFFERS)[tensor.number(BUFFER, "I")]
        self.vector(buffer, 0, np.frombuffer(values.tobytes(), "u1"))

    def quantization(self, tensor: Table, scales: np.ndarray, zero_points: np.ndarray) -> None:
        """Set the quantization of a tensor, and forget the range that it was calibrated on."""
        table = tensor.table(QUANTIZATION)
        if table is None:
            raise ValueError("no quantization")
        self.vector(table, SCALE, scales.astype("<f4"))
        self.vector(table, ZERO_POINT, zero_points.astype("<i8"))
        for field in (MINIMUM, MAXIMUM):
            if table.place(field):
                self.vector(table, field, np.empty(0, "<f4"))
