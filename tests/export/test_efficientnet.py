"""Weights trained on ImageNet, as the packages of the extra [pretrained] hold them."""

from __future__ import annotations

import hashlib
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_fmnist.errors import MissingExtraError, RecipeError, RunError, UsageError
from edge_fmnist_export import architectures
from edge_fmnist_export.architectures import efficientnet
from edge_fmnist_export.architectures.efficientnet import FILE, NAME, PACKAGE
from edge_fmnist_export.training.recipe import parse_recipe
from edge_fmnist_export.training.train_recipe import check_back_end, check_runs
from edge_fmnist_export.training.weights import assign_variables

RECIPE = f'name = "teacher"\narchitecture = "{NAME}"\ninit_from = "imagenet"\n'
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="the extra [torch] is not installed")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path at which an installed package has the weights."""
    path = tmp_path / PACKAGE / "models" / FILE
    path.parent.mkdir(parents=True)
    (tmp_path / PACKAGE / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, PACKAGE, raising=False)
    return path


@needs_torch
@pytest.mark.slow
def test_weights_are_those_of_the_package(package: Path, monkeypatch: pytest.MonkeyPatch, keras: Any) -> None:
    import torch

    model, rng = architectures.build(NAME, keras, classes=3), np.random.default_rng(1)
    expected = [rng.normal(size=variable.shape).astype(np.float32) for variable in model.weights]
    names = [f"_depthwise.{n}" if v.path.startswith("depthwise") else str(n) for n, v in enumerate(model.weights)]
    state = {}
    for name, array in zip(names, expected, strict=True):
        axes = (2, 3, 0, 1) if "depthwise" in name else (3, 2, 0, 1)
        state[name] = torch.tensor(array.transpose(axes) if array.ndim == 4 else array)
    # Three colours, a thousand classes, and what batch normalization counts.
    state["0"] = torch.cat([state["0"] / 2, state["0"] / 4, state["0"] / 4], dim=1)
    state[names[-2]], state[names[-1]] = torch.ones(1000, 1280), torch.ones(1000)
    torch.save({"bn.num_batches_tracked": torch.tensor(7), **state}, package)
    monkeypatch.setattr(efficientnet, "SHA256", hashlib.sha256(package.read_bytes()).hexdigest())

    found = efficientnet.imagenet_weights(NAME, 3)
    assign_variables(model.weights, found, NAME)
    for ours, theirs in zip(found[:-2], expected[:-2], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert not any(array.any() for array in found[-2:])


@needs_torch
def test_another_file_is_not_read(package: Path) -> None:
    for content in (None, b"another file"):
        if content is not None:
            package.write_bytes(content)
        with pytest.raises(RunError, match=r"expected SHA-256 965618.*pip install --force-reinstall"):
            check_runs(parse_recipe(RECIPE, "test"), None)


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_fmnist.extras.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"edge-fmnist\[pretrained\]"):
        check_runs(parse_recipe(RECIPE, "test"), None)


def test_other_architectures_have_no_such_weights() -> None:
    recipe = parse_recipe(RECIPE.replace(NAME, "edge"), "test")
    with pytest.raises(UsageError, match="efficientnet-lite2, got edge"):
        check_runs(recipe, None)


def test_quantization_aware_training_is_refused() -> None:
    with pytest.raises(UsageError, match="no-qat"):
        check_back_end(parse_recipe(RECIPE, "test"))


def test_imagenet_has_no_temperature_for_a_final_run() -> None:
    text = RECIPE + '[data]\ntrain_on_validation = true\n[training]\nkeep = "last"\n[qat]\nepochs = 0\n'
    with pytest.raises(RecipeError, match="needs init_from"):
        parse_recipe(text, "test")
