"""Run folders: what is in them, their weights, and shipped checkpoints."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_fmnist.errors import CheckError, RunError, RunNotFoundError, UsageError
from edge_fmnist.model.metadata import Calibration
from edge_fmnist_export.quantize import exporting
from edge_fmnist_export.quantize import ship as shipping
from edge_fmnist_export.quantize.exporting import Exported
from edge_fmnist_export.quantize.parity import Parity
from edge_fmnist_export.quantize.ship import ship, store_checkpoint
from edge_fmnist_export.report.explain.scorer import run_of
from edge_fmnist_export.training import run_folder
from edge_fmnist_export.training.recipe import Recipe, load_recipe
from edge_fmnist_export.training.run_folder import Run, create_run, open_run, resume_run, shipped_runs
from edge_fmnist_export.training.weights import (
    Checkpoint,
    assign_variables,
    load_arrays,
    load_checkpoint,
    save_arrays,
    save_checkpoint,
)


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


def test_a_folder_with_the_name_of_a_checkpoint_is_resumed(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    create_run(Path("edge"), recipe)
    assert resume_run(Path("edge"), recipe) == Run(Path("edge"), recipe)
    with pytest.raises(RunNotFoundError, match="nano: no such run folder to resume"):
        resume_run(Path("nano"), load_recipe("nano"))


def test_a_network_of_own_classes_is_not_shipped(tmp_path: Path, recipe: Recipe) -> None:
    create_run(tmp_path / "mine", recipe.with_changes(photos={"views": 1, "classes": ("hat", "belt")}))
    with pytest.raises(UsageError, match="a network of hat, belt cannot be a shipped model"):
        ship(tmp_path / "mine")


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of shipped models with a former one; exporting another is replaced by writing five bytes."""

    class Stub:
        def __init__(self, *_: object, **__: object) -> None: ...

        def export(self, kind: str, path: Path, *, max_drop: float) -> Exported:
            path.write_bytes(b"newer")
            return Exported(kind, path, 5, "hash", (), 7, Parity(0.9, 0.95, 100, 1.0, 0.1, 1.0, 0.5))

    folder = tmp_path / "shipped"
    folder.mkdir()
    (folder / "lenet5.tflite").write_bytes(b"former")
    entries = {"models": {"lenet5": {"description": "the former one"}, "edge": {}}}
    (folder / "registry.json").write_text(json.dumps(entries), "utf-8")
    monkeypatch.setattr(exporting, "Exporter", Stub)
    monkeypatch.setattr("edge_fmnist_export.training.backend.warm_up", lambda: None)
    monkeypatch.setattr("edge_fmnist.data.dataset.load", lambda _: None)
    monkeypatch.setattr(shipping, "store_checkpoint", lambda run: (folder / "stored").write_text(str(run.folder)))
    monkeypatch.setattr(shipping, "FOLDER", folder)
    monkeypatch.setattr(shipping, "REGISTRY", folder / "registry.json")
    return folder


def test_a_file_that_is_too_large_replaces_nothing(run: Run, shipped: Path) -> None:
    before = {path: path.read_bytes() for path in shipped.iterdir()}
    with pytest.raises(CheckError, match="lenet5: 5 bytes, 4 allowed"):
        ship(run.folder, max_bytes=4)
    assert {path: path.read_bytes() for path in shipped.iterdir()} == before


@pytest.mark.parametrize("description", ["", "another one"])
def test_a_shipped_model_is_in_the_registry(run: Run, shipped: Path, description: str) -> None:
    ship(run.folder, description, max_bytes=5)
    models = json.loads((shipped / "registry.json").read_text("utf-8"))["models"]
    facts = {"file": "lenet5.tflite", "sha256": "hash", "bytes": 5, "top1": 0.9, "float_top1": 0.95}
    assert models == {"lenet5": {**facts, "description": description or "the former one"}, "edge": {}}
    assert (shipped / "lenet5.tflite").read_bytes() == b"newer"
    assert {path.name for path in shipped.iterdir()} == {"lenet5.tflite", "registry.json", "stored"}


def test_where_a_run_can_be_created(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "empty").mkdir()
    assert create_run(tmp_path / "empty", recipe).folder == tmp_path / "empty"
    (tmp_path / "file").touch()
    for name in ("empty", "file"):
        with pytest.raises(UsageError, match=f"{name}: already exists"):
            create_run(tmp_path / name, recipe)


def test_damaged_files(run: Run) -> None:
    (run.folder / "history.json").write_bytes(b"\xff\xfe")
    with pytest.raises(RunError, match=r"history\.json: not readable as JSON"):
        run.read_json("history.json", [])
    (run.folder / "recipe.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(RunError, match="cannot be read as text"):
        open_run(run.folder)
    (run.folder / "run.json").write_text("[1]", "utf-8")
    with pytest.raises(RunError, match=r"run\.json: expected a JSON object, got list"):
        run.record()


def test_weights_of_a_phase(run: Run) -> None:
    assert not run.has("float")
    with pytest.raises(RunError, match=r"has no float weights \(float\.npz\)"):
        run.weights("float")
    save_arrays(run.weights_path("float"), [np.arange(3)])
    assert run.has("float")
    assert not run.has("qat")
    np.testing.assert_array_equal(run.weights("float")[0], [0, 1, 2])


def test_the_integer_format_is_the_one_that_a_run_was_trained_for(run: Run, recipe: Recipe) -> None:
    assert run.integer_format == "int8-ptq"
    save_arrays(run.weights_path("qat"), [np.arange(3)])
    assert run.integer_format == "int8"
    four = recipe.with_changes(training={"weight_bits": 4, "optimizer": "sgd"}, qat={"epochs": 0})
    assert Run(run.folder, four).integer_format == "int4"


def test_shipped_checkpoints_open_by_name() -> None:
    for name in shipped_runs():
        run = open_run(name)
        assert run.recipe.name == name
        assert run.has("float")
        assert run.has("qat") == bool(run.recipe.qat.epochs)


def test_a_file_of_an_earlier_version_leads_to_its_run() -> None:
    # It also states the labels and the hashes of the teachers.
    record = open_run("edge").read_json("run.json", {})
    assert {"labels", "teachers_sha256"} < set(record)
    settings = {"name": "edge", "training": record}
    found = open_run("edge").read_json("calibration.json", {})
    calibration = Calibration(found["temperature"], found["threshold"])

    def file(calibration: Calibration) -> Any:
        return SimpleNamespace(metadata=SimpleNamespace(settings=settings, calibration=calibration))

    assert run_of(file(calibration), "edge.tflite").folder == open_run("edge").folder
    # A run of the same name, seed and data, but of another recipe, has another calibration.
    missing = r"^edge\.tflite: the float model of this file was not found"
    with pytest.raises(UsageError, match=missing):
        run_of(file(Calibration(1.5)), "edge.tflite")
    settings["taught"] = {}
    with pytest.raises(UsageError, match="a taught model has no float model"):
        run_of(file(calibration), "edge.tflite")
    del settings["taught"]
    record["seed"] += 1
    with pytest.raises(UsageError, match=missing):
        run_of(file(calibration), "edge.tflite")


def test_checkpoint_holds_the_run_and_nothing_of_an_earlier_one(tiny_run: Path, tmp_path: Path) -> None:
    target = store_checkpoint(open_run(tiny_run), tmp_path / "checkpoints")
    assert target == tmp_path / "checkpoints" / "tiny"
    assert {path.name: path.read_bytes() for path in target.iterdir()} == {
        path.name: path.read_bytes() for path in tiny_run.iterdir()
    }
    later = Path(shutil.copytree(tiny_run, tmp_path / "later"))
    (later / "calibration.json").unlink()
    (later / "checkpoint.npz").write_bytes(b"unfinished")
    store_checkpoint(open_run(later), tmp_path / "checkpoints")
    assert {path.name for path in target.iterdir()} == {path.name for path in tiny_run.iterdir()} - {"calibration.json"}


def test_a_checkpoint_is_stored_over_itself(tmp_path: Path, recipe: Recipe) -> None:
    run = create_run(tmp_path / recipe.name, recipe)
    before = {path: path.read_bytes() for path in run.folder.iterdir()}
    assert store_checkpoint(run, tmp_path) == run.folder
    assert {path: path.read_bytes() for path in run.folder.iterdir()} == before


def test_weights_stored_as_float16_load_as_float32(tiny_run: Path, tmp_path: Path) -> None:
    run = open_run(tiny_run)
    stored = open_run(store_checkpoint(run, tmp_path, half=True))
    assert stored.weights_path("float").stat().st_size < 0.6 * run.weights_path("float").stat().st_size
    for half, whole in zip(stored.weights("float"), run.weights("float"), strict=True):
        assert half.dtype == np.float32
        np.testing.assert_allclose(half, whole, rtol=1e-3, atol=1e-6)


def test_weights_that_the_package_leaves_out_say_where_they_are(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folder, "CHECKPOINTS", tmp_path)
    store_checkpoint(open_run(tiny_run), tmp_path)
    (tmp_path / "tiny" / "float.npz").unlink()
    with pytest.raises(
        RunNotFoundError, match=r"not part of the installed package.*export/.*/checkpoints/tiny/float\.npz"
    ):
        open_run("tiny").weights("float")


def test_a_checkpoint_without_qat_has_no_such_weights_anywhere(
    run: Run, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folder, "CHECKPOINTS", run.folder.parent)
    with pytest.raises(RunNotFoundError, match="not part of the installed package"):
        run.require("qat")
    with pytest.raises(RunError, match=r"has no qat weights \(qat\.npz\); train it first"):
        Run(run.folder, recipe.with_changes(qat={"epochs": 0})).require("qat")


class Variable:
    """What Keras' and TensorFlow's variables have in common."""

    def __init__(self, value: np.ndarray) -> None:
        self.value = value

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    def numpy(self) -> np.ndarray:
        return self.value

    def assign(self, value: np.ndarray) -> None:
        self.value = value


@pytest.fixture
def arrays() -> list[np.ndarray]:
    """Return arrays of several types and shapes, more than ten so that an order by text would show."""
    rng = np.random.default_rng(0)
    drawn = [rng.normal(size=(index, 2)).astype(np.float32) for index in range(12)]
    return [*drawn, np.array(7, np.int64), np.array([1, 2], np.uint32)]


def assert_same(one: list[np.ndarray], two: list[np.ndarray]) -> None:
    for first, second in zip(one, two, strict=True):
        assert first.dtype == second.dtype
        np.testing.assert_array_equal(first, second)


def test_arrays_come_back_exactly_and_in_order(tmp_path: Path, arrays: list[np.ndarray]) -> None:
    path = tmp_path / "weights.npz"
    save_arrays(path, arrays)
    assert_same(load_arrays(path), arrays)
    assert [child.name for child in tmp_path.iterdir()] == ["weights.npz"]


@pytest.mark.parametrize("best", [0, 3])
def test_checkpoint_comes_back(tmp_path: Path, arrays: list[np.ndarray], best: int) -> None:
    saved = Checkpoint("qat", 4, arrays, arrays[:best], 0.1 + 0.2, 3)
    save_checkpoint(tmp_path / "checkpoint.npz", saved)
    loaded = load_checkpoint(tmp_path / "checkpoint.npz")
    assert (loaded.phase, loaded.epoch, loaded.best_accuracy, loaded.best_epoch) == ("qat", 4, 0.1 + 0.2, 3)
    assert_same(loaded.state, saved.state)
    assert_same(loaded.best, saved.best)


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    np.savez(path, np.array([{"a": 1}], dtype=object))
    with pytest.raises(RunError, match="not a readable archive of weights"):
        load_arrays(path)


def test_truncated_file(tmp_path: Path, arrays: list[np.ndarray]) -> None:
    path = tmp_path / "checkpoint.npz"
    save_checkpoint(path, Checkpoint("float", 1, arrays))
    content = path.read_bytes()
    for left in (0, 100, -20):
        path.write_bytes(content[:left])
        with pytest.raises(RunError, match=r"checkpoint\.npz: not a readable archive"):
            load_checkpoint(path)


@pytest.mark.parametrize("header", [b"no json", b'{"state": 0, "colour": 1}'])
def test_archive_that_is_no_checkpoint(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "checkpoint.npz"
    save_arrays(path, [np.frombuffer(header, np.uint8), np.zeros(3)])
    with pytest.raises(RunError, match="not a checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize("shapes", [[(3,)], [(3,), (2, 2), (1,)], [(3,), (4,)], [(2, 2), (3,)]])
def test_weights_of_another_network_assign_nothing(shapes: list[tuple[int, ...]]) -> None:
    variables = [Variable(np.zeros(3)), Variable(np.zeros((2, 2)))]
    with pytest.raises(RunError, match="the weights does not fit this network: expected 2 arrays"):
        assign_variables(variables, [np.ones(shape) for shape in shapes], "the weights")
    assert all((variable.value == 0).all() for variable in variables)
