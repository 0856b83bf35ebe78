"""Make a converted ``.tflite`` file smaller without changing its results.

The converter writes equal vectors repeatedly (such as a zero point of eight bytes for each channel of each filter and
bias, all zero), names each tensor after its layers, and writes a buffer for each tensor without data. A flatbuffer
refers to its parts by offset, so equal parts can be shared.

The schema: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np

from edge_fmnist.model.tflite_graph import IDENTIFIER, file_schema

# Alignment of a buffer's data in the schema: kernels read weights in place.
BUFFER_ALIGNMENT = 16
# The converter's metadata about itself, which no interpreter reads.
CONVERTER_NOTES = frozenset({b"min_runtime_version", b"CONVERSION_METADATA"})


class SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """A builder that writes equal vectors once, and aligns vectors of bytes as the schema requires of buffers."""

    def __init__(self) -> None:
        super().__init__(1 << 16)
        self._offsets: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: np.ndarray) -> int:  # noqa: N802 - called by the schema's classes
        """Return the offset of a vector with these values, shape (N,), writing it if it is new."""
        key = (x.dtype.str, x.tobytes())
        if key not in self._offsets:
            if x.dtype == np.uint8:
                # flatbuffers for Python ignores the schema's force_align.
                self.Prep(BUFFER_ALIGNMENT, x.nbytes)
            self._offsets[key] = super().CreateNumpyVector(x)
        return self._offsets[key]


class _PackedOnce:
    """A table that is written once and referred to by several others."""

    def __init__(self, table: Any) -> None:
        self._table, self._offset = table, 0

    def Pack(self, builder: Any) -> int:  # noqa: N802 - called by the schema's classes
        # No table is at offset 0.
        self._offset = self._offset or self._table.Pack(builder)
        return self._offset


def compact(content: bytes) -> bytes:
    """Return a smaller model file with the same results, bit for bit.

    Removes repeated vectors and tables, buffers without data, unused operator codes, calibration ranges, the
    converter's metadata, and names and dynamic shapes of inner tensors. Keeps weights, scales, zero points,
    signatures, and the properties of inputs and outputs.

    Appended data, such as metadata, is dropped.

    Raises:
        InterpreterError: no schema of the file format is installed.
    """
    return compact_model(file_schema().ModelT.InitFromPackedBuf(content, 0))


def compact_model(model: Any) -> bytes:
    """Return the file of an unpacked model (``ModelT`` of the schema), made smaller as by :func:`compact`."""
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
    """Keep one buffer of each content; the first is empty, as the schema requires."""
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
    """Drop names and dynamic shapes of inner tensors, which interpreters do not use."""
    for graph in model.subgraphs:
        ends = {*graph.inputs, *graph.outputs}
        for index, tensor in enumerate(graph.tensors):
            if index not in ends:
                tensor.name = tensor.shapeSignature = None


def _share_tables(model: Any) -> None:
    """Share equal quantizations, and equal options of operators."""
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
    """Return a key that is equal for tables of the same type and content."""
    values = {
        name: (value.dtype.str, value.tobytes()) if isinstance(value, np.ndarray) else repr(value)
        for name, value in vars(table).items()
    }
    return type(table), tuple(values.items())


def _tensors(model: Any) -> list[Any]:
    return [tensor for graph in model.subgraphs for tensor in graph.tensors]
