from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge_fmnist.errors import RunError
from edge_fmnist_export.training.recipe import Recipe, load_recipe
from edge_fmnist_export.training.run_folder import Run, create_run, environment, open_run, shipped_runs
from edge_fmnist_export.training.weights import save_arrays


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe("lenet5")


@pytest.fixture
def run(tmp_path: Path, recipe: Recipe) -> Run:
    return create_run(tmp_path / "runs" / "mine", recipe)


def test_created_run_opens_with_its_recipe(run: Run, recipe: Recipe) -> None:
    assert [path.name for path in run.folder.iterdir()] == ["recipe.toml"]
    assert open_run(run.folder) == run
    assert open_run(str(run.folder)).recipe == recipe


def test_damaged_files(run: Run) -> None:
    (run.folder / "history.json").write_bytes(b"\xff\xfe")
    with pytest.raises(RunError, match=r"history\.json: not readable as JSON"):
        run.read_json("history.json", [])
    (run.folder / "recipe.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(RunError, match="cannot be read as text"):
        open_run(run.folder)


def test_weights_of_a_phase(run: Run) -> None:
    assert not run.has("float")
    with pytest.raises(RunError, match=r"has no float weights \(float\.npz\)"):
        run.weights("float")
    save_arrays(run.weights_path("float"), [np.arange(3)])
    assert run.has("float")
    assert not run.has("qat")
    np.testing.assert_array_equal(run.weights("float")[0], [0, 1, 2])


def test_shipped_checkpoints_open_by_name() -> None:
    for name in shipped_runs():
        run = open_run(name)
        assert run.recipe.name == name
        assert run.has("float")
        assert run.has("qat") == bool(run.recipe.qat.epochs)


def test_environment_is_plain_and_tells_versions() -> None:
    facts = environment()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["versions"]["edge-fmnist"] == "0.1.0"
    assert facts["versions"]["numpy"] == np.__version__
