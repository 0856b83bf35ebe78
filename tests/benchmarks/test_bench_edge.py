"""The variants of the base install, the float32 reference, and the facts about a model."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_fmnist import LABELS, Classifier
from edge_fmnist.errors import ModelError
from edge_fmnist.model import interpreter as interpreters
from edge_fmnist.model.metadata import embed
from edge_fmnist.model.registry import ModelBytes, read_model
from edge_fmnist.model.tflite_graph import Graph, Operator, Tensor, read_graph
from edge_fmnist_bench import model
from edge_fmnist_bench.float32_reference import float32_reference
from edge_fmnist_bench.images import Images, load_images, mismatch
from edge_fmnist_bench.variants import edge
from edge_fmnist_bench.variants.base import BenchmarkVariant, VariantError
from edge_fmnist_bench.variants.edge import edge_variants

PICTURES = np.random.default_rng(3).integers(0, 256, (64, 28, 28), dtype=np.uint8)


@pytest.fixture(scope="module")
def reference() -> bytes:
    return float32_reference(read_model("edge").content, "edge")


@pytest.fixture(scope="module")
def variants() -> dict[str, BenchmarkVariant]:
    """Return the variants that need no TensorFlow, by name."""
    return {variant.name: variant for variant in edge_variants("edge") if not variant.name.startswith("tf-lite")}


def test_the_classifier_comes_first_then_the_preferred_interpreter() -> None:
    names = [variant.name for variant in edge_variants("edge")]
    assert names[:2] == ["classifier", f"{edge.SHORT[interpreters.choose()]}-int8"]
    assert names[-1] == f"{edge.SHORT[interpreters.choose()]}-float32"
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("batch", [1, 5])
def test_all_variants_agree(variants: dict[str, BenchmarkVariant], batch: int) -> None:
    expected = Classifier.load("edge").predict_batch(PICTURES).indexes
    for name, variant in variants.items():
        run = variant.open(threads=1, batch=batch)
        outputs = [run(PICTURES[start : start + batch]) for start in range(0, 60, batch)]
        assert {(output.dtype, output.shape) for output in outputs} == {(np.dtype(np.float32), (batch, 10))}
        agreement = np.mean(np.concatenate(outputs).argmax(axis=1) == expected[:60])
        # The reference has the weights' quantization but not that of activations.
        assert agreement == 1.0 if name != "litert-float32" else agreement > 0.8, name


@pytest.mark.parametrize("name", ["range_255_float_io", "range_255_uint8", "range_signed_int8", "two_outputs"])
def test_all_variants_take_pixels_as_the_classifier_does(model_path: Callable[[str], Path], name: str) -> None:
    path = model_path(name)
    expected = Classifier(path).predict_batch(PICTURES).indexes
    for variant in edge_variants(str(path)):
        run = variant.open(threads=1, batch=1)
        agreement = np.mean([run(picture[None]).argmax() for picture in PICTURES] == expected)
        assert agreement > 0.8, variant.name


def test_the_reference_has_the_layers_of_the_model_in_float32(reference: bytes) -> None:
    whole = read_graph(read_model("edge").content, "edge")
    made = read_graph(reference, "reference")
    layers = [(operator.name, operator.macs) for operator in whole.operators if operator.name != "QUANTIZE"]
    assert [(operator.name, operator.macs) for operator in made.operators] == layers
    assert model.dtypes(made) == {"input": "FLOAT32", "output": "FLOAT32", "layers": ["FLOAT32"]}


@pytest.mark.parametrize("name", ["edge", "nano4"])
def test_the_reference_gives_nearly_the_same_outputs(name: str) -> None:
    classifier, reference = Classifier.load(name), float32_reference(read_model(name).content, name)
    step = classifier.output.scale
    quantized = classifier.outputs(PICTURES)[0].astype(np.float32)
    outputs, _ = Classifier(ModelBytes(reference, "reference")).outputs(PICTURES)
    assert np.abs(outputs - (quantized - classifier.output.zero_point) * step).mean() < 6 * step


def test_a_float_model_has_no_reference(reference: bytes, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="a float32 reference needs a whole-integer int8 model"):
        float32_reference(reference, "reference")
    path = tmp_path / "float.tflite"
    path.write_bytes(reference)
    names = [variant.name for variant in edge_variants(str(path))]
    assert names[:2] == ["classifier", "litert-float32"]
    assert names.count("litert-float32") == 1


def test_a_model_with_other_inputs_runs_on_generated_ones(rgb_model: Path, two_inputs: Path) -> None:
    for path, outputs in ((rgb_model, 2), (two_inputs, 8)):
        names = [variant.name for variant in edge_variants(str(path))]
        assert "classifier" not in names
        run = edge.bare_loop(read_model(path), "ai-edge-litert", threads=1, batch=1)
        first = run(PICTURES[:1])
        assert first.shape == (1, outputs)
        assert np.any(first != 0)
        assert np.array_equal(first, run(PICTURES[1:2]))
        with pytest.raises(VariantError, match="does not take batches of 8"):
            edge.bare_loop(read_model(path), "ai-edge-litert", threads=1, batch=8)


def test_accuracy_needs_a_data_set_that_fits(
    rgb_model: Path, small_data: Path, model_path: Callable[[str], Path]
) -> None:
    images, generated = load_images(small_data, 0), Images(PICTURES, None)
    assert mismatch(model.describe(str(rgb_model)), images) == "the model takes int8 (1, 96, 96, 3), not 28x28 images"
    facts = model.describe("edge")
    assert mismatch(facts, images) is mismatch(facts, generated) is None
    facts["outputs"][0]["shape"] = [1, 2]
    assert mismatch(facts, images) == "the model has 2 outputs, and the data set 10 classes"
    assert "expected one output of 10 classes" in str(mismatch(model.describe(str(model_path("two_alike"))), images))


def test_a_separate_process_does_not_make_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    variant = edge_variants("nano")[-1]
    content = pickle.dumps(variant)
    monkeypatch.setattr(edge, "float32_reference", lambda *_: pytest.fail("made again"))
    assert pickle.loads(content).open(threads=1, batch=1)(PICTURES[:1]).shape == (1, 10)


def test_weights_of_16_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = tuple(
        Tensor(name, kind, (4, 9), 72 if kind == "FLOAT16" else 0, None)
        for name, kind in (("input", "FLOAT32"), ("stored", "FLOAT16"), ("weights", "FLOAT32"), ("output", "FLOAT32"))
    )
    operators = (Operator("DEQUANTIZE", (1,), (2,), 0), Operator("FULLY_CONNECTED", (0, 2, -1), (3,), 36))
    graph = Graph(tensors, operators, (0,), (3,))
    monkeypatch.setattr(edge, "read_graph", lambda *_: graph)
    assert edge.quantization(read_model("edge")) == "float16"
    assert model.parameters(graph) == 36


@pytest.mark.parametrize(("stated", "used"), [(0.9, 0.9), ("0.9", None), (True, None), (10**400, None), ([0.9], None)])
def test_the_stated_accuracy_is_a_number(
    model_path: Callable[[str], Path], tmp_path: Path, stated: object, used: float | None
) -> None:
    settings = {"output": "logits", "accuracy": {"float_top1": stated}}
    (tmp_path / "stated.tflite").write_bytes(embed(model_path("logits_uint8").read_bytes(), settings, LABELS))
    assert model.describe(str(tmp_path / "stated.tflite"))["float_top1"] == used


def test_a_fixed_batch_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    content, name = read_model("edge"), interpreters.choose()
    allocated = interpreters.create(content.content, name=name, threads=1, batch=1, source="edge")
    monkeypatch.setattr(interpreters, "create", lambda *_, **__: allocated)
    with pytest.raises(VariantError, match="takes 1 images at a time, not 8"):
        edge.bare_loop(content, name, threads=1, batch=8)


def test_facts_of_a_model(reference: bytes, tmp_path: Path) -> None:
    facts = model.describe("edge")
    assert (facts["name"], facts["described"], facts["takes_images"]) == ("edge", True, True)
    assert facts["dtypes"] == {"input": "UINT8", "output": "UINT8", "layers": ["INT32", "INT8"]}
    assert facts["operators"] == ["ADD", "CONV_2D", "FULLY_CONNECTED", "MEAN", "QUANTIZE"]
    path = tmp_path / "plain.tflite"
    path.write_bytes(reference)
    plain = model.describe(str(path))
    assert (plain["name"], plain["described"], plain["float_top1"]) == ("plain", False, None)
    # Counted in the file, where batch normalization is folded into the layers.
    assert 0.98 * facts["parameters"] < plain["parameters"] <= facts["parameters"]
    assert plain["macs"] == facts["macs"]
