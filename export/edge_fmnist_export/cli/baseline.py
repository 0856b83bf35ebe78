"""``edge-fmnist baseline``: fit and evaluate a classical classifier on the same images as the networks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_fmnist import extras
from edge_fmnist.cli import console, options
from edge_fmnist.cli.signals import interrupted_later
from edge_fmnist.data import dataset
from edge_fmnist.data.files import check_outputs, check_replaceable
from edge_fmnist_export.baselines.methods import BASELINES, find_baseline
from edge_fmnist_export.bulk import cluster

if TYPE_CHECKING:
    from edge_fmnist_export.baselines.base import StepProgress

FOLDER = Path("baselines")


def baseline(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(BASELINES)}.")],
    grid: Annotated[
        bool, typer.Option("--grid", help="Choose settings by grid search with 3-fold cross-validation.")
    ] = False,
    train_images: Annotated[
        int | None, typer.Option(min=1, help="Number of training images, stratified by class. Default: all.")
    ] = None,
    seed: options.Seed = 1,
    threads: Annotated[
        int | None, typer.Option("--threads", "-t", min=1, max=256, help="CPU cores to use. Default: all.")
    ] = None,
    ray: cluster.Ray = None,
    data: options.Data = None,
    labels: options.Labels = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Output folder. Default: baselines/NAME.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Fit a classical classifier on the training images and evaluate it on the test images.

    Writes the fitted model, its metrics, the confusion matrix and the importance of each pixel. One twelfth of the
    training images is held out for validation; test images are never used for model selection. If interrupted, nothing
    is written.
    """
    chosen = find_baseline(name)
    extras.require("report", f"the baseline {name}", ("matplotlib", *chosen.modules))
    if ray is not None:
        if not grid:
            raise typer.BadParameter("only the fits of --grid run on a cluster", param_hint="--ray")
        cluster.check(ray)
    from edge_fmnist_export.baselines import record, runner
    from edge_fmnist_export.baselines.fitted import RESULTS

    folder = output or FOLDER / name
    names = options.labels_of(labels)
    train, test = dataset.load("train", data, names), dataset.load("test", data, names)
    settings = runner.BaselineOptions(grid, train_images, seed, threads or os.cpu_count() or 1, ray)
    # Fails now if the folder is not writable, not after hours of work.
    check_outputs(folders=[folder])
    check_replaceable(folder, [chosen.file_name, *record.FILES, RESULTS], RESULTS, "baseline")
    console.say(f"Fitting {name}; results go to {folder}")
    with _progress(name) as progress:
        result = runner.run(chosen, train, test, settings, progress)
        progress("writing", 0, None)
        with interrupted_later():
            results = record.write(folder, result, settings, train, test)
    if json:
        console.emit_json({"folder": str(folder), **results})
    else:
        _show(folder, results)


@contextmanager
def _progress(name: str) -> Iterator[StepProgress]:
    """Show the current step with a bar on standard error."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console.stderr_console()) as bar:
        task, current = bar.add_task(name, total=None), ""

        def progress(step: str, done: int, total: int | None) -> None:
            nonlocal task, current
            if step != current:
                current = step
                bar.remove_task(task)
                task = bar.add_task(f"{name}: {step}", total=total)
            bar.update(task, completed=done)

        yield progress


def _show(folder: Path, results: dict[str, Any]) -> None:
    test, validation, search = results["test"], results["validation"], results["grid_search"]
    rows = [(m["label"], m, m["support"], m["predicted"]) for m in test["classes"]]
    rows += [(f"{kind} average", test[kind], test["images"], test["images"]) for kind in ("macro", "weighted")]
    console.show_table(
        f"{results['title']}: {test['top1']:.2%} top-1 on {test['images']:,} test images, "
        f"{validation['top1']:.2%} on {validation['images']:,} validation images",
        ["class", "precision", "recall", "F1", "images", "predicted"],
        [
            (label, *(f"{metrics[key]:.3f}" for key in ("precision", "recall", "f1")), f"{images:,}", f"{predicted:,}")
            for label, metrics, images, predicted in rows
        ],
    )
    if search:
        names = list(search["trials"][0]["settings"])
        console.show_table(
            f"Grid search, {search['folds']}-fold cross-validation",
            [*names, "accuracy", "deviation"],
            [
                (*trial["settings"].values(), f"{trial['accuracy']:.4f}", f"{trial['deviation']:.4f}")
                for trial in search["trials"]
            ],
            numbers_from=len(names),
        )
    console.say(
        f"Fitted on {results['train_images']:,} images in {results['seconds']['fit']:.1f} s with "
        + ", ".join(f"{key} = {value}" for key, value in results["settings"].items())
    )
    console.say(f"Pixel importance: {results['importance_method']}")
    console.say(f"Results, model ({results['model']['bytes']:,} bytes) and figures: {folder}")
