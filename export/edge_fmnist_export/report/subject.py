"""What a report is on: a model file, and the run that it came from."""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_fmnist.data.dataset import Split
from edge_fmnist.data.files import write_json
from edge_fmnist.errors import ModelError, ModelNotFoundError, RunError
from edge_fmnist.model.registry import shipped_models
from edge_fmnist_export.training.run_folder import Run, open_run, shipped_runs

if TYPE_CHECKING:
    from edge_fmnist_export.quantize.convert import Representative

REPRESENTATIVE = 500
# What decides the file that is exported, and what the report says of the training.
RUN_FILES = ("recipe.toml", "run.json", "history.json", "calibration.json", "float.npz", "qat.npz")
EXPORT_RECORD = "export.json"


@dataclass(frozen=True)
class Subject:
    """What a report is on.

    Attributes:
        name: what the report calls it.
        model: a shipped model's name or a ``.tflite`` file; None where it is yet to be exported from the run.
        run: the run it came from; None where that is not known.
    """

    name: str
    model: str | None
    run: Run | None


def find_subject(wanted: str, run: str | None = None) -> Subject:
    """Return what a name or path stands for.

    A shipped model goes with the shipped checkpoint of its name; a run folder
    or another checkpoint is exported; a model file stands alone.

    Args:
        wanted: a shipped model's or checkpoint's name, a ``.tflite`` file, or a run folder.
        run: the run that a model file came from, a folder or a shipped checkpoint's name.

    Raises:
        ModelNotFoundError: it stands for none of them.
        RunNotFoundError: ``run`` is neither a folder nor a checkpoint.
        RunError: a folder that is no run.
    """
    named = open_run(run) if run is not None else None
    if wanted in shipped_models():
        return Subject(wanted, wanted, named or (open_run(wanted) if wanted in shipped_runs() else None))
    path = Path(wanted)
    if path.is_file():
        return Subject(path.stem, wanted, named)
    if path.is_dir() or wanted in shipped_runs():
        return Subject(path.resolve().name, None, open_run(wanted))
    raise ModelNotFoundError(
        f"{wanted}: neither a run folder, a model file, a shipped model ({', '.join(shipped_models())}) "
        f"nor a shipped checkpoint ({', '.join(shipped_runs())})"
    )


def model_path(model: str) -> Path:
    """Return the file of a shipped model by name, or the path that is given."""
    shipped = shipped_models().get(model)
    return shipped.path if shipped else Path(model)


def run_sha256(run: Run | None) -> str | None:
    """Return a hash of all in a run that the report shows or exports; None without a run."""
    if run is None:
        return None
    digest = hashlib.sha256()
    for name in RUN_FILES:
        path = run.folder / name
        if path.is_file():
            digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def exported(subject: Subject, folder: Path, train: Split) -> Path:
    """Return the int8 file of a subject that is a run, exported into a folder unless it is there already.

    A run without quantization-aware weights is quantized after training.

    Args:
        subject: what the report is on, with a run.
        folder: where the file goes.
        train: where post-training quantization takes its representative images from.

    Raises:
        MissingExtraError: the extra ``[export]`` is not installed.
        RunError: there is no run, or its weights are missing or do not fit.
        CheckError: the written file failed a check.
    """
    run = subject.run
    if run is None:
        raise RunError(f"{subject.name}: expected a run to export")
    kind = "int8" if run.has("qat") else "int8-ptq"
    path, record = folder / f"{run.recipe.name}-{kind}.tflite", folder / EXPORT_RECORD
    source = run_sha256(run)
    if _is_of(path, record, source):
        return path
    _use_tensorflow()
    from edge_fmnist_export.quantize.exporting import Exporter

    representative = _representative(run, train) if kind == "int8-ptq" else None
    # A report on a file that lost much is what is wanted then, not a refusal.
    written = Exporter(run, representative=representative).export(kind, path, max_drop=math.inf)
    write_json(record, {"run_sha256": source, "model_sha256": written.sha256})
    return path


def _is_of(path: Path, record: Path, source: str | None) -> bool:
    try:
        known: Any = json.loads(record.read_text("utf-8"))
        return bool(known == {"run_sha256": source, "model_sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
    except (OSError, ValueError):
        return False


def _representative(run: Run, train: Split) -> Representative:
    from edge_fmnist_export.quantize.convert import representative_dataset
    from edge_fmnist_export.training import training_data as material

    rest, _ = material.split(run.recipe, train)
    return representative_dataset(rest, REPRESENTATIVE, run.recipe.seed)


def load_float_model(run: Run) -> Any:
    """Return a run's float Keras model.

    Raises:
        MissingExtraError: the extra ``[export]`` is not installed.
        RunError: the weights are missing, damaged or do not fit.
        UsageError: Keras runs on another back end in this process.
    """
    _use_tensorflow()
    from edge_fmnist_export.training import backend
    from edge_fmnist_export.training.float_model import float_model

    return float_model(run, backend.keras_on_tensorflow("the float model of the report"))


def _use_tensorflow() -> None:
    # Conversion and gradients work on TensorFlow alone, whichever back end trained.
    os.environ["KERAS_BACKEND"] = "tensorflow"


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a model file.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from error
