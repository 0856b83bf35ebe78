"""Starting from a network that is wider inside its blocks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_fmnist_export.training.channel_pruning import is_narrower
from edge_fmnist_export.training.recipe import load_recipe

WIDE, NARROW = "resnet:6;8/2,8,10/2", "resnet:6;8x5/2,8,10x4/2"


@pytest.mark.parametrize(
    ("narrow", "wide", "answer"),
    [
        (NARROW, WIDE, True),
        ("resnet:6;8x3/2", "resnet:6;8x7/2", True),
        (WIDE, WIDE, False),
        (WIDE, NARROW, False),
        ("resnet:6;8x5/2,8", WIDE, False),
        ("resnet:4;8x5/2,8,10x4/2", WIDE, False),
        ("resnet:6;8x5/2,8,9x4/2", WIDE, False),
        ("resnet:6;8x5,8,10x4/2", WIDE, False),
        ("resnet:6;8x5k5/2,8,10x4/2", WIDE, False),
        ("edge", WIDE, False),
        (WIDE, "lenet5", False),
    ],
)
def test_is_narrower(narrow: str, wide: str, answer: bool) -> None:
    assert is_narrower(narrow, wide) is answer


def narrow_it(wide: str, narrow: str) -> None:
    """Print by what share outputs change where the channels that go have no effect, and where they have one."""
    import json

    import numpy as np

    from edge_fmnist_export import architectures
    from edge_fmnist_export.training import backend
    from edge_fmnist_export.training.channel_pruning import narrowed
    from edge_fmnist_export.training.weights import assign_variables, read_variables

    keras = backend.keras_on_tensorflow()
    rng = np.random.default_rng(0)
    images = rng.random((8, 28, 28, 1), np.float32)
    differences = []
    for silent in (True, False):
        source, target = architectures.build(wide, keras), architectures.build(narrow, keras)
        noisy = [array + np.abs(rng.normal(0, 0.3, array.shape)) for array in read_variables(source.weights)]
        assign_variables(source.weights, noisy, wide)
        # The first block keeps 5 of 8 inner channels, the last 4 of 10.
        for (before, after), kept in zip(((6, 8), (8, 10)), ([0, 2, 3, 6, 7], [1, 4, 5, 9]), strict=True):
            layers = [layer for layer in source.layers if layer.weights]
            made = next(i for i, one in enumerate(layers) if tuple(one.weights[0].shape) == (3, 3, before, after))
            normalization = next(one for one in layers[made:] if len(one.weights) == 4)
            if silent:
                mask = np.isin(np.arange(after), kept).astype(np.float32)
                for variable in (normalization.gamma, normalization.beta):
                    assign_variables([variable], [read_variables([variable])[0] * mask], wide)
        weights = narrowed(read_variables(source.weights), wide, narrow, keras)
        assign_variables(target.weights, weights, narrow)
        outputs = [np.asarray(model(images, training=False)) for model in (source, target)]
        differences.append(float(np.abs(outputs[0] - outputs[1]).max() / np.abs(outputs[0]).max()))
    print(json.dumps(differences))


def test_the_channels_that_matter_are_kept(run_function: Callable[..., Any]) -> None:
    silent, loud = run_function(narrow_it, WIDE, NARROW)
    assert silent < 1e-5
    assert loud > 0.01


def test_the_least_important_channel_goes(run_function: Callable[..., Any]) -> None:
    def importances() -> None:
        """Print which channel goes where scale and reading weights disagree."""
        import json

        import numpy as np

        from edge_fmnist_export import architectures
        from edge_fmnist_export.training import backend
        from edge_fmnist_export.training.channel_pruning import narrowed
        from edge_fmnist_export.training.weights import read_variables

        keras = backend.keras_on_tensorflow()
        arrays = read_variables(architectures.build("resnet:2;3", keras).weights)
        names = [tuple(array.shape) for array in arrays]
        reader = names.index((3, 3, 3, 3))
        # Stem, its normalization, the first convolution of the block, then its normalization: scale first.
        scale = names.index((3, 3, 2, 3)) + 1
        arrays[scale] = np.array([1.0, -0.5, 2.0], np.float32)
        arrays[reader] = np.ones_like(arrays[reader]) * np.array([1.0, 3.0, 0.1], np.float32)[:, None]
        kept = narrowed(arrays, "resnet:2;3", "resnet:2;3x2", keras)
        print(json.dumps(kept[scale].tolist()))

    assert run_function(importances) == [1.0, -0.5]


def test_training_starts_from_a_wider_run(run_command: Callable[..., Any], tiny_data: Path, tmp_path: Path) -> None:
    text = "seed = 1\n[data]\nvalidation = 100\nbatch_size = 50\n[training]\nepochs = 1\n[qat]\nepochs = 0\n"
    wide, narrow = tmp_path / "wide.toml", tmp_path / "narrow.toml"
    wide.write_text(f'name = "wide"\narchitecture = "{WIDE}"\n{text}', "utf-8")
    narrow.write_text(f'name = "narrow"\narchitecture = "{NARROW}"\ninitial = "{tmp_path / "run"}"\n{text}', "utf-8")
    first = run_command("train", wide, "--data", tiny_data, "--output", tmp_path / "run")
    assert first.code == 0, first.stderr
    then = run_command("train", narrow, "--data", tiny_data, "--output", tmp_path / "further")
    assert then.code == 0, then.stderr
    widened = wide.read_text("utf-8").replace("seed", f'initial = "{tmp_path / "further"}"\nseed', 1)
    wide.write_text(widened, "utf-8")
    refused = run_command("train", wide, "--data", tiny_data, "--output", tmp_path / "back")
    assert refused.code == 2, refused.stderr
    assert "or of one that is wider inside its blocks" in " ".join(refused.stderr.split())


def test_max_is_narrower_than_its_start() -> None:
    recipe = load_recipe("max")
    assert is_narrower(recipe.architecture, load_recipe(recipe.initial).architecture)
