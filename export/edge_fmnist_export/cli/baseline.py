"""``edge-fmnist baseline``: fit a classical method on the same images and measure it alike."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_fmnist import extras
from edge_fmnist.cli import console, options
from edge_fmnist.data import dataset
from edge_fmnist_export.baselines.registry import BASELINES, find_baseline

if TYPE_CHECKING:
    from edge_fmnist_export.baselines.base import Advance

FOLDER = Path("baselines")


def baseline(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(BASELINES)}.")],
    grid: Annotated[
        bool, typer.Option("--grid", help="Choose the settings by grid search with 3-fold cross-validation.")
    ] = False,
    train_images: Annotated[
        int | None,
        typer.Option(
            "--train-images", min=1, help="Fit on so many images, drawn by class. Default: all.", show_default=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of all chance.")] = 1,
    threads: Annotated[
        int | None,
        typer.Option("--threads", "-t", min=1, max=256, help="Cores to use. Default: all.", show_default=False),
    ] = None,
    data: options.Data = None,
    labels: options.Labels = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of results. Default: baselines/NAME.", show_default=False),
    ] = None,
    json: options.Json = False,
) -> None:
    """Fit a classical method on the training images, and measure it on the test images.

    Writes the fitted model, the metrics, the confusion matrix and an image of what each pixel counts. A twelfth of
    the training images validates; the test images choose nothing. Interrupted, it writes nothing.
    """
    chosen = find_baseline(name)
    extras.require("report", f"the baseline {name}", ("matplotlib", *chosen.modules))
    from edge_fmnist_export.baselines import record, runner

    folder = output or FOLDER / name
    names = options.labels_of(labels)
    train, test = dataset.load("train", data, names), dataset.load("test", data, names)
    how = runner.Options(grid, train_images, seed, threads or os.cpu_count() or 1)
    # Before hours of work, not after.
    folder.mkdir(parents=True, exist_ok=True)
    with _progress(name) as advance:
        outcome = runner.run(chosen, train, test, how, advance)
        advance("writing", 0, None)
        results = record.write(folder, outcome, how, train, test)
    if json:
        console.emit_json({"folder": str(folder), **results})
    else:
        _show(folder, results)


@contextmanager
def _progress(name: str) -> Iterator[Advance]:
    """Give a function that shows the current step with a bar."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console.stderr_console()) as bar:
        task, showing = bar.add_task(name, total=None), ""

        def advance(step: str, done: int, of: int | None) -> None:
            nonlocal task, showing
            if step != showing:
                showing = step
                bar.remove_task(task)
                task = bar.add_task(f"{name}: {step}", total=of)
            bar.update(task, completed=done)

        yield advance


def _show(folder: Path, results: dict[str, Any]) -> None:
    seconds, test = results["seconds"], results["test"]
    console.show_table(
        f"{results['title']}: {test['top1']:.2%} top-1 on {test['images']:,} test images, "
        f"{results['validation']['top1']:.2%} on {results['validation']['images']:,} validation images",
        ["class", "precision", "recall", "F1", "images", "predicted"],
        [
            *(_row(metrics["label"], metrics, metrics["support"], metrics["predicted"]) for metrics in test["classes"]),
            *(_row(f"{kind} average", test[kind], test["images"], test["images"]) for kind in ("macro", "weighted")),
        ],
    )
    if results["grid_search"]:
        _show_trials(results["grid_search"])
    console.say(
        f"Fitted on {results['train_images']:,} images in {seconds['fit']:.1f} s with "
        + ", ".join(f"{key} = {value}" for key, value in results["settings"].items())
    )
    console.say(f"Importance of a pixel: {results['importance_method']}")
    console.say(f"Results, model ({results['model']['bytes']:,} bytes) and figures: {folder}")


def _row(label: str, metrics: dict[str, float], *counts: int) -> tuple[str, ...]:
    return (
        label,
        *(f"{metrics[key]:.3f}" for key in ("precision", "recall", "f1")),
        *(f"{count:,}" for count in counts),
    )


def _show_trials(search: dict[str, Any]) -> None:
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
