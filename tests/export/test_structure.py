from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_fmnist.errors import ModelError
from edge_fmnist.model.metadata import embed
from edge_fmnist.model.tflite_graph import Structure, read_structure
from edge_fmnist_export import architectures

# Output height x width x filters x kernel height x width x depth, layer by layer.
LENET5 = [28**2 * 6 * 5**2, 10**2 * 16 * 5**2 * 6, 400 * 120, 120 * 64, 64 * 10]
EDGE = [
    28**2 * 32 * 3**2,
    *(14**2 * 40 * 3**2 * 32, 14**2 * 40 * 3**2 * 40, 14**2 * 40 * 32),
    *(14**2 * 40 * 3**2 * 40, 14**2 * 40 * 3**2 * 40),
    *(7**2 * 60 * 3**2 * 40, 7**2 * 60 * 3**2 * 60, 7**2 * 60 * 40),
    60 * 10,
]
MACS = {
    "lenet5": sum(LENET5),
    "edge": sum(EDGE),
    "mlp-128": 784 * 128 + 128 * 10,
    "cnn-93k": 26**2 * 32 * 9 + 11**2 * 64 * 9 * 32 + 3**2 * 64 * 9 * 64 + 576 * 64 + 64 * 10,
}


def convert_untrained(folder: str) -> None:
    """Write files of untrained networks: int8 of every architecture, and float ones of two."""
    import json
    from pathlib import Path

    import numpy as np

    from edge_fmnist_export import architectures
    from edge_fmnist_export.quantize import convert, qat
    from edge_fmnist_export.training import backend
    from edge_fmnist_export.training.batches import Subset
    from edge_fmnist_export.training.weights import read_variables

    keras = backend.keras_on_tensorflow()
    images = np.random.default_rng(0).integers(0, 256, (64, 28, 28), dtype=np.uint8)
    calibration = Subset(images, np.zeros(64, np.uint8))
    for name in architectures.names():
        model = architectures.build(name, keras)
        quantized = qat.quantization_aware(name, read_variables(model.weights), calibration)
        (Path(folder) / f"{name}-int8.tflite").write_bytes(convert.convert_qat(quantized, "uint8"))
        if name in ("edge", "lenet5"):
            for kind in ("float32", "float16", "dynamic"):
                content = convert.convert_float(model, kind)
                (Path(folder) / f"{name}-{kind}.tflite").write_bytes(content)
    print(json.dumps(None))


@pytest.fixture(scope="module")
def untrained(run_function: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("untrained")
    run_function(convert_untrained, str(folder))
    return folder


def structure_of(folder: Path, name: str) -> Structure:
    return read_structure((folder / f"{name}.tflite").read_bytes(), name)


@pytest.mark.parametrize("kind", ["int8", "float32", "dynamic"])
@pytest.mark.parametrize("name", ["edge", "lenet5"])
def test_macs_in_every_format(untrained: Path, name: str, kind: str) -> None:
    assert structure_of(untrained, f"{name}-{kind}").macs == MACS[name]


@pytest.mark.parametrize("name", ["cnn-93k", "mlp-128"])
def test_macs(untrained: Path, name: str) -> None:
    assert structure_of(untrained, f"{name}-int8").macs == MACS[name]


@pytest.mark.parametrize("layers", [LENET5, EDGE])
def test_macs_of_each_layer(untrained: Path, layers: list[int]) -> None:
    name = "edge" if layers is EDGE else "lenet5"
    counted = [operator.macs for operator in structure_of(untrained, f"{name}-float32").operators if operator.macs]
    assert sorted(counted) == sorted(layers)


@pytest.mark.parametrize("name", architectures.names())
def test_docstring_tells_the_macs(untrained: Path, name: str) -> None:
    numbers = re.findall(r"[\d,]+\d", str(architectures.builder(name).__doc__))
    assert f"{structure_of(untrained, f'{name}-int8').macs:,}" in numbers


@pytest.mark.parametrize("name", architectures.names())
def test_every_architecture_becomes_whole_integer(untrained: Path, name: str) -> None:
    structure = structure_of(untrained, f"{name}-int8")
    assert structure.stray_operators() == []
    assert structure.unsupported_operators() == []
    assert [structure.tensors[index].type for index in (*structure.inputs, *structure.outputs)] == ["UINT8"] * 2


@pytest.mark.parametrize("kind", ["float32", "float16", "dynamic"])
@pytest.mark.parametrize("name", ["edge", "lenet5"])
def test_float_operators_are_found(untrained: Path, name: str, kind: str) -> None:
    structure = structure_of(untrained, f"{name}-{kind}")
    assert any("CONV_2D on FLOAT32" in problem for problem in structure.stray_operators())
    assert structure.unsupported_operators() == []


def test_weights_of_float16_are_converted_inside_the_graph(untrained: Path) -> None:
    assert "DEQUANTIZE inside the graph" in structure_of(untrained, "lenet5-float16").stray_operators()


def test_batch_normalization_and_relu_are_folded(untrained: Path) -> None:
    names = {operator.name for operator in structure_of(untrained, "edge-int8").operators}
    assert names == {"QUANTIZE", "CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED"}


@pytest.mark.parametrize("name", ["edge", "lenet5"])
def test_weights_take_the_bytes_their_type_does(untrained: Path, name: str) -> None:
    def weights(kind: str) -> int:
        return sum(tensor.constant_bytes for tensor in structure_of(untrained, f"{name}-{kind}").tensors)

    assert weights("float32") / 4 > 58_000
    assert 0.45 < weights("float16") / weights("float32") < 0.55
    assert 0.2 < weights("dynamic") / weights("float32") < 0.35
    assert 0.2 < weights("int8") / weights("float32") < 0.35


def test_output_step_of_an_integer_and_a_float_network(untrained: Path) -> None:
    step = structure_of(untrained, "edge-int8").output_step
    assert step is not None
    assert step > 0
    assert structure_of(untrained, "edge-float32").output_step is None


def test_appended_metadata_is_ignored(untrained: Path) -> None:
    content = (untrained / "edge-int8.tflite").read_bytes()
    described = embed(content, {"output": "logits"}, ("a", "b"))
    assert read_structure(described, "described") == read_structure(content, "plain")


@pytest.mark.parametrize("content", [b"", b"TFL3", b"not a model at all", bytes(1000), b"\xff" * 1000])
def test_garbage_is_no_model(content: bytes) -> None:
    with pytest.raises(ModelError, match=r"x\.tflite: not a TensorFlow Lite model, or a damaged one"):
        read_structure(content, "x.tflite")


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.9])
def test_truncated_model(untrained: Path, share: float) -> None:
    content = (untrained / "edge-int8.tflite").read_bytes()
    with pytest.raises(ModelError, match="damaged"):
        read_structure(content[: int(len(content) * share)], "x.tflite")
