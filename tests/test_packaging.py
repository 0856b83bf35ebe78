"""The wheel holds what it must, and a base install of it works without any extra."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_fmnist.data.samples import write_samples
from edge_fmnist.extras import EXTRAS

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def wheel(make_once: Callable[..., Path]) -> Path:
    def make(folder: Path) -> None:
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
        subprocess.run(command, check=True, capture_output=True, timeout=300)

    return next(make_once("wheel", make).glob("*.whl"))


@pytest.fixture(scope="session")
def base_install(wheel: Path, make_once: Callable[..., Path]) -> Path:
    """Return the ``bin`` folder of a virtual environment with the wheel and no extra."""

    def make(folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        # Of the packages, a command compiles only the modules that it imports.
        subprocess.run([*pip, "--no-compile", str(wheel)], check=True, capture_output=True, timeout=600)

    return make_once("base-install", make) / "bin"


def run(base_install: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return subprocess.run(
        [str(base_install / "edge-fmnist"), *arguments],
        env=environment,
        cwd=base_install,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_wheel_holds_models_recipes_checkpoint_and_licence(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        "edge_fmnist/model/edge.tflite",
        "edge_fmnist/model/registry.json",
        "edge_fmnist/py.typed",
        "edge_fmnist_bench/protocol.toml",
        # What `edge-fmnist export` needs, offline.
        *(f"edge_fmnist_export/checkpoints/{name}/float.npz" for name in ("edge", "nano", "nano4")),
        *(f"edge_fmnist_export/checkpoints/{name}/qat.npz" for name in ("edge", "nano")),
        "edge_fmnist_export/recipes/edge.toml",
    }
    assert expected <= names
    # Whole checkpoints or none of their weights.
    assert {name.split("/")[-2] for name in names if name.endswith(".npz")} == {"edge", "nano", "nano4"}
    assert wheel.stat().st_size <= 3_000_000
    assert any(name.endswith("licenses/LICENSE") for name in names)
    roots = {name.partition("/")[0] for name in names}
    packages = {root for root in roots if not root.endswith(".dist-info")}
    assert packages == {"edge_fmnist", "edge_fmnist_bench", "edge_fmnist_export"}


def test_base_install_classifies(base_install: Path, tmp_path: Path) -> None:
    paths = write_samples(tmp_path)
    result = run(base_install, "classify", *map(str, paths), "--json")
    assert result.returncode == 0, result.stderr
    assert [json.loads(line)["label"] for line in result.stdout.splitlines()] == ["Trouser", "T-shirt/top", "Bag"]


def test_base_install_evaluates(base_install: Path, small_data: Path) -> None:
    result = run(base_install, "evaluate", "edge", "--data", str(small_data), "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)[0]["images"] == 40


def test_base_install_lists_models(base_install: Path) -> None:
    result = run(base_install, "models", "verify", "--json")
    assert result.returncode == 0, result.stderr
    assert {entry["name"] for entry in json.loads(result.stdout) if entry["ok"]} >= {"edge"}


def test_base_install_benchmarks(base_install: Path, small_data: Path) -> None:
    options = ("--iterations", "3", "--scenario", "single-stream", "--data", str(small_data), "--json")
    result = run(base_install, "bench", *options)
    assert result.returncode == 0, result.stderr
    variants = json.loads(result.stdout)["variants"]
    assert [variant["name"] for variant in variants] == ["classifier", "litert-int8", "litert-float32"]
    assert all(variant["error"] is None for variant in variants)


def test_base_install_has_no_extra(base_install: Path) -> None:
    result = run(base_install, "doctor", "--json")
    assert result.returncode == 0, result.stderr
    facts = json.loads(result.stdout)
    assert facts["extras"] == dict.fromkeys(EXTRAS, False)
    assert facts["problems"] == []
