from __future__ import annotations

import copy
from typing import Any

import flatbuffers
import numpy as np
import pytest

from edge_fmnist.errors import CheckError, ModelError
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.registry import ModelBytes, read_model
from edge_fmnist.model.tflite_graph import CONV_2D, IDENTIFIER, check_model, file_schema, read_graph
from edge_fmnist_export.quantize.compact import compact
from edge_fmnist_export.quantize.int4 import CONV_2D_VERSION, int4_weights

PER_STEP = 127 / 7


def model_of(content: bytes) -> Any:
    return file_schema().ModelT.InitFromPackedBuf(content, 0)


def packed(model: Any) -> bytes:
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def kernels(model: Any) -> list[Any]:
    """Return the filter tensors of the convolutions of several channels, in order."""
    (graph,) = model.subgraphs
    convolutions = [each for each in graph.operators if model.operatorCodes[each.opcodeIndex].builtinCode == CONV_2D]
    tensors = [graph.tensors[each.inputs[1]] for each in convolutions]
    return [tensor for tensor in tensors if tensor.shape[3] > 1]


def values_of(model: Any, tensor: Any) -> np.ndarray:
    return np.asarray(model.buffers[tensor.buffer].data, np.uint8).view(np.int8)


@pytest.fixture(scope="module")
def rounded() -> bytes:
    """Return the shipped `nano` with 15 values in each channel of a kernel, still in int8."""
    model = model_of(read_model("nano").content)
    for tensor in kernels(model):
        steps = np.rint(values_of(model, tensor) / PER_STEP)
        model.buffers[tensor.buffer].data = np.rint(steps * PER_STEP).astype(np.int8).view(np.uint8)
    return packed(model)


@pytest.fixture(scope="module")
def reduced(rounded: bytes) -> bytes:
    return int4_weights(rounded)


def test_a_network_without_such_a_convolution(rounded: bytes) -> None:
    model = model_of(rounded)
    for code in model.operatorCodes:
        if code.builtinCode == CONV_2D:
            code.builtinCode = file_schema().BuiltinOperator.RELU
    with pytest.raises(CheckError, match="no convolution of more than one channel"):
        int4_weights(packed(model))


def outputs(content: bytes) -> np.ndarray:
    images = np.random.default_rng(1).integers(0, 256, (64, 28, 28), dtype=np.uint8)
    return Classifier(ModelBytes(content, "test")).outputs(images)[0].astype(int)


def test_two_weights_share_a_byte(rounded: bytes, reduced: bytes) -> None:
    before, after = model_of(rounded), model_of(reduced)
    for ours, theirs in zip(kernels(after), kernels(before), strict=True):
        steps = np.rint(values_of(before, theirs) / PER_STEP).astype(int)
        pairs = np.asarray(after.buffers[ours.buffer].data, np.uint8)
        unpacked = np.stack([pairs & 15, pairs >> 4], 1).reshape(-1).astype(int)
        np.testing.assert_array_equal(np.where(unpacked > 7, unpacked - 16, unpacked)[: len(steps)], steps)
        np.testing.assert_allclose(ours.quantization.scale, theirs.quantization.scale * PER_STEP, rtol=1e-6)
    saved = sum(len(values_of(before, tensor)) for tensor in kernels(before)) // 2
    assert len(compact(rounded)) - len(reduced) == pytest.approx(saved, rel=0.05)
    assert {code.version for code in after.operatorCodes if code.builtinCode == CONV_2D} == {CONV_2D_VERSION}


def test_answers_stay_but_for_rounding(rounded: bytes, reduced: bytes) -> None:
    before, after = outputs(rounded), outputs(reduced)
    difference = np.abs(before - after)
    assert difference.mean() < 0.05 * before.std()
    assert difference.max() < 0.25 * before.std()


def test_a_kernel_that_is_used_twice_has_two_biases(rounded: bytes) -> None:
    model = model_of(rounded)
    (graph,) = model.subgraphs
    names = [model.operatorCodes[each.opcodeIndex].builtinCode for each in graph.operators]
    second = names.index(CONV_2D, names.index(CONV_2D) + 1)
    twin = copy.deepcopy(graph.operators[second])
    graph.tensors.append(copy.deepcopy(graph.tensors[twin.inputs[2]]))
    twin.inputs = np.array([*twin.inputs[:2], len(graph.tensors) - 1], np.int32)
    graph.operators.insert(second, twin)
    (after,) = model_of(int4_weights(packed(model))).subgraphs
    first, other = (after.tensors[each.inputs[2]] for each in after.operators[second : second + 2])
    np.testing.assert_array_equal(first.quantization.scale, other.quantization.scale)


def test_the_file_passes_all_checks(reduced: bytes) -> None:
    check_model(reduced, "reduced")
    graph = read_graph(reduced, "reduced")
    assert [tensor.type for tensor in graph.tensors].count("INT4") == len(kernels(model_of(reduced)))
    assert (graph.stray_operators(), graph.unsupported_operators()) == ([], [])
    assert graph.macs == read_graph(read_model("nano").content, "nano").macs


def test_a_tensor_of_four_bits_with_too_few_bytes_is_damage(reduced: bytes) -> None:
    model = model_of(reduced)
    tensor = kernels(model)[0]
    buffer = file_schema().BufferT()
    buffer.data = np.asarray(model.buffers[tensor.buffer].data, np.uint8)[:-16]
    model.buffers.append(buffer)
    tensor.buffer = len(model.buffers) - 1
    with pytest.raises(ModelError, match=r"holds \d+ bytes instead of \d+"):
        check_model(packed(model), "cut")
