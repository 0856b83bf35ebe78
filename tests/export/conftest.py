"""Fixtures for the workstation's tests.

TensorFlow, Keras and TFMOT warn when they are imported, and warnings are errors in the tests: whatever
needs them runs in a process of its own.
"""

from __future__ import annotations

import inspect
import json
import os
import struct
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RECIPE = """
name = "tiny"
architecture = "lenet5"
seed = 3

[data]
validation = 100
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


@dataclass(frozen=True)
class Answer:
    """What a command said and how it ended."""

    code: int
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
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of IDX files that a network learns in seconds: 600 train and 200 test images."""
    folder = tmp_path_factory.mktemp("tiny_data")
    for prefix, count, seed in (("train", 600, 1), ("t10k", 200, 2)):
        images, targets = blobs(count, seed)
        for name, array in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", targets)):
            header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            (folder / name).write_bytes(header + array.tobytes())
    return folder


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recipe for the tiny data: LeNet-5, 2 float epochs and 2 of QAT."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE, "utf-8")
    return path


@pytest.fixture(scope="session")
def subprocess_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment without this project's settings and without a data set, on the processor alone."""
    if find_spec("tensorflow") is None or find_spec("tf_keras") is None:
        pytest.skip("the extra [export] is not installed")
    ours = ("EDGE_FMNIST_", "KERAS_BACKEND", "TF_", "FORCE_COLOR")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {
        **kept,
        "EDGE_FMNIST_DATA": str(tmp_path_factory.mktemp("nothing") / "no-data"),
        "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")),
        "CUDA_VISIBLE_DEVICES": "-1",
        "COLUMNS": "250",
    }


@pytest.fixture(scope="session")
def run_command(subprocess_environment: dict[str, str]) -> Command:
    """Return a function that runs ``edge-fmnist`` in a process of its own."""

    def run(*arguments: object) -> Answer:
        command = [sys.executable, "-m", "edge_fmnist", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=subprocess_environment, check=False)
        return Answer(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def run_function(subprocess_environment: dict[str, str]) -> Callable[..., Any]:
    """Return a function that runs another one, which takes strings and prints JSON, in a process of its own."""

    def run(function: Callable[..., None], *arguments: str) -> Any:
        source = textwrap.dedent(inspect.getsource(function))
        script = f"from __future__ import annotations\n{source}\n{function.__name__}(*{arguments!r})\n"
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, env=subprocess_environment, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="session")
def tiny_run(
    tmp_path_factory: pytest.TempPathFactory, tiny_data: Path, tiny_recipe: Path, run_command: Command
) -> Path:
    """Return the folder of a whole run on the tiny data, float and QAT; not to be written to."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    answer = run_command("train", tiny_recipe, "--data", tiny_data, "--output", folder)
    assert answer.code == 0, answer.stderr
    return folder


@pytest.fixture(scope="session")
def no_qat_run(
    tmp_path_factory: pytest.TempPathFactory, tiny_data: Path, tiny_recipe: Path, run_command: Command
) -> tuple[Path, Answer]:
    """Return the folder of a run without QAT, not to be written to, and what training it said."""
    folder = tmp_path_factory.mktemp("runs") / "no-qat"
    answer = run_command("train", tiny_recipe, "--data", tiny_data, "--output", folder, "--no-qat", "--epochs", 1)
    assert answer.code == 0, answer.stderr
    return folder, answer


def serve_commands() -> None:
    """Run the command lines that come as JSON lines on standard input, and answer each with a JSON line."""
    import json
    import sys

    from typer.testing import CliRunner

    from edge_fmnist.cli.app import app

    for line in sys.stdin:
        result = CliRunner().invoke(app, json.loads(line))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        print(json.dumps([result.exit_code, result.stdout, result.stderr]), flush=True)


@pytest.fixture(scope="session")
def warm_command(subprocess_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """Return a function that runs ``edge-fmnist`` in one process for all calls, which imports TensorFlow once."""
    source = inspect.getsource(serve_commands)
    script = f"from __future__ import annotations\n{source}\nserve_commands()\n"
    log = tmp_path_factory.mktemp("server") / "stderr"
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=subprocess_environment,
        ) as server,
    ):
        assert server.stdin is not None
        assert server.stdout is not None
        requests, answers = server.stdin, server.stdout

        def run(*arguments: object) -> Answer:
            requests.write(json.dumps([str(argument) for argument in arguments]) + "\n")
            requests.flush()
            line = answers.readline()
            assert line, log.read_text("utf-8")
            return Answer(*json.loads(line))

        yield run
        requests.close()
