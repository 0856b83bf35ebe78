"""Channel pruning: starting from a network with wider blocks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_fmnist_export import architectures
from edge_fmnist_export.training.channel_pruning import is_narrower, prune_channels
from edge_fmnist_export.training.recipe import load_recipe
from edge_fmnist_export.training.weights import assign_variables, read_variables

WIDE, NARROW = "resnet:6;8/2,8,10/2", "resnet:6;8x5/2,8,10x4/2"


@pytest.mark.parametrize(
    ("narrow", "wide", "answer"),
    [
        (NARROW, WIDE, True),
        (WIDE, WIDE, False),
        (WIDE, NARROW, False),
        ("resnet:6;8x5/2,8", WIDE, False),
        ("resnet:4;8x5/2,8,10x4/2", WIDE, False),
        ("resnet:6;8x5k5/2,8,10x4/2", WIDE, False),
        (WIDE, "lenet5", False),
    ],
)
def test_is_narrower(narrow: str, wide: str, answer: bool) -> None:
    assert is_narrower(narrow, wide) is answer


def test_max_is_narrower_than_its_start() -> None:
    recipe = load_recipe("max")
    assert is_narrower(recipe.architecture, load_recipe(recipe.init_from).architecture)


@pytest.mark.parametrize("silent", [True, False])
def test_outputs_stay_if_the_pruned_channels_have_no_effect(keras: Any, silent: bool) -> None:
    rng = np.random.default_rng(0)
    images = rng.random((8, 28, 28, 1), np.float32)
    source, target = architectures.build(WIDE, keras), architectures.build(NARROW, keras)
    noisy = [array + np.abs(rng.normal(0, 0.3, array.shape)) for array in read_variables(source.weights)]
    assign_variables(source.weights, noisy, WIDE)
    # The first block keeps 5 of 8 inner channels, the last 4 of 10.
    for (before, after), kept in zip(((6, 8), (8, 10)), ([0, 2, 3, 6, 7], [1, 4, 5, 9]), strict=True):
        layers = [layer for layer in source.layers if layer.weights]
        made = next(i for i, one in enumerate(layers) if tuple(one.weights[0].shape) == (3, 3, before, after))
        normalization = next(one for one in layers[made:] if len(one.weights) == 4)
        if silent:
            mask = np.isin(np.arange(after), kept).astype(np.float32)
            for variable in (normalization.gamma, normalization.beta):
                assign_variables([variable], [read_variables([variable])[0] * mask], WIDE)
    assign_variables(target.weights, prune_channels(read_variables(source.weights), WIDE, NARROW, keras), NARROW)
    outputs = [np.asarray(model(images, training=False)) for model in (source, target)]
    difference = np.abs(outputs[0] - outputs[1]).max() / np.abs(outputs[0]).max()
    assert difference < 1e-5 if silent else difference > 0.01


def test_the_least_important_channel_is_pruned(keras: Any) -> None:
    arrays = read_variables(architectures.build("resnet:2;3", keras).weights)
    shapes = [array.shape for array in arrays]
    # Stem, its normalization, the first convolution of the block, then its normalization: scale first.
    scale, reader = shapes.index((3, 3, 2, 3)) + 1, shapes.index((3, 3, 3, 3))
    arrays[scale] = np.array([1.0, -0.5, 2.0], np.float32)
    arrays[reader] = np.ones_like(arrays[reader]) * np.array([1.0, 3.0, 0.1], np.float32)[:, None]
    assert prune_channels(arrays, "resnet:2;3", "resnet:2;3x2", keras)[scale].tolist() == [1.0, -0.5]


@pytest.mark.slow
def test_training_starts_from_a_wider_run(run_command: Callable[..., Any], tiny_data: Path, tmp_path: Path) -> None:
    text = "seed = 1\n[data]\nvalidation = 100\nbatch_size = 250\n[training]\nepochs = 1\n[qat]\nepochs = 0\n"
    wide, narrow = tmp_path / "wide.toml", tmp_path / "narrow.toml"
    wide.write_text(f'name = "wide"\narchitecture = "resnet:2;3/2"\n{text}', "utf-8")
    narrow.write_text(
        f'name = "narrow"\narchitecture = "resnet:2;3x2/2"\ninit_from = "{tmp_path / "run"}"\n{text}', "utf-8"
    )
    for recipe, folder in ((wide, "run"), (narrow, "further")):
        run_command("train", recipe, "--data", tiny_data, "--output", tmp_path / folder)
