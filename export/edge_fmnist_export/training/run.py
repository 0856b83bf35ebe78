"""Run folders: what a training run leaves behind.

::

    runs/NAME/
    ├── recipe.toml      the recipe as run
    ├── run.json         versions, seed, hashes of the data, machine
    ├── history.json     one record for each epoch
    ├── float.npz        best float weights by validation
    ├── qat.npz          best quantization-aware weights by validation, ranges among them
    ├── metrics.json     best epoch and accuracies of each phase
    ├── calibration.json temperature and threshold, from validation
    └── checkpoint.npz   only while unfinished: where --resume goes on
"""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

from edge_fmnist.errors import RunError, RunNotFoundError, UsageError
from edge_fmnist.files import write_json, write_text
from edge_fmnist_export.training.recipe import Recipe, parse_recipe
from edge_fmnist_export.training.weights import Arrays, load_arrays

PACKAGES = ("edge-fmnist", "numpy", "keras", "tensorflow", "tf_keras", "tensorflow-model-optimization")


@dataclass(frozen=True)
class Run:
    """A run folder and the recipe in it."""

    folder: Path
    recipe: Recipe

    @property
    def checkpoint(self) -> Path:
        """Where an unfinished run goes on."""
        return self.folder / "checkpoint.npz"

    def weights_path(self, phase: str) -> Path:
        """Return where a phase's best weights lie: ``float.npz`` or ``qat.npz``."""
        return self.folder / f"{phase}.npz"

    def has(self, phase: str) -> bool:
        """Tell whether a phase is done."""
        return self.weights_path(phase).is_file()

    def weights(self, phase: str) -> Arrays:
        """Return a phase's best weights.

        Raises:
            RunError: the phase is not done, or its file is damaged.
        """
        if not self.has(phase):
            raise RunError(f"{self.folder}: has no {phase} weights ({phase}.npz); train it first")
        return load_arrays(self.weights_path(phase))

    def read_json(self, name: str, default: Any) -> Any:
        """Return the content of a JSON file of the run, or ``default`` where there is none.

        Raises:
            RunError: the file is damaged.
        """
        path = self.folder / name
        if not path.is_file():
            return default
        try:
            return json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{path}: not readable as JSON ({error})") from error

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file of the run."""
        write_json(self.folder / name, value)


def shipped_runs() -> dict[str, Path]:
    """Return the folders of the trained checkpoints that come with the package, by name."""
    folder = Path(str(files("edge_fmnist_export"))) / "checkpoints"
    return {path.parent.name: path.parent for path in sorted(folder.glob("*/recipe.toml"))}


def open_run(name_or_folder: str | Path) -> Run:
    """Open a run folder, or a shipped checkpoint by name.

    Raises:
        RunNotFoundError: neither.
        RunError: a folder that is no run.
    """
    shipped = shipped_runs()
    folder = shipped.get(str(name_or_folder), Path(name_or_folder))
    if not folder.is_dir():
        raise RunNotFoundError(
            f"{name_or_folder}: neither a run folder nor a shipped checkpoint ({', '.join(shipped) or 'none'})"
        )
    path = folder / "recipe.toml"
    if not path.is_file():
        raise RunError(f"{folder}: not a run folder, it has no recipe.toml")
    try:
        return Run(folder, parse_recipe(path.read_text("utf-8"), str(path)))
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read as text ({error})") from error


def create_run(folder: Path, recipe: Recipe) -> Run:
    """Make a run folder for a recipe.

    Raises:
        UsageError: the folder is there and not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: already there; go on from it with --resume, or name another with --output")
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "recipe.toml", recipe.to_toml())
    return Run(folder, recipe)


def resume_run(folder: Path, recipe: Recipe) -> Run:
    """Open the run folder of an unfinished run.

    Raises:
        RunNotFoundError: there is no such folder.
        RunError: it is no run, or one of another recipe.
    """
    run = open_run(folder)
    if run.recipe != recipe:
        ours, theirs = recipe.model_dump(), run.recipe.model_dump()
        changed = ", ".join(key for key in ours if ours[key] != theirs[key])
        raise RunError(
            f"{folder}: was started with another recipe (it differs in {changed}); resume with the same options"
        )
    return run


def environment() -> dict[str, Any]:
    """Return the versions and the machine that a run is made with."""
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {"python": sys.version.split()[0], "machine": platform.machine(), "versions": versions}
