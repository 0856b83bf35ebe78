from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_fmnist.data.dataset import load_split
from edge_fmnist.data.labels import LABELS
from edge_fmnist_export.training.recipe import load_recipe
from edge_fmnist_export.training.weights import load_arrays, load_checkpoint

FILES = ["calibration.json", "float.npz", "history.json", "metrics.json", "qat.npz", "recipe.toml", "run.json"]
# Everything that draws on chance: dropout, and every augmentation.
RECIPE = """
name = "chance"
architecture = "cnn-dropout"
seed = 5

[data]
validation = 100
batch_size = 32

[augmentation]
shift = 2
flip = true
erasing = 0.5
mixup = 0.2
cutmix = 1.0

[training]
epochs = 4
optimizer = "adamw"
learning_rate = 0.003
weight_decay = 0.01
warmup_epochs = 1

[qat]
epochs = 4
learning_rate = 0.01
"""


def read_json(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text("utf-8"))


def test_a_run_leaves_what_it_promises(tiny_run: Path, tiny_recipe: Path, tiny_data: Path) -> None:
    assert sorted(path.name for path in tiny_run.iterdir()) == FILES
    assert load_recipe(str(tiny_run / "recipe.toml")) == load_recipe(str(tiny_recipe))
    facts = read_json(tiny_run, "run.json")
    assert facts["seed"] == 3
    assert facts["data_sha256"] == list(load_split(tiny_data, "train").sha256)
    assert facts["versions"]["keras"].startswith("3.")


def test_history_and_metrics_agree(tiny_run: Path) -> None:
    history, metrics = read_json(tiny_run, "history.json"), read_json(tiny_run, "metrics.json")
    assert [(record["phase"], record["epoch"]) for record in history] == [
        (phase, epoch) for phase in ("float", "qat") for epoch in (1, 2)
    ]
    for phase, result in metrics.items():
        records = [record for record in history if record["phase"] == phase]
        best = max(records, key=lambda record: record["validation_accuracy"])
        assert (result["epochs"], result["best_epoch"]) == (2, best["epoch"])
        assert result["validation_accuracy"] == pytest.approx(best["validation_accuracy"], abs=1e-6)
        assert (result["parameters"], result["validation_images"]) == (59_086, 100)


def test_scores_are_calibrated_on_validation(tiny_run: Path) -> None:
    calibration = read_json(tiny_run, "calibration.json")
    assert calibration["validation_nll_after"] < calibration["validation_nll_before"]
    assert (calibration["threshold"], calibration["validation_lost"]) == (0, 0)


def test_training_learns(tiny_run: Path) -> None:
    metrics = read_json(tiny_run, "metrics.json")
    assert metrics["float"]["validation_accuracy"] > 0.8
    assert metrics["qat"]["validation_accuracy"] > 0.8
    losses = [record["loss"] for record in read_json(tiny_run, "history.json") if record["phase"] == "float"]
    assert losses[1] < losses[0]


def test_from_a_run_to_a_named_picture(
    run_command: Callable[..., Any], tiny_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    model, picture = tmp_path / "tiny.tflite", tmp_path / "picture.png"
    exported = run_command("export", tiny_run, "--int8", "--data", tiny_data, "--output", model, "--json")
    assert exported.code == 0, exported.stderr
    evaluated = run_command("evaluate", model, "--data", tiny_data, "--json")
    assert evaluated.json[0]["top1"] == exported.json[0]["top1"] > 0.8
    test = load_split(tiny_data, "test")
    cv2.imwrite(str(picture), test.images[3])
    classified = run_command("classify", picture, "--model", model, "--json")
    assert classified.code == 0, classified.stderr
    assert LABELS[int(test.targets[3])] in classified.stdout


def test_without_qat_there_is_no_qat(no_qat_run: tuple[Path, Any]) -> None:
    folder, answer = no_qat_run
    assert sorted(path.name for path in folder.iterdir()) == [name for name in FILES if name != "qat.npz"]
    assert list(read_json(folder, "metrics.json")) == ["float"]
    assert "--ptq" in answer.stderr


def test_resuming_a_finished_run_changes_nothing(
    run_command: Callable[..., Any], tiny_run: Path, tiny_data: Path, tiny_recipe: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(tiny_run, folder)
    answer = run_command("train", tiny_recipe, "--data", tiny_data, "--output", folder, "--resume", "--json")
    assert answer.code == 0, answer.stderr
    assert answer.json == {"run": str(folder), "metrics": read_json(tiny_run, "metrics.json")}
    for name in FILES:
        assert (folder / name).read_bytes() == (tiny_run / name).read_bytes()


class Interrupted:
    """A run that was interrupted once in each phase and resumed, beside one that was not."""

    def __init__(self, place: Path, data: Path, environment: dict[str, str]) -> None:
        self.environment = environment
        recipe = place / "chance.toml"
        recipe.write_text(RECIPE, "utf-8")
        self.command = [sys.executable, "-m", "edge_fmnist", "train", str(recipe), "--data", str(data)]
        self.folder, self.whole = place / "interrupted", place / "whole"
        self.stops: dict[str, tuple[int, str]] = {}
        self.states: dict[str, tuple[str, int, int]] = {}
        for phase, options in (("float", []), ("qat", ["--resume"])):
            self.stops[phase] = self.run_until(f"{phase} epoch 2/4: ", *options)
            checkpoint = load_checkpoint(self.folder / "checkpoint.npz")
            self.states[phase] = (checkpoint.phase, checkpoint.epoch, len(read_json(self.folder, "history.json")))
        self.run("--output", str(self.folder), "--resume")
        self.run("--output", str(self.whole))

    def run(self, *options: str) -> None:
        done = subprocess.run(
            [*self.command, *options], capture_output=True, text=True, env=self.environment, check=False
        )
        assert done.returncode == 0, done.stderr

    def run_until(self, start: str, *options: str) -> tuple[int, str]:
        """Train until a line starts so, interrupt, and return the exit code and what was said."""
        command = [*self.command, "--output", str(self.folder), *options]
        said = ""
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=self.environment) as process:
            assert process.stderr is not None
            for line in process.stderr:
                said += line
                if line.startswith(start):
                    process.send_signal(signal.SIGINT)
        return process.returncode, said


@pytest.fixture(scope="module")
def interrupted(
    tmp_path_factory: pytest.TempPathFactory, tiny_data: Path, subprocess_environment: dict[str, str]
) -> Interrupted:
    return Interrupted(tmp_path_factory.mktemp("interrupted"), tiny_data, subprocess_environment)


@pytest.mark.parametrize("phase", ["float", "qat"])
def test_interruption_leaves_a_checkpoint_and_says_how_to_go_on(interrupted: Interrupted, phase: str) -> None:
    code, said = interrupted.stops[phase]
    assert code == 130, said
    assert "Traceback" not in said
    assert said.rstrip().endswith("go on with the same command and --resume.")
    phase_of_checkpoint, epoch, records = interrupted.states[phase]
    assert phase_of_checkpoint == phase
    assert 2 <= epoch < 4
    assert records >= (4 if phase == "qat" else 0) + epoch


def test_resumed_run_goes_on_where_it_stood(interrupted: Interrupted) -> None:
    _, said = interrupted.stops["qat"]
    assert "float epoch 1/4" not in said
    assert "float epoch 4/4" in said


@pytest.mark.parametrize("phase", ["float", "qat"])
def test_resumed_weights_are_those_of_an_uninterrupted_run(interrupted: Interrupted, phase: str) -> None:
    resumed, whole = (load_arrays(folder / f"{phase}.npz") for folder in (interrupted.folder, interrupted.whole))
    for one, two in zip(resumed, whole, strict=True):
        np.testing.assert_array_equal(one, two)


def test_resumed_history_is_that_of_an_uninterrupted_run(interrupted: Interrupted) -> None:
    def history(folder: Path) -> list[dict[str, Any]]:
        timed = ("seconds", "images_per_second")
        return [{k: v for k, v in record.items() if k not in timed} for record in read_json(folder, "history.json")]

    assert len(history(interrupted.whole)) == 8
    assert history(interrupted.folder) == history(interrupted.whole)


def test_a_finished_run_keeps_no_checkpoint(interrupted: Interrupted) -> None:
    assert sorted(path.name for path in interrupted.folder.iterdir()) == FILES


@pytest.mark.parametrize(
    ("recipe", "options", "code", "message"),
    [
        ("no-such", (), 2, "neither a file nor a shipped recipe"),
        ("{tiny}", ("--data", "{new}"), 3, "no such folder"),
        ("{tiny}", ("--epochs", "0"), 2, "--epochs"),
        ("lenet5", ("--output", "{new}"), 1, "cannot hold 3000 of 600 training images out"),
        ("{tiny}", ("--output", "{new}", "--resume"), 3, "neither a run folder"),
        ("{tiny}", ("--output", "{run}"), 2, "already there; go on from it with --resume"),
        ("{tiny}", ("--output", "{run}", "--resume", "--seed", "9"), 1, "another recipe (it differs in seed)"),
        ("{tiny}", ("--output", "{run}", "--resume", "--epochs", "9"), 1, "another recipe (it differs in training)"),
        ("{tiny}", ("--output", "{run}", "--resume", "--no-qat"), 1, "another recipe (it differs in qat)"),
    ],
)
def test_what_cannot_be_trained(
    warm_command: Callable[..., Any],
    tiny_run: Path,
    tiny_recipe: Path,
    tiny_data: Path,
    tmp_path: Path,
    recipe: str,
    options: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    before = {path: path.read_bytes() for path in tiny_run.iterdir()}
    named = {"tiny": tiny_recipe, "run": tiny_run, "new": tmp_path / "new"}
    filled = [argument.format(**named) for argument in (recipe, "--data", str(tiny_data), *options)]
    answer = warm_command("train", *filled)
    assert (answer.code, answer.stdout) == (code, "")
    assert message in answer.stderr
    assert not (tmp_path / "new").exists()
    assert {path: path.read_bytes() for path in tiny_run.iterdir()} == before
