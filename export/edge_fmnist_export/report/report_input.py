"""The input of a report: a model file, and the training run that it came from."""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_fmnist.data.dataset import Split
from edge_fmnist.data.files import write_json
from edge_fmnist.errors import ModelError, ModelNotFoundError, UsageError
from edge_fmnist.model.metadata import Calibration, Metadata, extract
from edge_fmnist.model.registry import read_model, shipped_models
from edge_fmnist_export.training import calibration
from edge_fmnist_export.training.run_folder import Run, exported_record, open_run, shipped_runs

REPRESENTATIVE_IMAGES = 500
# Files of a run that determine the exported model and the content of the report.
RUN_FILES = ("recipe.toml", "run.json", "history.json", "calibration.json", "float.npz", "qat.npz")
EXPORT_RECORD = "export.json"


@dataclass(frozen=True)
class ReportInput:
    """What to report on.

    Attributes:
        name: name of the model in the report.
        model: a shipped model's name or a ``.tflite`` file; None if it must be exported from the run.
        run: the training run; None if unknown.
    """

    name: str
    model: str | None
    run: Run | None


def find_input(wanted: str, run: str | None = None) -> ReportInput:
    """Find the model file and the run for a name or path.

    A shipped model comes with the shipped checkpoint of its name. A run folder or another checkpoint is exported. A
    model file has no run unless ``run`` is given, a folder or a shipped checkpoint's name.

    Raises:
        ModelNotFoundError: ``wanted`` is none of these.
        RunNotFoundError: ``run`` is neither a folder nor a checkpoint.
        RunError: a folder that is not a run.
        UsageError: a model of other classes than those of a data set, or of another run.
    """
    named = open_run(run) if run is not None else None
    path, shipped = Path(wanted), wanted in shipped_models()
    if shipped or path.is_file():
        metadata = extract(read_model(wanted).content, wanted)
        _check_classes(wanted, metadata is not None and metadata.own_classes)
        recorded = metadata is not None and not {"training", "taught"}.isdisjoint(metadata.settings)
        if named is not None and recorded and not is_run_of(named, metadata):
            raise UsageError(f"--run {run}: {wanted} was not exported from this run, as its metadata shows")
        if shipped and named is None and wanted in shipped_runs():
            named = open_run(wanted)
        return ReportInput(wanted if shipped else path.stem, wanted, named)
    if path.is_dir() or wanted in shipped_runs():
        found = open_run(wanted)
        _check_classes(wanted, bool(found.recipe.photos.classes))
        return ReportInput(path.resolve().name, None, found)
    raise ModelNotFoundError(
        f"{wanted}: not a run folder, a model file, a shipped model ({', '.join(shipped_models())}) "
        f"or a shipped checkpoint ({', '.join(shipped_runs())})"
    )


def is_run_of(run: Run, metadata: Metadata | None) -> bool:
    """Return whether a model file with this metadata was exported from a run.

    The training record and the calibration distinguish runs of the same name.

    Raises:
        RunError: the run is damaged.
    """
    settings = {} if metadata is None else metadata.settings
    training = settings.get("training")
    stated = Calibration() if metadata is None else metadata.calibration
    found = calibration.recorded(run)
    fitted = Calibration() if found is None else Calibration(float(found["temperature"]), float(found["threshold"]))
    recorded = exported_record(training) if isinstance(training, dict) else {}
    return settings.get("name") == run.recipe.name and run.record() == recorded and fitted == stated


def run_sha256(run: Run | None) -> str | None:
    """Return a hash of the files of a run that the report depends on; None without a run."""
    if run is None:
        return None
    digest = hashlib.sha256()
    for name in RUN_FILES:
        path = run.folder / name
        if path.is_file():
            digest.update(f"{name} {file_sha256(path)}\n".encode())
    return digest.hexdigest()


def export_files(run: Run) -> tuple[str, str]:
    """Return the names of the files that :func:`exported` writes: the model, and its record."""
    return f"{run.recipe.name}-{run.integer_format}.tflite", EXPORT_RECORD


def exported(run: Run, folder: Path, train: Split) -> Path:
    """Export a run in its integer format into a folder, unless it is there already.

    A run without quantization-aware weights is exported with post-training quantization.

    Raises:
        MissingExtraError: the extra ``[export]`` is not installed.
        RunError: the weights are missing or do not fit.
        CheckError: the exported file failed a check.
    """
    kind = run.integer_format
    path, record = (folder / name for name in export_files(run))
    # Post-training quantization depends on the images, too.
    known = {"run_sha256": run_sha256(run), "data_sha256": list(train.sha256) if kind != "int8" else None}
    if _is_current(path, record, known):
        return path
    # Conversion needs TensorFlow, whichever back end trained.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    from edge_fmnist_export.quantize.exporting import Exporter, run_representative

    # Written first, so that an interrupted export can be repeated: the record marks the file as ours.
    write_json(record, {**known, "model_sha256": None})
    representative = run_representative(run, train, REPRESENTATIVE_IMAGES) if kind != "int8" else None
    # A report on a file with a large accuracy drop is useful, so the drop is not limited.
    written = Exporter(run, representative=representative).export(kind, path, max_drop=math.inf)
    write_json(record, {**known, "model_sha256": written.sha256})
    return path


def _is_current(path: Path, record: Path, known: dict[str, Any]) -> bool:
    """Return whether a file was exported from the run and data with these hashes."""
    try:
        found: Any = json.loads(record.read_text("utf-8"))
        return bool(found == {**known, "model_sha256": file_sha256(path)})
    except (OSError, ValueError, ModelError):
        return False


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from error


def _check_classes(wanted: str, own_classes: bool) -> None:
    if own_classes:
        raise UsageError(
            f"{wanted}: was trained on photographs of your own classes; a report is about images of a data set"
        )
