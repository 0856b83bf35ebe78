from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_fmnist import Classifier
from edge_fmnist.errors import ModelError, ModelNotFoundError
from edge_fmnist.model import interpreter as interpreters
from edge_fmnist.model.registry import ModelBytes, read_model
from edge_fmnist.model.tflite_graph import read_structure
from edge_fmnist_bench import model
from edge_fmnist_bench.float32_reference import float_twin
from edge_fmnist_bench.variants import edge
from edge_fmnist_bench.variants.base import Variant, VariantError
from edge_fmnist_bench.variants.edge import edge_variants

PICTURES = np.random.default_rng(3).integers(0, 256, (64, 28, 28), dtype=np.uint8)


@pytest.fixture(scope="module")
def twin() -> bytes:
    return float_twin(read_model("edge").content, "edge")


@pytest.fixture(scope="module")
def variants() -> dict[str, Variant]:
    """Return the variants that need no TensorFlow, by name."""
    return {variant.name: variant for variant in edge_variants("edge") if not variant.name.startswith("tf-lite")}


def test_the_classifier_comes_first_and_the_reference_second() -> None:
    names = [variant.name for variant in edge_variants("edge")]
    assert names[:2] == ["classifier", f"{edge.SHORT[interpreters.choose()]}-int8"]
    assert names[-1] == f"{edge.SHORT[interpreters.choose()]}-float32"
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("batch", [1, 5])
def test_all_name_the_same_garments(variants: dict[str, Variant], batch: int) -> None:
    expected = Classifier.load("edge").predict_batch(PICTURES).indexes
    for name, variant in variants.items():
        run = variant.open(threads=1, batch=batch)
        outputs = [run(PICTURES[start : start + batch]) for start in range(0, 60, batch)]
        assert all(output.dtype == np.float32 for output in outputs)
        assert {output.shape for output in outputs} == {(batch, 10)}
        agreement = np.mean(np.concatenate(outputs).argmax(axis=1) == expected[:60])
        # The twin keeps the weights' quantization but not that of activations.
        assert agreement == 1.0 if name != "litert-float32" else agreement > 0.8, name


def test_the_twin_has_the_layers_of_the_model_on_floats(twin: bytes) -> None:
    whole = read_structure(read_model("edge").content, "edge")
    made = read_structure(twin, "twin")
    layers = [(operator.name, operator.macs) for operator in whole.operators if operator.name != "QUANTIZE"]
    assert [(operator.name, operator.macs) for operator in made.operators] == layers
    used = {made.tensors[i].type for operator in made.operators for i in (*operator.inputs, *operator.outputs)}
    assert used == {"FLOAT32", "INT32"}
    assert model.dtypes(made) == {"input": "FLOAT32", "output": "FLOAT32", "layers": ["FLOAT32"]}
    assert 3.2 < len(twin) / len(read_model("edge").content) < 4


def test_the_twin_gives_nearly_the_same_outputs(twin: bytes) -> None:
    classifier = Classifier.load("edge")
    step = classifier.output.scale
    quantized = classifier.outputs(PICTURES)[0].astype(np.float32)
    reals = (quantized - classifier.output.zero_point) * step
    outputs, _ = Classifier(ModelBytes(twin, "twin")).outputs(PICTURES)
    assert np.abs(outputs - reals).mean() < 6 * step


def test_no_twin_of_a_float_model(twin: bytes) -> None:
    with pytest.raises(ModelError, match="a float32 twin is made of a whole-integer int8 model"):
        float_twin(twin, "twin")


def test_a_float_model_has_no_twin(twin: bytes, tmp_path: Path) -> None:
    path = tmp_path / "float.tflite"
    path.write_bytes(twin)
    names = [variant.name for variant in edge_variants(str(path))]
    assert names[:2] == ["classifier", "litert-float32"]
    assert names.count("litert-float32") == 1


def test_a_model_for_one_image_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    content = read_model("edge")
    name = interpreters.choose()
    allocated = interpreters.create(content.content, name=name, threads=1, batch=1, source="edge")
    monkeypatch.setattr(interpreters, "create", lambda *_, **__: allocated)
    with pytest.raises(VariantError, match="takes 1 images at a time, not 8"):
        edge.bare_loop(content, name, threads=1, batch=8)


def test_no_such_model() -> None:
    with pytest.raises(ModelNotFoundError):
        edge_variants("no-such-model")


def test_damaged_model(tmp_path: Path) -> None:
    path = tmp_path / "damaged.tflite"
    path.write_bytes(b"not a model")
    with pytest.raises(ModelError):
        edge_variants(str(path))


def test_facts_of_a_model() -> None:
    facts = model.describe("edge")
    assert (facts["name"], facts["described"], facts["file"]) == ("edge", True, "edge.tflite")
    assert facts["bytes"] == len(read_model("edge").content)
    assert facts["dtypes"] == {"input": "UINT8", "output": "UINT8", "layers": ["INT32", "INT8"]}
    assert facts["operators"] == ["ADD", "CONV_2D", "FULLY_CONNECTED", "MEAN", "QUANTIZE"]
    assert facts["macs"] == sum(operator.macs for operator in read_structure(read_model("edge").content, "").operators)


def test_facts_of_a_file_that_says_nothing(twin: bytes, tmp_path: Path) -> None:
    path = tmp_path / "plain.tflite"
    path.write_bytes(twin)
    facts = model.describe(str(path))
    assert (facts["name"], facts["described"], facts["float_top1"]) == ("plain", False, None)
    whole = model.describe("edge")
    # Counted in the file, where batch normalization is folded into the layers.
    assert 0.98 * whole["parameters"] < facts["parameters"] <= whole["parameters"]
