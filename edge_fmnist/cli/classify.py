"""``edge-fmnist classify``: classify the garments in pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from edge_fmnist.cli import console, options
from edge_fmnist.errors import EdgeFmnistError, ImageError, MissingExtraError, SourceError, printable
from edge_fmnist.model.registry import shipped_models
from edge_fmnist.pipeline.stills import Answer, StillClassifier
from edge_fmnist.vision.picture_files import find_pictures
from edge_fmnist.vision.read_image import read_image

# Loading one that is not a .tflite file says how to convert it.
MODEL_SUFFIXES = (".tflite", ".keras", ".h5", ".onnx", ".pt", ".pth")


def classify(
    images: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, globs, or - for standard input. The first may be the model: a name or .tflite file."
        ),
    ],
    model: options.PictureModel = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="Number of classes to show.")] = 3,
    labels: options.ModelLabels = None,
    threads: options.Threads = 1,
    interpreter: options.Interpreter = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line for each image.")] = False,
) -> None:
    """Classify the garment in each image.

    A 28x28 image is used as it is (garment bright on black). An image of any other size is a photograph: the garment
    is segmented and converted to such an image. If none is detected, or the score is below the threshold, the answer
    says so. An image that cannot be read is reported and the rest is still classified; the exit code is then 1.
    """
    if model is None and _is_model(images[0]):
        model, *images = images
        if not images:
            raise typer.BadParameter(f"expected images after the model {model}", param_hint="IMAGES")
    names = options.given_labels(labels)
    classifier = StillClassifier(model, lambda name: options.load_classifier(name, threads, interpreter, names))
    if model is not None:
        # Reports a model that cannot be used before reading any picture.
        classifier.named(model)
    failed = False
    with console.reader_may_leave():
        for source, answer in _answers(classifier, images):
            if isinstance(answer, EdgeFmnistError):
                failed = True
                console.say(f"Error: {answer}")
                if json:
                    console.emit_json({"file": source, "error": str(answer)}, indent=None)
            elif json:
                console.emit_json({"file": source, **answer.as_dict(top_k)}, indent=None)
            else:
                print(printable(f"{source}: {answer.text(top_k)}"), flush=True)
    if failed:
        raise typer.Exit(1)


def _is_model(argument: str) -> bool:
    return argument.endswith(MODEL_SUFFIXES) or (argument in shipped_models() and not Path(argument).exists())


def _answers(classifier: StillClassifier, arguments: list[str]) -> Iterator[tuple[str, Answer | EdgeFmnistError]]:
    """Yield each picture with its answer, or with its error; an error of a model ends the iteration."""
    from edge_fmnist.vision.preprocess import convention_warning

    warned = False
    for argument in arguments:
        try:
            sources = list(find_pictures(argument, console.warn))
        except SourceError as error:
            yield argument, error
            continue
        for source in sources:
            try:
                picture = read_image(source)
            except (ImageError, MissingExtraError, SourceError) as error:
                yield source, error
                continue
            unusual = None if warned else convention_warning(picture)
            if unusual:
                warned = True
                console.warn(f"{source}: {unusual}")
            try:
                yield source, classifier.answer(picture)
            except ImageError as error:
                yield source, ImageError(f"{source}: {error}")
