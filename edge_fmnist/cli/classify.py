"""``edge-fmnist classify``: name the garments in pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from edge_fmnist.classifier import Classifier
from edge_fmnist.cli import console, options
from edge_fmnist.errors import EdgeFmnistError, ImageError, SourceError
from edge_fmnist.pictures import find_pictures, read_picture
from edge_fmnist.predictions import Prediction
from edge_fmnist.registry import DEFAULT_MODEL


def classify(
    images: Annotated[list[str], typer.Argument(help="Files, folders, globs, or - for standard input.")],
    model: options.Model = DEFAULT_MODEL,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="How many classes to show.")] = 3,
    threads: options.Threads = 1,
    interpreter: options.Interpreter = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON line for each image.")] = False,
) -> None:
    """Name the garment in each image.

    A 28x28 image is taken as it is (garment bright on black); a larger one goes
    through preprocessing: grey, polarity, crop, pad. An image that cannot be
    read is reported and the rest still classified; the exit code is then 1.
    """
    with console.quiet_native_log():
        classifier = Classifier.load(model, threads=threads, interpreter=interpreter)
    if classifier.metadata is None:
        console.warn(f"{model} has no metadata; taking it for a Fashion-MNIST model")
    failed = False
    for source, answer in _answers(classifier, images):
        if isinstance(answer, EdgeFmnistError):
            failed = True
            console.say(f"Error: {answer}")
            if json:
                console.emit_json({"file": source, "error": str(answer)}, indent=None)
        elif json:
            console.emit_json({"file": source, **answer.as_dict(top_k)}, indent=None)
        else:
            print(_line(source, answer, top_k), flush=True)
    if failed:
        raise typer.Exit(1)


def _answers(classifier: Classifier, arguments: list[str]) -> Iterator[tuple[str, Prediction | EdgeFmnistError]]:
    """Yield each picture with its prediction, or with what kept it from being read."""
    from edge_fmnist.preprocess import as_image

    for argument in arguments:
        try:
            sources = list(find_pictures(argument))
        except SourceError as error:
            yield argument, error
            continue
        for source in sources:
            try:
                yield source, classifier.predict(as_image(read_picture(source)))
            except (ImageError, SourceError) as error:
                yield source, error


def _line(source: str, prediction: Prediction, top_k: int) -> str:
    classes = ", ".join(f"{choice.label} {choice.score:.1%}" for choice in prediction.top(top_k))
    return f"{source}: {classes} ({prediction.milliseconds:.2f} ms)"
