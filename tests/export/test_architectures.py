from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pytest

from edge_fmnist_export import architectures
from edge_fmnist_export.training import qat
from edge_fmnist_export.training.batches import Subset
from edge_fmnist_export.training.weights import assign_variables, read_variables

PARAMETERS = {
    "cnn-1": 804_554,
    "cnn-2": 421_642,
    "cnn-3": 241_546,
    "cnn-93k": 93_322,
    "cnn-dropout": 241_546,
    "edge": 114_946,
    "efficientnet-lite2": 4_881_402,
    "lenet5": 59_086,
    "mlp-128": 101_770,
}


def test_all_architectures_are_known_here() -> None:
    assert architectures.names() == sorted(PARAMETERS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_both_keras_build_the_same_network(name: str, keras: Any, tf_keras: Any) -> None:
    ours, theirs = (architectures.build(name, module) for module in (keras, tf_keras))
    weighted = [layer for layer in ours.layers if hasattr(layer, "kernel")]
    macs = sum(prod(layer.output.shape[1:-1]) * prod(layer.kernel.shape) for layer in weighted)
    assert f"{PARAMETERS[name]:,} parameters, {macs:,} MACs" in str(architectures.builder(name).__doc__)
    assert ours.count_params() == theirs.count_params() == PARAMETERS[name]
    shapes = [[tuple(layer.output.shape) for layer in model.layers] for model in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert shapes[0][-1] == (None, 10)
    # Batch normalization starts with weights of 0 and 1; with noise, they all differ.
    rng = np.random.default_rng(0)
    noisy = [array + rng.normal(0, 0.02, array.shape) for array in read_variables(ours.weights)]
    assign_variables(ours.weights, noisy, name)
    assign_variables(theirs.weights, read_variables(ours.weights), name)
    images = rng.random((16, 28, 28, 1), np.float32)
    outputs = [np.asarray(model(images, training=False)) for model in (ours, theirs)]
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-5)
    assert outputs[0].std() > 0.01


def dropout_rates(model: Any) -> list[float]:
    layers = [getattr(layer, "layer", layer) for layer in model.layers]
    return [round(layer.rate, 6) for layer in layers if type(layer).__name__ == "Dropout"]


def test_a_factor_on_dropout(keras: Any) -> None:
    whole, half = architectures.build("cnn-dropout", keras), architectures.build("cnn-dropout", keras, 0.5)
    assert dropout_rates(whole) == [0.25, 0.25, 0.4, 0.3]
    subset = Subset(np.zeros((8, 28, 28), np.uint8), np.arange(8, dtype=np.uint8))
    quantized = qat.quantization_aware("cnn-dropout", read_variables(whole.weights), subset, 0.5)
    assert dropout_rates(half) == dropout_rates(quantized) == [0.125, 0.125, 0.2, 0.15]


def test_a_smaller_momentum_moves_statistics_faster(each_keras: Any) -> None:
    images = np.ones((4, 28, 28, 1), np.float32)
    for momentum, share in ((0.99, 0.01), (0.75, 0.25)):
        each_keras.utils.set_random_seed(0)
        model = architectures.build("resnet:2;3", each_keras, batch_norm_momentum=momentum)
        first = next(layer for layer in model.layers if isinstance(layer, each_keras.layers.BatchNormalization))
        mean = np.asarray(each_keras.Model(model.input, first.input)(images)).mean((0, 1, 2))
        model(images, training=True)
        assert float(np.asarray(first.moving_mean)[0] / mean[0]) == pytest.approx(share, rel=1e-3)


def test_activation_ranges_do_not_depend_on_the_order_of_the_images(keras: Any) -> None:
    weights = read_variables(architectures.build("lenet5", keras).weights)
    images = np.zeros((4096, 28, 28), np.uint8)
    images[2048:] = 255
    model = qat.quantization_aware("lenet5", weights, Subset(images, np.zeros(4096, np.uint8)))
    # Where the first half is black, the bounds of a bias-free start would be 0.
    highest = [float(value) for value in model.weights if "post_activation_max" in value.name]
    assert highest
    assert min(highest) > 1e-3
