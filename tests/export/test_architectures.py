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

    from edge_fmnist_export import architectures, backend, qat
    from edge_fmnist_export.weights import assign_variables, read_variables

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


def test_unknown_architecture() -> None:
    with pytest.raises(UsageError, match=r"unknown architecture 'resnet'; expected one of .*edge"):
        architectures.build("resnet", None)


@pytest.mark.parametrize("name", PARAMETERS)
def test_docstring_tells_the_parameters(name: str) -> None:
    assert f"{PARAMETERS[name]:,}" in str(architectures.builder(name).__doc__)
