"""Another data set with labels of its own, from training to the answer of the exported file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_fmnist.errors import RunError
from edge_fmnist_export.quantize.exporting import run_labels
from edge_fmnist_export.training.recipe import Recipe
from edge_fmnist_export.training.run_folder import Run

pytestmark = pytest.mark.slow

Command = Callable[..., Any]
SHAPES = ("rød", "green", "blue", "black", "white")


@pytest.fixture(scope="session")
def five_data(tmp_path_factory: pytest.TempPathFactory, write_data: Callable[..., Path]) -> Path:
    """Return a folder of IDX files with five classes: a bright bar at one of five places."""
    rng = np.random.default_rng(6)

    def bars(count: int) -> tuple[np.ndarray, np.ndarray]:
        targets = np.arange(count) % 5
        images = rng.integers(0, 60, (count, 28, 28))
        for image, target in zip(images, targets, strict=True):
            image[4:24, 2 + 5 * target : 6 + 5 * target] = rng.integers(180, 256)
        return images, targets

    return write_data(tmp_path_factory.mktemp("five"), bars(500), bars(100))


@pytest.fixture(scope="session")
def five_labels(five_data: Path) -> Path:
    path = five_data / "labels.txt"
    path.write_text("\n".join(SHAPES) + "\n", "utf-8")
    return path


@pytest.fixture(scope="session")
def five_run(command_once: Callable[..., Path], five_data: Path, five_labels: Path, tiny_recipe: Path) -> Path:
    """Return the folder of a run on the five classes; not to be written to."""
    options = ("--data", five_data, "--labels", five_labels, "--no-qat")
    return command_once("five-classes/five", "train", tiny_recipe, *options)


@pytest.fixture(scope="session")
def five_file(command_once: Callable[..., Path], five_run: Path, five_data: Path) -> Path:
    """Return the int8 file of that run, exported without naming the labels."""
    options = ("--data", five_data, "--ptq", "--calibration", 50, "--max-drop", 10)
    return command_once("five-classes-file/five.tflite", "export", five_run, *options)


def test_evaluate_names_them_without_an_option(run_cli: Callable[..., Any], five_file: Path, five_data: Path) -> None:
    result = run_cli("evaluate", five_file, "--data", five_data, "--json")
    [evaluation] = json.loads(result.stdout)
    assert evaluation["top1"] > 0.9
    support = {metrics["label"]: metrics["support"] for metrics in evaluation["classes"]}
    assert support == dict.fromkeys(SHAPES, 20)


def test_resuming_with_other_labels_is_refused(
    five_run: Path, five_data: Path, tiny_recipe: Path, run_command: Command
) -> None:
    options = ("--data", five_data, "--output", five_run, "--resume", "--no-qat")
    answer = run_command("train", tiny_recipe, *options, code=1)
    assert "was started with other labels" in answer.stderr


def test_a_class_without_a_label_stops_before_training(
    tmp_path: Path, tiny_data: Path, five_labels: Path, tiny_recipe: Path, run_command: Command
) -> None:
    options = ("--data", tiny_data, "--labels", five_labels, "--output", tmp_path / "run")
    answer = run_command("train", tiny_recipe, *options, code=1)
    assert "is outside the classes 0 to 4" in answer.stderr
    assert not (tmp_path / "run").exists()


def test_photographs_of_garments_take_no_other_labels(
    run_cli: Callable[..., Any], tmp_path: Path, five_labels: Path, photo_recipe: Path
) -> None:
    result = run_cli("train", photo_recipe, "--photos", tmp_path, "--labels", five_labels, code=2)
    assert "trains on photographs of garments; omit --labels" in result.stderr


@pytest.mark.parametrize("recorded", [{"labels": []}, {"labels": "abc"}, {"labels": [1, 2]}, []])
def test_a_damaged_record_of_labels_is_told(tmp_path: Path, recorded: Any) -> None:
    run = Run(tmp_path, Recipe(name="any", architecture="lenet5"))
    run.write_json("run.json", recorded)
    with pytest.raises(RunError, match=r"run\.json: expected labels, a list of 2 to 10 names"):
        run_labels(run)
