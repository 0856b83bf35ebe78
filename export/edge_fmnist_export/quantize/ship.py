"""Ship a trained run: its file and registry entry in the runtime package, and its checkpoint.

``python -m edge_fmnist_export.quantize.ship runs/edge --description "..."`` in a checkout, or ``runs/float-flat
--teacher`` for a run that only trains others. A tool for maintainers: it writes into the source tree.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated

import typer

from edge_fmnist.cli import console
from edge_fmnist.data import dataset
from edge_fmnist.data.files import write_json
from edge_fmnist.errors import CheckError, UsageError
from edge_fmnist.model.registry import FOLDER, REGISTRY
from edge_fmnist_export.training import backend
from edge_fmnist_export.training.run_folder import CHECKPOINTS, Run, open_run
from edge_fmnist_export.training.weights import save_arrays

CALIBRATION_IMAGES = 500
SHIPPED_FILES = ("recipe.toml", "run.json", "history.json", "metrics.json", "calibration.json", "float.npz", "qat.npz")


def ship(
    folder: Annotated[Path, typer.Argument(help="The run folder.")],
    description: Annotated[str, typer.Option(help="One line for the registry. Default: as before.")] = "",
    max_bytes: Annotated[int, typer.Option(help="Maximum file size in bytes.")] = 160_000,
    max_drop: Annotated[float, typer.Option(help="Maximum drop, in percentage points.")] = 0.3,
    teacher: Annotated[
        bool, typer.Option("--teacher", help="Store only the checkpoint, with its weights as float16.")
    ] = False,
) -> None:
    """Export a run's file into the runtime package, with its registry entry, and store its checkpoint."""
    run = open_run(folder)
    if teacher:
        console.say(f"Stored {store_checkpoint(run, half=True)}.")
        return
    name = run.recipe.name
    if run.recipe.photos.classes:
        raise UsageError(f"{folder}: a network of {', '.join(run.recipe.photos.classes)} cannot be a shipped model")
    with console.quiet_native_log():
        backend.warm_up()
        from edge_fmnist_export.quantize.exporting import INT4, INT8, Exporter, run_representative

        kind = INT4 if run.integer_format == INT4 else INT8
        representative = run_representative(run, dataset.load("train"), CALIBRATION_IMAGES) if kind == INT4 else None
        exporter = Exporter(run, test=dataset.load("test"), representative=representative)
        # Under another name first, so that a file that is too large replaces nothing.
        exported = exporter.export(kind, FOLDER / f"{name}.candidate.tflite", max_drop=max_drop)
    if exported.bytes > max_bytes or exported.parity is None:
        exported.path.unlink()
        raise CheckError(f"{name}: {exported.bytes} bytes, {max_bytes} allowed")
    exported.path.replace(FOLDER / f"{name}.tflite")
    registry = json.loads(REGISTRY.read_text("utf-8")) if REGISTRY.is_file() else {"models": {}}
    registry["models"][name] = {
        "file": f"{name}.tflite",
        "sha256": exported.sha256,
        "bytes": exported.bytes,
        "top1": round(exported.parity.top1, 6),
        "float_top1": round(exported.parity.float_top1, 6),
        "description": description or registry["models"].get(name, {}).get("description", ""),
    }
    write_json(REGISTRY, registry)
    store_checkpoint(run)
    console.emit_json(exported.as_dict())


def store_checkpoint(run: Run, checkpoints: Path = CHECKPOINTS, *, half: bool = False) -> Path:
    """Copy a run's results into the folder of checkpoints and return the new folder.

    With ``half``, weights are stored as float16, in about half the bytes.

    Raises:
        RunError: the weights are damaged, or beyond the range of float16.
    """
    target = checkpoints / run.recipe.name
    target.mkdir(parents=True, exist_ok=True)
    for file in SHIPPED_FILES:
        if not (run.folder / file).is_file():
            # From an earlier checkpoint.
            (target / file).unlink(missing_ok=True)
        elif half and file.endswith(".npz"):
            save_arrays(target / file, run.weights(file.removesuffix(".npz")), half=True)
        elif run.folder.resolve() != target.resolve():
            shutil.copyfile(run.folder / file, target / file)
    return target


if __name__ == "__main__":
    with console.exit_codes():
        typer.run(ship)
