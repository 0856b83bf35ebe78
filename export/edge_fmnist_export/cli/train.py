"""``edge-fmnist train``: train a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_fmnist import extras
from edge_fmnist.cli import console, options
from edge_fmnist.data.labels import LABELS
from edge_fmnist.errors import UsageError
from edge_fmnist_export.training import backend

if TYPE_CHECKING:
    from edge_fmnist_export.training.recipe import Recipe
    from edge_fmnist_export.training.run import Run

RUNS = Path("runs")
# The float phase alone runs on any Keras back end, so it does without TensorFlow and TFMOT.
FLOAT_MODULES = ("keras", "pydantic", "sklearn", "tomli_w")


def train(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name (edge-fmnist recipes) or a TOML file.")],
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Epochs of the float phase.", show_default=False)
    ] = None,
    qat_epochs: Annotated[
        int | None, typer.Option("--qat-epochs", min=1, help="Epochs of the QAT phase.", show_default=False)
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of all chance.", show_default=False)] = None,
    data: options.Data = None,
    labels: options.Labels = None,
    photos: options.Photos = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run folder. Default: runs/RECIPE.", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    qat: Annotated[bool, typer.Option("--qat/--no-qat", help="Quantization-aware training after the float phase.")] = (
        True
    ),
    json: options.Json = False,
) -> None:
    """Train a recipe: float first, then quantization-aware.

    Ctrl-C leaves a checkpoint; --resume goes on from it to the same result as an uninterrupted run.
    """
    extras.require("export", "training", None if qat else FLOAT_MODULES)
    wanted = _recipe(recipe, epochs, qat_epochs if qat else 0, seed)
    folder = output or RUNS / wanted.name
    names = options.labels_of(labels)
    if wanted.photos.views and names != LABELS:
        raise UsageError(f"the recipe {wanted.name} trains on photographs of garments; leave --labels out")
    try:
        run, metrics = _train(wanted, folder, data, names, photos, resume)
    except KeyboardInterrupt:
        console.say(_interrupted(folder))
        raise typer.Exit(130) from None
    if json:
        console.emit_json({"run": str(run.folder), "metrics": metrics})
    else:
        _show(run, metrics)


def _interrupted(folder: Path) -> str:
    if (folder / "recipe.toml").is_file():
        return f"Interrupted. What is done is in {folder}; go on with the same command and --resume."
    return "Interrupted before the run began; nothing was written."


def _recipe(name: str, epochs: int | None, qat_epochs: int | None, seed: int | None) -> Recipe:
    from edge_fmnist_export.training.recipe import load_recipe

    recipe = load_recipe(name)
    if epochs is not None:
        recipe = recipe.with_changes(training={"epochs": epochs})
    if qat_epochs is not None:
        recipe = recipe.with_changes(qat={"epochs": qat_epochs})
    return recipe if seed is None else recipe.model_copy(update={"seed": seed})


def _train(
    recipe: Recipe, folder: Path, data: Path | None, labels: tuple[str, ...], photos: Path | None, resume: bool
) -> tuple[Run, dict[str, Any]]:
    from edge_fmnist.data import dataset
    from edge_fmnist_export.training import training
    from edge_fmnist_export.training import training_data as material
    from edge_fmnist_export.training.progress import ProgressListener
    from edge_fmnist_export.training.run import create_run, resume_run

    # What can be wrong is found before the run folder is made, but for photographs that cannot be decoded;
    # and start-up messages come before the progress bar.
    images = dataset.load("train", data, labels)
    material.subsets(recipe, images)
    material.check_photos(recipe, photos)
    training.check_initial(recipe)
    with console.quiet_native_log():
        backend.warm_up_keras()
    run = resume_run(folder, recipe) if resume else create_run(folder, recipe)
    with ProgressListener(console.stderr_console()) as listener:
        return run, training.train(run, images, listener, photos)


def _show(run: Run, metrics: dict[str, Any]) -> None:
    console.show_table(
        f"{run.folder}: {metrics['float']['parameters']:,} parameters",
        ["phase", "epochs", "best epoch", "validation accuracy", "minutes"],
        [
            (phase, m["epochs"], m["best_epoch"], f"{m['validation_accuracy']:.2%}", f"{m['seconds'] / 60:.1f}")
            for phase, m in metrics.items()
        ],
    )
    flags = "--int8" if run.has("qat") else "--int8 --ptq"
    console.say(f"Next: edge-fmnist export {run.folder} {flags}")
