"""Make a converted ``.tflite`` file smaller without changing what it computes.

A small int8 network's file holds much beside its weights: the converter writes
the same vectors again and again (above all a zero point of eight bytes for
each channel of each filter and bias, all zero), names each tensor after the
layers it came from, and leaves a buffer for each tensor that has no data. A
flatbuffer refers to its parts by offset, so one copy can serve many.

What each part of the file means: the schema's comments,
https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np

from edge_fmnist.model.tflite_graph import file_schema

IDENTIFIER = b"TFL3"
# Of a buffer's data, as the schema asks: kernels read weights in place.
BUFFER_ALIGNMENT = 16
# What the converter says of itself; no interpreter reads it, and our own metadata says more.
CONVERTER_NOTES = frozenset({b"min_runtime_version", b"CONVERSION_METADATA"})


class SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """A builder that writes equal vectors once, and aligns those of bytes as the schema asks of buffers."""

    def __init__(self) -> None:
        super().__init__(1 << 16)
        self._offsets: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: np.ndarray) -> int:  # noqa: N802 - the name that the schema's classes call
        """Return the offset of a vector of these values, shape (N,), written now or before."""
        key = (x.dtype.str, x.tobytes())
        if key not in self._offsets:
            if x.dtype == np.uint8:
                # Python's flatbuffers leave out the schema's force_align.
                self.Prep(BUFFER_ALIGNMENT, x.nbytes)
            self._offsets[key] = super().CreateNumpyVector(x)
        return self._offsets[key]


class _PackedOnce:
    """Stands for a table of the file that several others refer to."""

    def __init__(self, table: Any) -> None:
        self._table, self._offset = table, 0

    def Pack(self, builder: Any) -> int:  # noqa: N802 - the name that the schema's classes call
        # No table is at offset 0.
        self._offset = self._offset or self._table.Pack(builder)
        return self._offset


def compact(content: bytes) -> bytes:
    """Return a smaller model file that computes the same, bit for bit.

    Gone are repeated vectors and tables, buffers without data, unused operator
    codes, the ranges that calibration saw, the converter's notes on itself,
    and the names and open shapes of tensors inside the graph. Weights, scales
    and zero points, signatures, and all that is said of inputs and outputs
    stay.

    Args:
        content: the bytes of a model; what is appended to them is not carried over.

    Raises:
        InterpreterError: no schema of the file format is installed.
    """
    model = file_schema().ModelT.InitFromPackedBuf(content, 0)
    model.description = None
    model.metadata = [entry for entry in model.metadata or [] if entry.name not in CONVERTER_NOTES] or None
    _share_buffers(model)
    _drop_unused_codes(model)
    _drop_inner_names(model)
    _share_tables(model)
    builder = SharingBuilder()
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _share_buffers(model: Any) -> None:
    """Keep one buffer of each content; the first, as the schema asks, is the empty one."""
    kept, places = [file_schema().BufferT()], {b"": 0}
    for user in [*_tensors(model), *(model.metadata or [])]:
        buffer = model.buffers[user.buffer]
        data = b"" if buffer.data is None else buffer.data.tobytes()
        if data not in places:
            places[data] = len(kept)
            kept.append(buffer)
        user.buffer = places[data]
    model.buffers = kept


def _drop_unused_codes(model: Any) -> None:
    operators = [operator for graph in model.subgraphs for operator in graph.operators]
    used = sorted({operator.opcodeIndex for operator in operators})
    for operator in operators:
        operator.opcodeIndex = used.index(operator.opcodeIndex)
    model.operatorCodes = [model.operatorCodes[index] for index in used]


def _drop_inner_names(model: Any) -> None:
    """Drop what only inputs and outputs are asked for: an interpreter works out inner shapes itself."""
    for graph in model.subgraphs:
        ends = {*graph.inputs, *graph.outputs}
        for index, tensor in enumerate(graph.tensors):
            if index not in ends:
                tensor.name = tensor.shapeSignature = None


def _share_tables(model: Any) -> None:
    """Let equal quantizations, and equal options of operators, be one table."""
    known: dict[object, _PackedOnce] = {}
    for tensor in _tensors(model):
        if tensor.quantization is not None:
            tensor.quantization.min = tensor.quantization.max = None
            tensor.quantization = known.setdefault(_key(tensor.quantization), _PackedOnce(tensor.quantization))
    for operator in (operator for graph in model.subgraphs for operator in graph.operators):
        if operator.builtinOptions is not None:
            options = operator.builtinOptions
            operator.builtinOptions = known.setdefault(_key(options), _PackedOnce(options))


def _key(table: Any) -> object:
    """Return what two tables of the same type and content have in common, and no others do."""
    values = {
        name: (value.dtype.str, value.tobytes()) if isinstance(value, np.ndarray) else repr(value)
        for name, value in vars(table).items()
    }
    return type(table), tuple(values.items())


def _tensors(model: Any) -> list[Any]:
    return [tensor for graph in model.subgraphs for tensor in graph.tensors]
