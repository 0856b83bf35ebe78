"""Fixtures for the workstation's tests.

Commands run inside the test process, so that TensorFlow starts once for each worker. Trained runs are made once for
all workers of a test run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from edge_fmnist.cli.app import app
from edge_fmnist_export.training import backend, qat

# Read when Keras and TensorFlow are imported, which the first test that needs them does.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

RECIPE = """
name = "tiny"
architecture = "lenet5"
seed = 3

[data]
validation = 100
split_seed = 3
batch_size = 32

[augmentation]
shift = 1

[training]
epochs = 2
optimizer = "adamw"
learning_rate = 0.003

[qat]
epochs = 2
optimizer = "adamw"
learning_rate = 0.0005
"""

# The same with photographs, and with every source of randomness: dropout and all augmentations but mirroring, which
# would move the bars to the places of other classes.
AUGMENTATION = "shift = 1\nerasing = 0.3\ndropping = 0.2\nleaking = 0.2"
PHOTO_RECIPE = (
    RECIPE.replace('"tiny"', '"pictured"')
    .replace("lenet5", "cnn-1")
    .replace("seed = 3", "seed = 4")
    .replace("shift = 1", f"{AUGMENTATION}\n\n[photos]\nviews = 3\nfalse_reject_rate = 0.25")
    .replace("0.003", "0.003\nlabel_smoothing = 0.05")
)

# Corners of garments, in shares of a photograph.
OUTLINES = {
    "t-shirt": (
        *((0.2, 0.25), (0.8, 0.25), (0.8, 0.45), (0.65, 0.45)),
        *((0.65, 0.8), (0.35, 0.8), (0.35, 0.45), (0.2, 0.45)),
    ),
    "pants": ((0.35, 0.15), (0.65, 0.15), (0.7, 0.85), (0.55, 0.85), (0.5, 0.4), (0.45, 0.85), (0.3, 0.85)),
    "shoes": ((0.2, 0.45), (0.4, 0.4), (0.6, 0.52), (0.8, 0.55), (0.8, 0.68), (0.2, 0.68)),
    "hat": ((0.35, 0.35), (0.65, 0.35), (0.68, 0.55), (0.82, 0.62), (0.18, 0.62), (0.32, 0.55)),
}


@dataclass(frozen=True)
class Answer:
    """Output of a command."""

    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.stdout)


Command = Callable[..., Answer]


def blobs(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy images, each with a bright bar at a place that its class decides, and their classes."""
    rng = np.random.default_rng(seed)
    targets = (np.arange(count) % 10).astype(np.uint8)
    images = rng.integers(0, 90, (count, 28, 28), dtype=np.uint8)
    for image, target in zip(images, targets, strict=True):
        row, column = 3 + target // 5 * 13 + rng.integers(-1, 2), 2 + target % 5 * 5 + rng.integers(-1, 2)
        image[row : row + 8, column : column + 4] = rng.integers(150, 256)
    return images, targets


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory, write_data: Callable[..., Path]) -> Path:
    """Return a folder of IDX files that a network learns in seconds: 600 train and 200 test images."""
    return write_data(tmp_path_factory.mktemp("tiny_data"), blobs(600, 1), blobs(200, 2))


@pytest.fixture(scope="session")
def keras() -> Any:
    """Return Keras 3 on TensorFlow."""
    pytest.importorskip("tensorflow")
    return backend.keras_on_tensorflow()


@pytest.fixture(scope="session")
def tf_keras() -> Any:
    pytest.importorskip("tensorflow")
    return qat.modules().keras


@pytest.fixture(params=["keras", "tf_keras"])
def each_keras(request: pytest.FixtureRequest) -> Any:
    """Return Keras 3, then ``tf_keras``."""
    return request.getfixturevalue(request.param)


def drawn_photo(kind: str, seed: int) -> np.ndarray:
    """Return a picture of a garment on noisy ground, uint8, shape (160, 120, 3), BGR."""
    rng = np.random.default_rng(seed)
    picture = np.empty((160, 120, 3), np.uint8)
    picture[:] = rng.integers(150, 220, 3)
    corners = (np.array(OUTLINES[kind]) + rng.uniform(-0.03, 0.03, 2)) * (120, 160)
    cv2.fillPoly(picture, [corners.astype(np.int32)], rng.integers(0, 90, 3).tolist())
    return np.clip(picture + rng.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)


def draw_photos(folder: Path, train: int, validation: int) -> Path:
    """Fill a folder with drawn photographs, this number of each kind in each split, and return it."""
    for split, count, first in (("train", train, 0), ("validation", validation, 1000)):
        for number, kind in enumerate(OUTLINES):
            (folder / split / kind).mkdir(parents=True)
            for index in range(count):
                path = folder / split / kind / f"{index}.png"
                # One photograph is in the wrong folder; without a mistake, calibration has nothing to fit.
                shown = "pants" if (split, kind, index) == ("validation", "t-shirt", 0) else kind
                cv2.imwrite(str(path), drawn_photo(shown, first + 100 * number + index))
    return folder


@pytest.fixture(scope="session")
def tiny_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of drawn photographs, 4 of each of 4 kinds to train and 3 to validate; not to be written to."""
    return draw_photos(tmp_path_factory.mktemp("photos") / "photos", 4, 3)


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recipe for the tiny data: LeNet-5, 2 float epochs and 2 of QAT."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE, "utf-8")
    return path


@pytest.fixture(scope="session")
def run_command(subprocess_environment: dict[str, str]) -> Command:
    """Return a function that runs ``edge-fmnist`` in this process, with ``subprocess_environment``, to an exit code."""

    def run(*arguments: object, code: int = 0) -> Answer:
        removed = {name for name in os.environ if name.startswith(("EDGE_FMNIST_", "FORCE_COLOR"))}
        environment = {**dict.fromkeys(removed), **subprocess_environment}
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], env=environment)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.stderr
        return Answer(result.stdout, result.stderr)

    return run


@pytest.fixture(scope="session")
def spawn_command(subprocess_environment: dict[str, str]) -> Command:
    """Return a function that runs ``edge-fmnist`` in a process of its own, with more environment by keyword."""

    def run(*arguments: object, code: int = 0, **environment: str) -> Answer:
        command = [sys.executable, "-m", "edge_fmnist", *map(str, arguments)]
        given = {**subprocess_environment, **environment}
        done = subprocess.run(command, capture_output=True, text=True, env=given, check=False)
        assert done.returncode == code, done.stderr
        return Answer(done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def command_once(make_once: Callable[..., Path], run_command: Command) -> Callable[..., Path]:
    """Return a function that runs ``edge-fmnist`` with ``--output`` once for all workers, and returns what it wrote.

    It takes the name of a folder, ``/`` and a file or folder in it, and the other arguments; not to be written to.
    """

    def once(output: str, *arguments: object) -> Path:
        def make(folder: Path) -> None:
            answer = run_command(*arguments, "--output", folder / name)
            (folder / "stderr.txt").write_text(answer.stderr, "utf-8")

        folder, _, name = output.partition("/")
        return make_once(folder, make) / name

    return once


@pytest.fixture(scope="session")
def tiny_run(command_once: Callable[..., Path], tiny_data: Path, tiny_recipe: Path) -> Path:
    """Return the folder of a whole run on the tiny data, float and QAT; not to be written to."""
    return command_once("tiny/run", "train", tiny_recipe, "--data", tiny_data)


@pytest.fixture(scope="session")
def tiny_model(command_once: Callable[..., Path], tiny_run: Path) -> Path:
    """Return the int8 file of the tiny run; not to be written to."""
    return command_once("tiny-model/tiny.tflite", "export", tiny_run, "--int8")


@pytest.fixture(scope="session")
def photo_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recipe for the tiny data and the drawn photographs, with dropout: 2 float epochs and 2 of QAT."""
    path = tmp_path_factory.mktemp("recipe") / "pictured.toml"
    path.write_text(PHOTO_RECIPE, "utf-8")
    return path


@pytest.fixture(scope="session")
def photo_run(command_once: Callable[..., Path], tiny_data: Path, tiny_photos: Path, photo_recipe: Path) -> Path:
    """Return the folder of a whole run with photographs, float and QAT; not to be written to."""
    return command_once("pictured/run", "train", photo_recipe, "--data", tiny_data, "--photos", tiny_photos)


@pytest.fixture(scope="session")
def no_qat_run(command_once: Callable[..., Path], tiny_data: Path, tiny_recipe: Path) -> tuple[Path, str]:
    """Return the folder of a run without QAT, not to be written to, and the command's messages."""
    run = command_once("no-qat/run", "train", tiny_recipe, "--data", tiny_data, "--no-qat", "--epochs", 1)
    return run, (run.parent / "stderr.txt").read_text("utf-8")


# Kills the process that reads a photograph of this name; every Python process that finds the module imports it.
POISON = """
import builtins, os, signal
opened = builtins.open
def open(file, *arguments, **options):
    if isinstance(file, str) and file.endswith("poison.png"):
        os.kill(os.getpid(), signal.SIGKILL)
    return opened(file, *arguments, **options)
builtins.open = open
"""


@pytest.fixture
def poison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let photographs with the name ``poison.png`` kill the worker process that reads them."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(POISON)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), *sys.path]))
