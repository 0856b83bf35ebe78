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
    from edge_fmnist.data.dataset import Split
    from edge_fmnist_export.training.recipe import Recipe
    from edge_fmnist_export.training.run_folder import Run

RUNS = Path("runs")
# Heading of the accuracy on validation images, by whether they were trained on.
ACCURACY = {False: "validation accuracy", True: "accuracy, images trained on"}


def train(
    recipe: Annotated[str, typer.Argument(help="Name of a shipped recipe (edge-fmnist recipes) or a TOML file.")],
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of the float phase.")] = None,
    qat_epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of the QAT phase.")] = None,
    validation: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of training images held out for validation. Default: the recipe's; of a data set smaller than "
            "Fashion-MNIST at most 5 %, but ten, unless your own recipe file states a number that it has.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="Random seed.")] = None,
    data: options.Data = None,
    labels: options.Labels = None,
    photos: Annotated[
        Path | None,
        typer.Option(
            help="Folder of photographs, with the folders train and validation; or with a folder for each class of "
            "your own, to train on those alone."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Run folder. Default: runs/RECIPE.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    qat: Annotated[bool, typer.Option("--qat/--no-qat", help="Quantization-aware training after the float phase.")] = (
        True
    ),
    json: options.Json = False,
) -> None:
    """Train a recipe: a float phase, then quantization-aware training.

    Ctrl-C keeps a checkpoint. --resume continues from it, with the same result as an uninterrupted run.

    With photographs of your own classes, the whole network of camera is trained, starting from the last layer that
    `teach` would fit. Both are compared on held-out photographs.
    """
    if not qat and qat_epochs is not None:
        raise typer.BadParameter("--no-qat leaves the phase out", param_hint="--qat-epochs")
    extras.require("export", "training", None if qat else backend.FLOAT_MODULES)
    from edge_fmnist.data import dataset
    from edge_fmnist_export.training import own_classes
    from edge_fmnist_export.training.recipe import load_recipe

    loaded = load_recipe(recipe)
    if photos is not None and loaded.photos.views and own_classes.class_folders(photos):
        if data or labels or validation:
            raise UsageError(
                "photographs of your own classes are trained on alone; omit --data, --labels, --validation"
            )
        loaded = own_classes.for_classes(loaded, photos)
    wanted = _changed(loaded, epochs, qat_epochs if qat else 0, validation, seed)
    folder = output or RUNS / wanted.name
    names = options.labels_of(labels)
    if wanted.photos.views and names != LABELS:
        raise UsageError(f"the recipe {wanted.name} trains on photographs of garments; omit --labels")
    try:
        images = None if wanted.photos.classes else dataset.load("train", data, names)
        # A number that the user wrote is kept, unless there are not as many images.
        written = Path(recipe).is_file() and "validation" in loaded.data.model_fields_set
        if images is not None and validation is None and not (written and wanted.data.validation < len(images)):
            wanted = _scaled(wanted, len(images))
        run, metrics = _train(wanted, folder, images, photos, resume)
    except KeyboardInterrupt:
        console.say(_interrupted(folder))
        raise typer.Exit(130) from None
    if json:
        console.emit_json({"run": str(run.folder), "metrics": metrics})
    else:
        _show(run, metrics)


def _interrupted(folder: Path) -> str:
    if (folder / "recipe.toml").is_file():
        return f"Interrupted. The run is in {folder}; continue with the same command and --resume."
    return "Interrupted before training started; nothing was written."


def _changed(
    recipe: Recipe, epochs: int | None, qat_epochs: int | None, validation: int | None, seed: int | None
) -> Recipe:
    changes: dict[str, dict[str, Any]] = {}
    for section, key, value in (
        ("training", "epochs", epochs),
        ("qat", "epochs", qat_epochs),
        ("data", "validation", validation),
    ):
        if value is not None:
            changes[section] = {key: value}
    changed = recipe.with_changes(**changes)
    return changed if seed is None else changed.model_copy(update={"seed": seed})


def _scaled(recipe: Recipe, images: int) -> Recipe:
    from edge_fmnist_export.training.training_data import scaled_validation

    scaled = scaled_validation(recipe, images)
    if scaled != recipe:
        console.say(
            f"Holding out {scaled.data.validation:,} of {images:,} training images for validation "
            f"({recipe.data.validation:,} in the recipe); change it with --validation."
        )
    return scaled


def _train(
    recipe: Recipe, folder: Path, images: Split | None, photos: Path | None, resume: bool
) -> tuple[Run, dict[str, Any]]:
    from edge_fmnist_export.training import train_recipe, training_data
    from edge_fmnist_export.training.progress import ProgressListener
    from edge_fmnist_export.training.run_folder import check_unused, create_run, resume_run

    # All checks run before the run folder is created, except for decoding photographs, and the quick ones first.
    # Start-up messages are printed before the progress bar.
    run = resume_run(folder, recipe) if resume else None
    if run is None:
        check_unused(folder)
    training_data.check_photos(recipe, photos)
    train_recipe.check_runs(recipe, images)
    if images is not None:
        training_data.subsets(recipe, images)
    with console.quiet_native_log():
        backend.warm_up_keras()
    train_recipe.check_back_end(recipe)
    run = run or create_run(folder, recipe)
    console.say(f"Training {recipe.name} in {folder}")
    with ProgressListener(console.stderr_console()) as listener:
        return run, train_recipe.train(run, images, listener, photos)


def _show(run: Run, metrics: dict[str, Any]) -> None:
    console.show_table(
        f"{run.folder}: {metrics['float']['parameters']:,} parameters",
        ["phase", "epochs", "best epoch", ACCURACY[run.recipe.data.train_on_validation], "minutes"],
        [
            (phase, m["epochs"], m["best_epoch"], f"{m['validation_accuracy']:.2%}", f"{m['seconds'] / 60:.1f}")
            for phase, m in metrics.items()
        ],
    )
    last = [*metrics.values()][-1]
    if "taught_accuracy" in last:
        count, taught, trained = last["validation_images"], last["taught_accuracy"], last["trained_accuracy"]
        console.say(
            "Held-out photographs classified correctly: "
            f"{round(taught * count):,} of {count:,} with a taught last layer, {round(trained * count):,} of {count:,} "
            f"with the whole network trained ({(trained - taught) * 100:+.1f} points)."
        )
    # Post-training quantization needs the images of a data set.
    unquantized = "--float32" if run.recipe.photos.classes else "--int8 --ptq"
    flags = {"int8-ptq": unquantized}.get(run.integer_format, f"--{run.integer_format}")
    console.say(f"Next: edge-fmnist export {run.folder} {flags}")
