from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray

from edge_fmnist.model import interpreter
from edge_fmnist.model.flatbuffer import Table
from edge_fmnist.model.registry import read_model
from edge_fmnist.model.tflite_graph import file_schema, read_graph
from edge_fmnist_export.quantize.compact import compact


def model_of(content: bytes) -> Any:
    return file_schema().ModelT.InitFromPackedBuf(content, 0)


def as_converted(content: bytes) -> bytes:
    """Return a model with everything that the converter writes, and nothing shared."""
    schema, model = file_schema(), model_of(content)
    (graph,) = model.subgraphs
    model.description = "MLIR Converted."
    buffers = [schema.BufferT()]
    for index, tensor in enumerate(graph.tensors):
        tensor.name = tensor.name or f"model/layer_{index}/Relu;model/layer_{index}/Conv2D"
        if model.buffers[tensor.buffer].data is None:
            tensor.shapeSignature = np.array([-1, *tensor.shape[1:]], np.int32)
        tensor.quantization.min, tensor.quantization.max = [-1.0], [1.0]
        buffers.append(model.buffers[tensor.buffer])
        tensor.buffer = len(buffers) - 1
    note = schema.BufferT()
    note.data = np.frombuffer(b"2.3.0\0\0\0", np.uint8)
    model.buffers = [*buffers, note]
    note_entry = schema.MetadataT()
    note_entry.name, note_entry.buffer = "min_runtime_version", len(buffers)
    model.metadata = [note_entry]
    unused = schema.OperatorCodeT()
    unused.builtinCode = unused.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    model.operatorCodes = [unused, *model.operatorCodes]
    for operator in graph.operators:
        operator.opcodeIndex += 1
    return bytes(convert_object_to_bytearray(model))


@pytest.fixture(scope="module")
def converted() -> bytes:
    """Return the shipped model as large as a converter writes it."""
    return as_converted(read_model("edge").content)


@pytest.fixture(scope="module")
def smaller(converted: bytes) -> bytes:
    return compact(converted)


def outputs(content: bytes, batch: int) -> np.ndarray:
    images = np.random.default_rng(1).integers(0, 256, (96, 28, 28, 1), dtype=np.uint8)
    runner, given, taken = interpreter.create(content, name="ai-edge-litert", threads=1, batch=batch, source="test")
    results = []
    for start in range(0, len(images), batch):
        runner.set_tensor(given["index"], images[start : start + batch])
        runner.invoke()
        results.append(runner.get_tensor(taken["index"]))
    return np.concatenate(results)


def test_the_file_is_5_percent_smaller(converted: bytes, smaller: bytes) -> None:
    assert len(smaller) < 0.95 * len(converted)


@pytest.mark.parametrize("batch", [1, 32])
def test_answers_are_the_same_bit_for_bit(converted: bytes, smaller: bytes, batch: int) -> None:
    before, after = outputs(converted, 1), outputs(smaller, batch)
    assert len(np.unique(before, axis=0)) > 1
    np.testing.assert_array_equal(after, before)


def test_xnnpack_takes_as_much_of_the_graph(converted: bytes, smaller: bytes) -> None:
    def delegated(content: bytes) -> list[str]:
        runner = interpreter.create(content, name="ai-edge-litert", threads=1, batch=1, source="test").interpreter
        return [details["op_name"] for details in runner._get_ops_details()]

    assert delegated(smaller) == delegated(converted)
    assert delegated(smaller)[-1] == "DELEGATE"


def test_graph_weights_and_quantization_stay(converted: bytes, smaller: bytes) -> None:
    before, after = model_of(converted), model_of(smaller)
    structures = read_graph(converted, "before"), read_graph(smaller, "after")
    assert structures[0].operators == structures[1].operators
    assert (structures[0].inputs, structures[0].outputs) == (structures[1].inputs, structures[1].outputs)
    for old, new in zip(before.subgraphs[0].tensors, after.subgraphs[0].tensors, strict=True):
        assert (new.type, list(new.shape)) == (old.type, list(old.shape))
        np.testing.assert_array_equal(new.quantization.scale, old.quantization.scale)
        np.testing.assert_array_equal(new.quantization.zeroPoint, old.quantization.zeroPoint)
        np.testing.assert_array_equal(after.buffers[new.buffer].data, before.buffers[old.buffer].data)
    for old, new in zip(before.subgraphs[0].operators, after.subgraphs[0].operators, strict=True):
        assert new.builtinOptionsType == old.builtinOptionsType
        if old.builtinOptions is not None:
            assert vars(new.builtinOptions) == vars(old.builtinOptions)


def test_signature_and_names_of_input_and_output_stay(converted: bytes, smaller: bytes) -> None:
    def ends(content: bytes) -> Any:
        runner, given, taken = interpreter.create(content, name="ai-edge-litert", threads=1, batch=1, source="test")
        return runner.get_signature_list(), given["name"], taken["name"], given["shape_signature"].tolist()

    assert ends(smaller) == ends(converted)
    assert ends(smaller)[0]


def test_data_that_no_interpreter_reads_is_removed(smaller: bytes) -> None:
    model = model_of(smaller)
    (graph,) = model.subgraphs
    named = {index for index, tensor in enumerate(graph.tensors) if tensor.name}
    assert named == {*graph.inputs, *graph.outputs}
    assert (model.description, model.metadata) == (None, None)
    assert {operator.opcodeIndex for operator in graph.operators} == set(range(len(model.operatorCodes)))
    data = [buffer.data.tobytes() if buffer.data is not None else b"" for buffer in model.buffers]
    assert data[0] == b""
    assert len(set(data)) == len(data)


def test_tensors_that_share_data_keep_their_own_quantization() -> None:
    model = model_of(read_model("edge").content)
    (graph,) = model.subgraphs
    scaled = [tensor for tensor in graph.tensors if tensor.quantization and tensor.quantization.scale is not None]
    channels = [tensor for tensor in scaled if len(tensor.quantization.scale) > 1]
    pairs = itertools.combinations(channels, 2)
    first, second = next(pair for pair in pairs if list(pair[0].shape) == list(pair[1].shape))
    model.buffers[second.buffer].data = model.buffers[first.buffer].data.copy()
    places = [graph.tensors.index(first), graph.tensors.index(second)]
    after = model_of(compact(bytes(convert_object_to_bytearray(model)))).subgraphs[0].tensors
    assert after[places[0]].buffer == after[places[1]].buffer
    for place, tensor in zip(places, (first, second), strict=True):
        np.testing.assert_array_equal(after[place].quantization.scale, tensor.quantization.scale)


def test_weights_are_aligned_as_the_schema_requires(smaller: bytes) -> None:
    # Kernels read them in place.
    buffers = Table.root(smaller).tables(4)
    places = [buffer.target(0) + 4 for buffer in buffers if len(buffer.numbers(0, "u1"))]
    assert len(places) > 10
    assert {place % 16 for place in places} == {0}
