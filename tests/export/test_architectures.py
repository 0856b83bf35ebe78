from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edge_fmnist.errors import UsageError
from edge_fmnist_export import architectures

PARAMETERS = {
    "cnn-1": 804_554,
    "cnn-2": 421_642,
    "cnn-3": 241_546,
    "cnn-93k": 93_322,
    "cnn-dropout": 241_546,
    "edge": 114_946,
    "lenet5": 59_086,
    "mlp-128": 101_770,
}


def build_all() -> None:
    """Print facts on every architecture, built with Keras 3 and with ``tf_keras``, and how far their outputs differ."""
    import json

    import numpy as np

    from edge_fmnist_export import architectures
    from edge_fmnist_export.quantize import qat
    from edge_fmnist_export.training import backend
    from edge_fmnist_export.training.weights import assign_variables, read_variables

    keras, tf_keras = backend.keras_on_tensorflow(), qat.modules().keras
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    images = rng.random((16, 28, 28, 1), np.float32)

    def shapes(model: object) -> list[tuple[int | None, ...]]:
        return [tuple(layer.output.shape) for layer in model.layers]  # type: ignore[attr-defined]

    facts = {}
    for name in architectures.names():
        ours, theirs = architectures.build(name, keras), architectures.build(name, tf_keras)
        # Batch normalization starts with weights of 0 and 1; noise tells each from the others.
        noisy = [array + rng.normal(0, 0.02, array.shape) for array in read_variables(ours.weights)]
        assign_variables(ours.weights, noisy, name)
        assign_variables(theirs.weights, read_variables(ours.weights), name)
        outputs = np.asarray(ours(images, training=False)), np.asarray(theirs(images, training=False))
        facts[name] = {
            "parameters": [ours.count_params(), theirs.count_params()],
            "shapes": [shapes(ours), shapes(theirs)],
            "difference": float(np.abs(outputs[0] - outputs[1]).max()),
            "spread": float(outputs[0].std()),
        }
    print(json.dumps(facts))


@pytest.fixture(scope="module")
def facts(run_function: Callable[..., Any]) -> dict[str, dict[str, Any]]:
    built: dict[str, dict[str, Any]] = run_function(build_all)
    return built


def test_all_architectures_are_known_here() -> None:
    assert architectures.names() == sorted(PARAMETERS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(facts: dict[str, dict[str, Any]], name: str) -> None:
    assert facts[name]["parameters"] == [PARAMETERS[name]] * 2


@pytest.mark.parametrize("name", PARAMETERS)
def test_both_keras_build_the_same_shapes(facts: dict[str, dict[str, Any]], name: str) -> None:
    ours, theirs = facts[name]["shapes"]
    assert ours == theirs
    assert ours[-1] == [None, 10]


@pytest.mark.parametrize("name", PARAMETERS)
def test_weights_move_across_exactly(facts: dict[str, dict[str, Any]], name: str) -> None:
    assert facts[name]["difference"] < 1e-5
    assert facts[name]["spread"] > 0.01


def dropout_rates() -> None:
    """Print the dropout rates of ``cnn-dropout``: as published, halved, and halved in quantization-aware training."""
    import json

    import numpy as np

    from edge_fmnist_export import architectures
    from edge_fmnist_export.quantize import qat
    from edge_fmnist_export.training import backend
    from edge_fmnist_export.training.batches import Subset
    from edge_fmnist_export.training.weights import read_variables

    keras = backend.keras_on_tensorflow()
    whole, half = architectures.build("cnn-dropout", keras), architectures.build("cnn-dropout", keras, 0.5)
    none = architectures.build("cnn-dropout", keras, 0.0)
    images, targets = np.zeros((8, 28, 28), np.uint8), np.arange(8, dtype=np.uint8)
    subset = Subset(images, targets)
    quantized = qat.quantization_aware("cnn-dropout", read_variables(whole.weights), subset, 0.5)

    def rates(model: object) -> list[float]:
        layers = [getattr(layer, "layer", layer) for layer in model.layers]  # type: ignore[attr-defined]
        return [round(layer.rate, 6) for layer in layers if type(layer).__name__ == "Dropout"]

    first, second = (np.asarray(none(images[..., None] + 1.0, training=True)) for _ in range(2))
    print(
        json.dumps(
            {
                "whole": rates(whole),
                "half": rates(half),
                "quantized": rates(quantized),
                "nothing dropped": bool((first == second).all()),
            }
        )
    )


def statistics_after_a_step() -> None:
    """Print the first moving mean after a step on ones, with either Keras: from 0, with the default and with 0.75."""
    import json

    import numpy as np

    from edge_fmnist_export import architectures
    from edge_fmnist_export.quantize import qat
    from edge_fmnist_export.training import backend

    images = np.ones((4, 28, 28, 1), np.float32)
    shares = []
    for keras in (backend.keras_on_tensorflow(), qat.modules().keras):
        for settings in ({}, {"batch_norm_momentum": 0.75}):
            keras.utils.set_random_seed(0)
            model = architectures.build("resnet:2;3", keras, **settings)
            layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
            seen = keras.Model(model.input, layers[0].input)
            mean = np.asarray(seen(images)).mean((0, 1, 2))
            model(images, training=True)
            shares.append(float(np.asarray(layers[0].moving_mean)[0] / mean[0]))
    print(json.dumps(shares))


def test_a_smaller_momentum_moves_statistics_faster(run_function: Callable[..., Any]) -> None:
    assert run_function(statistics_after_a_step) == pytest.approx([0.01, 0.25, 0.01, 0.25], rel=1e-3)


def test_a_factor_on_dropout(run_function: Callable[..., Any]) -> None:
    assert run_function(dropout_rates) == {
        "whole": [0.25, 0.25, 0.4, 0.3],
        "half": [0.125, 0.125, 0.2, 0.15],
        "quantized": [0.125, 0.125, 0.2, 0.15],
        "nothing dropped": True,
    }


def test_unknown_architecture() -> None:
    with pytest.raises(UsageError, match=r"unknown architecture 'resnet'; expected one of .*edge"):
        architectures.build("resnet", None)


@pytest.mark.parametrize("name", PARAMETERS)
def test_docstring_tells_the_parameters(name: str) -> None:
    assert f"{PARAMETERS[name]:,}" in str(architectures.builder(name).__doc__)
