"""What the converted files of untrained networks consist of."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_fmnist.model.metadata import embed
from edge_fmnist.model.tflite_graph import Graph, read_graph
from edge_fmnist_export import architectures

pytestmark = pytest.mark.slow

# Output height x width x filters x kernel height x width x depth, layer by layer.
EDGE = [
    28**2 * 32 * 3**2,
    *(14**2 * 40 * 3**2 * 32, 14**2 * 40 * 3**2 * 40, 14**2 * 40 * 32),
    *(14**2 * 40 * 3**2 * 40, 14**2 * 40 * 3**2 * 40),
    *(7**2 * 60 * 3**2 * 40, 7**2 * 60 * 3**2 * 60, 7**2 * 60 * 40),
    60 * 10,
]


def convert(name: str, *kinds: str) -> dict[str, bytes]:
    """Return the converted files of an untrained network, by format."""
    from edge_fmnist_export.quantize.convert import convert_float, convert_qat
    from edge_fmnist_export.training import backend, qat
    from edge_fmnist_export.training.batches import Subset
    from edge_fmnist_export.training.weights import read_variables

    model = architectures.build(name, backend.keras_on_tensorflow())
    images = np.random.default_rng(0).integers(0, 256, (64, 28, 28), dtype=np.uint8)
    found = {}
    for kind in kinds:
        if kind == "int8":
            calibration = Subset(images, np.zeros(64, np.uint8))
            quantized = qat.quantization_aware(name, read_variables(model.weights), calibration)
            found[kind] = convert_qat(quantized, "uint8")
        else:
            found[kind] = convert_float(model, kind)  # type: ignore[arg-type]
    return found


@pytest.fixture(scope="module")
def edge(make_once: Callable[..., Path]) -> dict[str, bytes]:
    def make(folder: Path) -> None:
        folder.mkdir()
        for kind, content in convert("edge", "float32", "float16", "dynamic", "int8").items():
            (folder / kind).write_bytes(content)

    return {path.name: path.read_bytes() for path in make_once("untrained-edge", make).iterdir()}


@pytest.fixture(scope="module")
def structures(edge: dict[str, bytes]) -> dict[str, Graph]:
    return {kind: read_graph(content, kind) for kind, content in edge.items()}


def test_macs(structures: dict[str, Graph]) -> None:
    assert {graph.macs for graph in structures.values()} == {sum(EDGE)}
    counted = [operator.macs for operator in structures["float32"].operators if operator.macs]
    assert sorted(counted) == sorted(EDGE)


def assert_integer(graph: Graph) -> None:
    assert graph.stray_operators() == []
    assert graph.unsupported_operators() == []
    assert [graph.tensors[index].type for index in (*graph.inputs, *graph.outputs)] == ["UINT8"] * 2


def test_int8(structures: dict[str, Graph]) -> None:
    assert_integer(structures["int8"])
    assert structures["int8"].output_step is not None
    # Batch normalization and ReLU are folded.
    names = {operator.name for operator in structures["int8"].operators}
    assert names == {"QUANTIZE", "CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED"}


@pytest.mark.parametrize("name", architectures.names())
def test_every_architecture(name: str, edge: dict[str, bytes]) -> None:
    graph = read_graph((edge if name == "edge" else convert(name, "int8"))["int8"], name)
    assert_integer(graph)
    assert f"{graph.macs:,}" in re.findall(r"[\d,]+\d", str(architectures.builder(name).__doc__))


@pytest.mark.parametrize("kind", ["float32", "float16", "dynamic"])
def test_float_operators_are_found(structures: dict[str, Graph], kind: str) -> None:
    assert any("CONV_2D on FLOAT32" in problem for problem in structures[kind].stray_operators())
    assert structures[kind].unsupported_operators() == []
    assert structures[kind].output_step is None


def test_metadata_does_not_change_the_structure(edge: dict[str, bytes], structures: dict[str, Graph]) -> None:
    described = embed(edge["int8"], {"output": "logits"}, tuple("abcdefghij"))
    assert read_graph(described, "described") == structures["int8"]
