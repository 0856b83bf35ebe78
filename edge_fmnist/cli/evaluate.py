"""``edge-fmnist evaluate``: accuracy of models on a data set."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from edge_fmnist.classifier import Classifier
from edge_fmnist.cli import console, options
from edge_fmnist.dataset import Split, load
from edge_fmnist.errors import EdgeFmnistError
from edge_fmnist.evaluation import Evaluation
from edge_fmnist.registry import DEFAULT_MODEL

DEFAULT_MODELS = [DEFAULT_MODEL]
# Bulk work, not latency: all cores, up to where more stop helping a network this small.
DEFAULT_THREADS = min(4, os.cpu_count() or 1)


def evaluate(
    models: Annotated[
        list[str] | None, typer.Argument(help="Shipped models' names or .tflite files. Default: edge.")
    ] = None,
    data: options.Data = None,
    split: Annotated[str, typer.Option("--split", help="test or train.")] = "test",
    threads: options.Threads = DEFAULT_THREADS,
    interpreter: options.Interpreter = None,
    json: options.Json = False,
) -> None:
    """Measure the accuracy of models on a data set.

    Top-1; precision, recall and F1 for each class; the confusion matrix; how often each class was predicted.
    A model that fails is reported and the rest still evaluated; the exit code is then that of the failure.
    """
    if split not in ("test", "train"):
        raise typer.BadParameter(f"expected test or train, got {split!r}", param_hint="--split")
    images = load("test" if split == "test" else "train", data)
    results, exit_code = {}, 0
    for name in models or DEFAULT_MODELS:
        try:
            results[name] = _evaluated(name, images, threads, interpreter)
        except EdgeFmnistError as error:
            console.say(f"Error: {error}")
            exit_code = error.exit_code
            continue
        if not json:
            show(name, results[name])
    if json:
        console.emit_json([{"model": name, "split": split, **result.as_dict()} for name, result in results.items()])
    if exit_code:
        raise typer.Exit(exit_code)


def _evaluated(name: str, images: Split, threads: int, interpreter: str | None) -> Evaluation:
    from edge_fmnist import evaluation

    with console.quiet_native_log():
        classifier = Classifier.load(name, threads=threads, interpreter=interpreter)
        # The first batch makes the interpreter that the rest uses, with its announcements.
        classifier.predict_batch(images.images[:128])
    return evaluation.evaluate(classifier, images)


def show(name: str, result: Evaluation) -> None:
    """Print an evaluation for people."""
    size = f", {Path(name).stat().st_size:,} bytes" if Path(name).is_file() else ""
    console.show_table(
        f"{name}: {result.top1:.2%} top-1 on {result.images:,} images{size}, "
        f"{result.images / result.milliseconds * 1000:,.0f} images/s",
        ["class", "precision", "recall", "F1", "images", "predicted"],
        [
            (m.label, f"{m.precision:.3f}", f"{m.recall:.3f}", f"{m.f1:.3f}", m.support, m.predicted)
            for m in result.classes
        ],
    )
    labels = [metrics.label for metrics in result.classes]
    console.show_table(
        "Confusion: rows are true, columns predicted",
        ["", *map(str, range(len(labels)))],
        [(f"{i} {label}", *row) for i, (label, row) in enumerate(zip(labels, result.confusion.tolist(), strict=True))],
    )
