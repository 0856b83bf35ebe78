"""``edge-fmnist teach``: teach a model new classes from photographs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_fmnist.cli import console, options
from edge_fmnist.model.registry import CAMERA_MODEL

if TYPE_CHECKING:
    from edge_fmnist.teaching.results import Taught

# Of the confusion, how many pairs are shown.
MAX_PAIRS = 8


def teach(
    photos: Annotated[Path, typer.Argument(help="Folder with a folder of photographs for each class.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .tflite file to write.")],
    model: options.Model = CAMERA_MODEL,
    add: Annotated[
        bool, typer.Option("--add", help="Keep the model's classes, those of Fashion-MNIST, and add new ones.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Teach a model your own classes from photographs, in seconds.

    PHOTOS contains one folder per class, named after the class, with 3 photographs or more; 20 are better. A folder
    named none has photographs of objects to reject: their answer is "unknown". The file is an int8 model with a new
    last layer.
    The accuracy is measured by cross-validation, on photographs that were held out. Nothing is written before the end.
    """
    from edge_fmnist.teaching.teach import teach as teach_model

    # Warns of what has to be assumed about the model.
    options.load_classifier(model)
    with console.stderr_console().status("Reading photographs") as spinner:

        def show_progress(stage: str, done: int, total: int) -> None:
            spinner.update(f"{stage}: {done} of {total}")

        taught = teach_model(photos, output, model=model, add=add, progress=show_progress)
    for warning in taught.warnings:
        console.warn(warning)
    if taught.notice:
        console.say(taught.notice)
    if json:
        console.emit_json(taught.as_dict())
    else:
        show(taught)


def show(taught: Taught) -> None:
    """Print the result."""
    console.show_table(
        f"{taught.path}: {taught.accuracy:.1%} right on {taught.photographs:,} photographs that were held out "
        f"(cross-validation), threshold {taught.threshold:.2f}",
        ["class", "right", "photographs", "share", "would help"],
        [
            (c.label, c.right, c.photographs, f"{c.accuracy:.0%}", f"{c.wanted} more" if c.wanted else "")
            for c in taught.classes
        ],
    )
    pairs = [
        (each.label, answer, count)
        for each, row in zip(taught.classes, taught.confusion, strict=True)
        for answer, count in zip(taught.labels, row, strict=True)
        if count and answer != each.label
    ]
    if pairs:
        pairs.sort(key=lambda pair: -pair[2])
        headings = ["class", "answer", "photographs"]
        console.show_table("Most frequent confusions", headings, pairs[:MAX_PAIRS], numbers_from=2)
    if taught.comparison is not None:
        console.say(
            f"{taught.parent} before: {taught.comparison.before:.1%}; now {taught.comparison.after:.1%} of the "
            f"{taught.comparison.photographs:,} photographs with a garment that it was not taught from."
        )
    console.say(f"Taught in {taught.seconds:.1f} s. Next: edge-fmnist live --model {taught.path}")
