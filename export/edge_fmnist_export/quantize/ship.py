"""Ship a trained run: export its int8 file into the runtime package, with registry entry and checkpoint.

``python -m edge_fmnist_export.quantize.ship runs/edge --description "..."`` in a
checkout. A maintainer's tool: it writes into the source tree.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated

import typer

from edge_fmnist.cli import console
from edge_fmnist.data import dataset
from edge_fmnist.errors import CheckError
from edge_fmnist.files import write_json
from edge_fmnist.model.registry import FOLDER, REGISTRY
from edge_fmnist_export.training import backend
from edge_fmnist_export.training.run import Run, open_run

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"
SHIPPED_FILES = ("recipe.toml", "run.json", "history.json", "metrics.json", "calibration.json", "float.npz", "qat.npz")


def ship(
    folder: Annotated[Path, typer.Argument(help="The run folder.")],
    description: Annotated[str, typer.Option("--description", help="One line for the registry.")],
    max_bytes: Annotated[int, typer.Option("--max-bytes", help="A larger file is refused.")] = 160_000,
    max_drop: Annotated[float, typer.Option("--max-drop", help="Largest allowed drop, in percentage points.")] = 0.3,
) -> None:
    """Export a run's int8 file into the runtime package, and commit-ready checkpoint and registry entry beside it."""
    run = open_run(folder)
    name = run.recipe.name
    with console.quiet_native_log():
        backend.warm_up()
        from edge_fmnist_export.quantize.exporting import INT8, Exporter

        exporter = Exporter(run, test=dataset.load("test"))
        # Beside its place first, so that a file over the size budget replaces nothing.
        exported = exporter.export(INT8, FOLDER / f"{name}.candidate.tflite", max_drop=max_drop)
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
        "description": description,
    }
    write_json(REGISTRY, registry)
    _copy_checkpoint(run)
    console.emit_json(exported.as_dict())


def _copy_checkpoint(run: Run) -> None:
    target = CHECKPOINTS / run.recipe.name
    target.mkdir(parents=True, exist_ok=True)
    for file in SHIPPED_FILES:
        if (run.folder / file).is_file():
            shutil.copyfile(run.folder / file, target / file)
        else:
            # Else it would stay from the checkpoint before.
            (target / file).unlink(missing_ok=True)


if __name__ == "__main__":
    typer.run(ship)
