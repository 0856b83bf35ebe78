from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_fmnist import Classifier
from edge_fmnist.data.dataset import load_split
from edge_fmnist.errors import ModelError
from edge_fmnist.model.quantization import dequantize
from edge_fmnist.model.registry import read_model
from edge_fmnist_export.report.analysis.activations import OperatorWeights, file_activations
from edge_fmnist_export.report.analysis.quantization import (
    MOST_SNR,
    LayerQuantization,
    QuantizationAnalysis,
    analyse,
    nearest_layer,
    signal_to_noise,
)
from edge_fmnist_export.report.analysis.simulation import RoundingCost, rounded_activations, rounded_weights
from edge_fmnist_export.report.explain.scorer import load_float_model
from edge_fmnist_export.report.sections.quantization import section_of
from edge_fmnist_export.training.batches import split_validation
from edge_fmnist_export.training.run_folder import open_run
from edge_fmnist_export.training.weights import read_variables


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1)


@pytest.mark.parametrize("decibels", [0, 6, 20, 60])
def test_signal_to_noise_is_in_decibels(rng: np.random.Generator, decibels: int) -> None:
    signal = rng.normal(size=100_000)
    noise = rng.normal(size=100_000) * 10 ** (-decibels / 20)
    assert signal_to_noise(signal, signal + noise) == pytest.approx(decibels, abs=0.1)


def test_signal_to_noise_of_edge_cases() -> None:
    assert signal_to_noise(np.ones(3), np.ones(3)) == MOST_SNR
    assert signal_to_noise(np.zeros(3), np.zeros(3)) == MOST_SNR
    assert signal_to_noise(np.zeros(3), np.ones(3)) == 0


def test_rounding_activations_keeps_steps_and_clips() -> None:
    values = np.array([-1.0, 0.0, 0.26, 1.0, 300.0], np.float32)
    np.testing.assert_allclose(rounded_activations(values, 0.5, -128), [0, 0, 0.5, 1.0, 127.5])


def test_rounding_weights_per_channel_is_exact_to_half_a_step(rng: np.random.Generator) -> None:
    kernel = rng.normal(size=(3, 3, 4, 2)).astype(np.float32) * np.array([1, 100], np.float32)
    difference = np.abs(rounded_weights(kernel, (0, 1, 2)) - kernel).max(axis=(0, 1, 2))
    step = np.abs(kernel).max(axis=(0, 1, 2)) / 127
    assert (difference <= step / 2 * 1.001).all()
    assert difference[0] < difference[1] / 10
    assert np.unique(rounded_weights(kernel, (0, 1, 2), 7)[..., 0]).size <= 15
    # One step for both loses the small channel.
    assert np.abs(rounded_weights(kernel, (0, 1, 2, 3)) - kernel)[..., 0].max() > 10 * difference[0]


def test_an_operator_is_matched_by_its_output(rng: np.random.Generator) -> None:
    before, after, other = rng.normal(size=(8, 5, 5, 3)), rng.normal(size=(8, 5, 5, 3)), rng.normal(size=(8, 9))
    layers = {"conv": before, "relu": np.maximum(before, 0), "dropout": np.maximum(before, 0), "dense": other}
    outputs = [np.maximum(before, 0) + 0.01 * after, before + 0.01 * after, other.reshape(8, 3, 3), after, other[:4]]
    assert [nearest_layer(values, layers) for values in outputs] == ["relu", "conv", "dense", None, None]


def test_the_last_activation_is_the_output_of_the_file(rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (6, 28, 28), dtype=np.uint8)
    classifier = Classifier.load("edge")
    last = file_activations(read_model("edge").content, images, "edge")[-1]
    assert last.operator == "FULLY_CONNECTED"
    assert last.values.shape == (6, 10)
    expected = dequantize(classifier.outputs(images)[0], classifier.output)
    # Other kernels, which round by a step now and then in each layer.
    steps = np.abs(last.values - expected) / classifier.output.scale
    assert steps.mean() < 2
    assert steps.max() < 8


def test_pixels_have_the_range_and_shape_of_the_model(
    model_path: Callable[[str], Path], rng: np.random.Generator
) -> None:
    path = model_path("range_255_float")
    image = rng.integers(0, 256, (1, 28, 28), dtype=np.uint8)
    last = file_activations(path.read_bytes(), image, "model")[-1]
    np.testing.assert_allclose(last.values[0], Classifier.load(path).outputs(image)[0][0], rtol=1e-4, atol=1e-4)


def test_weights_are_those_of_the_file() -> None:
    found = file_activations(read_model("edge").content, np.zeros((1, 28, 28), np.uint8), "edge")
    weighted = [one for one in found if one.operator in ("CONV_2D", "FULLY_CONNECTED")]
    assert all(one.weights is None for one in found if one not in weighted)
    for one in weighted:
        assert one.weights is not None
        channels = one.values.shape[-1] if one.operator == "CONV_2D" else 1
        assert len(one.weights.scales) == channels
        assert max(-one.weights.low, one.weights.high) <= 128 * max(one.weights.scales)
        assert one.weights.low < 0 < one.weights.high


def test_weights_of_four_bits_have_fewer_steps() -> None:
    found = file_activations(read_model("nano4").content, np.zeros((1, 28, 28), np.uint8), "nano4")
    first, *others, last = (one.weights.limit for one in found if one.weights)
    assert (first, {*others}, last) == (127, {7}, 127)


def test_a_file_that_is_not_a_model_is_refused() -> None:
    with pytest.raises(ModelError, match="junk: not a TensorFlow Lite model"):
        file_activations(b"junk" * 100, np.zeros((1, 28, 28), np.uint8), "junk")


@pytest.fixture(scope="module")
def analysed(tiny_run: Path, tiny_data: Path, tiny_model: Path) -> QuantizationAnalysis:
    """Return the analysis of the tiny run's int8 file."""
    run, shares = open_run(tiny_run), list[float]()
    train, validation = split_validation(load_split(tiny_data, "train"), 100, run.recipe.seed)
    network = load_float_model(run)
    before = read_variables(network.weights)
    content = tiny_model.read_bytes()
    found = analyse(content, "tiny", network, train, validation, lambda _, share: shares.append(share))
    assert shares == sorted(shares)
    # The weights of the float model are restored.
    for array, variable in zip(before, read_variables(network.weights), strict=True):
        np.testing.assert_array_equal(array, variable)
    return found


@pytest.mark.slow
def test_every_operator_of_the_tiny_file_finds_its_layer(analysed: QuantizationAnalysis) -> None:
    layers = analysed.layers
    assert [layer.operator for layer in layers if layer.weights].count("CONV_2D") == 2
    for layer in layers:
        assert layer.layer
        assert layer.snr is not None
        assert layer.own_snr is not None
        assert layer.snr > 5
        # The own step of a layer adds less noise than all before it and the training together.
        assert layer.own_snr > layer.snr - 3
    assert str(layers[-1].layer).startswith("dense")


@pytest.mark.slow
def test_costs_are_measured_and_small(analysed: QuantizationAnalysis) -> None:
    assert (analysed.float_cost.divergence, analysed.float_cost.agreement) == (0, 1)
    divergences = [layer.divergence or 0 for layer in analysed.layers]
    assert 0 <= min(divergences) < max(divergences) < 0.1
    assert all((layer.agreement or 0) >= 0.9 for layer in analysed.layers)
    assert analysed.all_cost is not None
    assert 0 < analysed.all_cost.divergence < 0.3
    assert analysed.cost_images == 100


def made_layer(index: int, **changes: Any) -> LayerQuantization:
    weights, output = OperatorWeights(-1.0, 0.5, (0.004, 0.008), 127), (0.02, -128)
    layer = LayerQuantization(index, "CONV_2D", f"relu_{index}", (7, 7, 4), weights, *output, snr=25.0, own_snr=40.0)
    layer = replace(layer, divergence=0.001 * index, points_lost=0.1, agreement=0.999)
    return replace(layer, **changes)


def test_the_section_names_the_costliest_layer_and_what_has_no_match() -> None:
    stray = made_layer(3, layer=None, snr=None, own_snr=None, divergence=None, points_lost=None, agreement=None)
    costs = RoundingCost(0.95, 0.0, 1.0), RoundingCost(0.94, 0.01, 0.98)
    found = QuantizationAnalysis((made_layer(1), made_layer(2), stray), *costs, 128, 500)
    section = section_of(found)
    assert section.summary["costliest_layer"] == "2 relu_2"
    assert any("Rounding 2 relu_2 has the largest effect" in paragraph for paragraph in section.text)
    assert any("No float layer matches 3 CONV_2D" in paragraph for paragraph in section.text)
    assert [figure.name for figure in section.figures] == ["signal-to-noise", "layer-cost"]
    (table,) = section.tables
    assert len(table.rows) == 3
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_the_section_of_a_float_file_says_so() -> None:
    found = QuantizationAnalysis((made_layer(1, scale=0.0),), RoundingCost(0.95, 0.0, 1.0), None, 128, 500)
    section = section_of(found)
    assert section.text == ["The file computes in float: it is not quantized."]
    assert not section.figures
