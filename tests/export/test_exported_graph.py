"""What the converted files of networks consist of."""

from __future__ import annotations

import numpy as np
import pytest

from edge_fmnist.model.metadata import embed, without_metadata
from edge_fmnist.model.registry import read_model
from edge_fmnist.model.tflite_graph import Graph, read_graph
from edge_fmnist_export import architectures
from edge_fmnist_export.quantize.convert import convert_qat
from edge_fmnist_export.training import backend, qat
from edge_fmnist_export.training.batches import Subset
from edge_fmnist_export.training.weights import read_variables

# Output height x width x filters x kernel height x width x depth, layer by layer.
EDGE = [
    28**2 * 32 * 3**2,
    *(14**2 * 40 * 3**2 * 32, 14**2 * 40 * 3**2 * 40, 14**2 * 40 * 32),
    *(14**2 * 40 * 3**2 * 40, 14**2 * 40 * 3**2 * 40),
    *(7**2 * 60 * 3**2 * 40, 7**2 * 60 * 3**2 * 60, 7**2 * 60 * 40),
    60 * 10,
]


@pytest.fixture
def edge() -> bytes:
    """Return the shipped model without its metadata."""
    return without_metadata(read_model("edge").content)


def test_macs(edge: bytes) -> None:
    graph = read_graph(edge, "edge")
    assert graph.macs == sum(EDGE)
    assert sorted(operator.macs for operator in graph.operators if operator.macs) == sorted(EDGE)


def test_metadata_does_not_change_the_structure(edge: bytes) -> None:
    described = embed(edge, {"output": "logits"}, tuple("abcdefghij"))
    assert read_graph(described, "described") == read_graph(edge, "edge")


def converted(name: str) -> Graph:
    """Return the graph of an untrained network that was made quantization-aware and converted to int8."""
    model = architectures.build(name, backend.keras_on_tensorflow())
    images = np.random.default_rng(0).integers(0, 256, (64, 28, 28), dtype=np.uint8)
    calibration = Subset(images, np.zeros(64, np.uint8))
    quantized = qat.quantization_aware(name, read_variables(model.weights), calibration)
    return read_graph(convert_qat(quantized, "uint8"), name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "operators"),
    [
        # Batch normalization and ReLU are folded into convolutions, and dropout is gone.
        ("resnet:4/2;4,6/2", {"QUANTIZE", "CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED"}),
        ("cnn-dropout", {"QUANTIZE", "CONV_2D", "MAX_POOL_2D", "RESHAPE", "FULLY_CONNECTED"}),
    ],
)
def test_a_quantized_network_is_all_integer(name: str, operators: set[str]) -> None:
    graph = converted(name)
    assert {operator.name for operator in graph.operators} == operators
    assert graph.stray_operators() == []
    assert graph.unsupported_operators() == []
    assert [graph.tensors[index].type for index in (*graph.inputs, *graph.outputs)] == ["UINT8"] * 2
    assert graph.output_step is not None


@pytest.mark.slow
def test_a_constant_channel_keeps_its_bias() -> None:
    name = "resnet:4;4/2"
    keras = backend.keras_on_tensorflow()
    keras.utils.set_random_seed(0)
    weights = read_variables(architectures.build(name, keras).weights)
    # The first channel of the stem: kernel, scale, offset, mean, variance.
    for array, value in zip(weights[:5], (1e-9, 1e-3, 3, 0, 1e-9), strict=True):
        array[..., 0] = value
    images = np.random.default_rng(0).integers(0, 256, (64, 28, 28), dtype=np.uint8)
    quantized = qat.quantization_aware(name, weights, Subset(images, np.zeros(64, np.uint8)))
    largest = np.abs(weights[0]).max(axis=(0, 1, 2))
    for kind, sign in (("min", -1), ("max", 1)):
        # Of the stem, as training would leave it.
        next(each for each in quantized.weights if each.name.endswith(f"/kernel_{kind}:0")).assign(sign * largest)
    content = convert_qat(qat.restored(name, read_variables(quantized.weights)), "uint8")
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(model_content=content)
    interpreter.allocate_tensors()
    stored = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    stem = next(each for each in interpreter._get_ops_details() if each["op_name"] == "CONV_2D")
    bias = stored[stem["inputs"][2]]
    steps, scales = interpreter.get_tensor(bias["index"]), bias["quantization_parameters"]["scales"]
    assert steps[0] * scales[0] == pytest.approx(3, rel=1e-3)
