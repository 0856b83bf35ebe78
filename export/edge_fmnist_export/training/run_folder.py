"""Run folders: the output of a training run. docs/train.md describes their files."""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_fmnist import extras
from edge_fmnist.data.files import write_json, write_text
from edge_fmnist.errors import RunError, RunNotFoundError, UsageError
from edge_fmnist_export import architectures
from edge_fmnist_export.training.weights import Arrays, assign_variables, load_arrays

if TYPE_CHECKING:
    from edge_fmnist_export.training.recipe import Recipe

PACKAGES = ("edge-fmnist", "numpy", "keras", "tensorflow", "tf_keras", "tensorflow-model-optimization")
# Where checkpoints lie in the package, and in the repository, which holds weights that the wheel leaves out.
CHECKPOINTS = Path(str(files("edge_fmnist_export"))) / "checkpoints"
REPOSITORY_CHECKPOINTS = "export/edge_fmnist_export/checkpoints"
# Of run.json. Labels stand elsewhere in an exported file, and each hash takes 40 of the bytes that count on a
# microcontroller.
NOT_EXPORTED = ("labels", "teachers_sha256")


@dataclass(frozen=True)
class Run:
    """A run folder and its recipe."""

    folder: Path
    recipe: Recipe

    @property
    def checkpoint(self) -> Path:
        """Path of the state from which an unfinished run is resumed."""
        return self.folder / "checkpoint.npz"

    @property
    def integer_format(self) -> str:
        """The integer format that fits the run: ``int4`` or ``int8`` as it was trained for, otherwise ``int8-ptq``."""
        if self.recipe.training.weight_bits == 4:
            return "int4"
        return "int8" if self.has("qat") else "int8-ptq"

    def weights_path(self, phase: str) -> Path:
        """Return the path of a phase's best weights: ``float.npz`` or ``qat.npz``."""
        return self.folder / f"{phase}.npz"

    def has(self, phase: str) -> bool:
        """Return whether a phase is finished."""
        return self.weights_path(phase).is_file()

    def require(self, phase: str) -> None:
        """Check that a phase's weights are there, without reading them.

        Raises:
            RunNotFoundError: weights of a shipped checkpoint that only the repository holds.
            RunError: the phase is not finished.
        """
        if self.has(phase):
            return
        if self.folder.parent == CHECKPOINTS and (phase == "float" or self.recipe.qat.epochs):
            raise RunNotFoundError(
                f"{self.folder.name}: its {phase} weights are not part of the installed package; clone the repository "
                f"and run there (they are {REPOSITORY_CHECKPOINTS}/{self.folder.name}/{phase}.npz), "
                f"or train them: edge-fmnist train {self.folder.name}"
            )
        raise RunError(f"{self.folder}: has no {phase} weights ({phase}.npz); train it first")

    def weights(self, phase: str) -> Arrays:
        """Return a phase's best weights, in the order of the model's ``weights``.

        Raises:
            RunNotFoundError: weights of a shipped checkpoint that only the repository holds.
            RunError: the phase is not finished, or its file is damaged.
        """
        self.require(phase)
        return load_arrays(self.weights_path(phase))

    def float_model(self, keras: Any) -> Any:
        """Return the float model with its best weights; ``keras`` is the Keras 3 module. Raises as :meth:`weights`."""
        model = architectures.build(self.recipe.architecture, keras, classes=self.recipe.outputs)
        assign_variables(model.weights, self.weights("float"), str(self.weights_path("float")))
        return model

    def read_json(self, name: str, default: Any) -> Any:
        """Return the content of a JSON file of the run, or ``default`` without one.

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

    def read_object(self, name: str) -> dict[str, Any]:
        """Return the object in a JSON file of the run; empty without the file.

        Raises:
            RunError: the file is damaged, or holds something else.
        """
        value = self.read_json(name, {})
        if not isinstance(value, dict):
            raise RunError(f"{self.folder / name}: expected a JSON object, got {type(value).__name__}")
        return value

    def record(self) -> dict[str, Any]:
        """Return what the metadata of exported files says about training: ``run.json`` without ``NOT_EXPORTED``.

        Raises:
            RunError: the file is damaged.
        """
        return exported_record(self.read_object("run.json"))

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file of the run."""
        write_json(self.folder / name, value)


def exported_record(record: dict[str, Any]) -> dict[str, Any]:
    """Return a ``run.json``, or the record of an exported file of an earlier version, without ``NOT_EXPORTED``."""
    return {key: value for key, value in record.items() if key not in NOT_EXPORTED}


def shipped_runs() -> dict[str, Path]:
    """Return the folders of the trained checkpoints in the package, by name."""
    return {path.parent.name: path.parent for path in sorted(CHECKPOINTS.glob("*/recipe.toml"))}


def find_run(name_or_folder: str | Path) -> Path:
    """Return a run folder, also of a shipped checkpoint by name.

    Raises:
        RunNotFoundError: neither.
    """
    shipped = shipped_runs()
    folder = shipped.get(str(name_or_folder), Path(name_or_folder))
    if not folder.is_dir():
        raise RunNotFoundError(
            f"{name_or_folder}: neither a run folder nor a shipped checkpoint ({', '.join(shipped) or 'none'}); "
            f"the repository has all of them, under {REPOSITORY_CHECKPOINTS}"
        )
    return folder


def open_run(name_or_folder: str | Path) -> Run:
    """Open a run folder, or a shipped checkpoint by name.

    Raises:
        RunNotFoundError: neither.
        RunError: the folder is not a run.
    """
    return _run_in(find_run(name_or_folder))


def _run_in(folder: Path) -> Run:
    from edge_fmnist_export.training.recipe import parse_recipe

    path = folder / "recipe.toml"
    if not path.is_file():
        raise RunError(f"{folder}: not a run folder, it has no recipe.toml")
    try:
        return Run(folder, parse_recipe(path.read_text("utf-8"), str(path)))
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read as text ({error})") from error


def check_unused(folder: Path) -> None:
    """Check that a run can be created in a folder.

    Raises:
        UsageError: it exists and is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: already exists; continue it with --resume, or choose another --output")


def create_run(folder: Path, recipe: Recipe) -> Run:
    """Create a run folder for a recipe.

    Raises:
        UsageError: the folder exists and is not empty.
    """
    check_unused(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "recipe.toml", recipe.to_toml())
    return Run(folder, recipe)


def resume_run(folder: Path, recipe: Recipe) -> Run:
    """Open the run folder of an unfinished run.

    Raises:
        RunNotFoundError: no such folder.
        RunError: not a run, or one of another recipe.
    """
    if not folder.is_dir():
        raise RunNotFoundError(f"{folder}: no such run folder to resume")
    # A folder, also if it has the name of a shipped checkpoint.
    run = _run_in(folder)
    if run.recipe != recipe:
        ours, theirs = recipe.model_dump(), run.recipe.model_dump()
        changed = ", ".join(key for key in ours if ours[key] != theirs[key])
        raise RunError(
            f"{folder}: was started with another recipe (it differs in {changed}); resume with the same options"
        )
    return run


def environment() -> dict[str, Any]:
    """Return the versions and the machine, for ``run.json``."""
    return {
        "python": sys.version.split()[0],
        "machine": platform.machine(),
        "versions": extras.versions(PACKAGES),
    }
