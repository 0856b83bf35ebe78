"""``edge-fmnist classify``: classify the garments in pictures."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from edge_fmnist.cli import console, options
from edge_fmnist.errors import EdgeFmnistError, ImageError, MissingExtraError, SourceError
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.predictions import Prediction
from edge_fmnist.model.registry import CAMERA_MODEL, DEFAULT_MODEL, shipped_models
from edge_fmnist.vision.read_image import find_pictures, read_image

# Loading one that is not a .tflite file says how to convert it.
MODEL_SUFFIXES = (".tflite", ".keras", ".h5", ".onnx", ".pt", ".pth")


def classify(
    images: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, globs, or - for standard input. The first may be the model: a name or .tflite file."
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Name of a shipped model, or a .tflite file. Default: edge for 28x28 images, camera for photographs.",
            show_default=False,
        ),
    ] = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="Number of classes to show.")] = 3,
    labels: options.ModelLabels = None,
    threads: options.Threads = 1,
    interpreter: options.Interpreter = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line for each image.")] = False,
) -> None:
    """Classify the garment in each image.

    A 28x28 image is used as it is (garment bright on black). A larger one is a photograph: the garment is segmented
    and converted to such an image. If none is detected, or the score is below the threshold, the answer says so.
    An image that cannot be read is reported and the rest is still classified; the exit code is then 1.
    """
    if model is None and _is_model(images[0]):
        model, *images = images
        if not images:
            raise typer.BadParameter(f"expected images after the model {model}", param_hint="IMAGES")
    names = None if labels is None else options.labels_of(labels)
    classifiers = Classifiers(model, threads, interpreter, names)
    if model is not None:
        # Reports a model that cannot be used before reading any picture.
        classifiers.named(model)
    failed = False
    try:
        for source, answer in _answers(classifiers, images):
            if isinstance(answer, EdgeFmnistError):
                failed = True
                console.say(f"Error: {answer}")
                if json:
                    console.emit_json({"file": source, "error": str(answer)}, indent=None)
            elif json:
                console.emit_json({"file": source, **answer.as_dict(top_k)}, indent=None)
            else:
                print(f"{source}: {answer.text(top_k)}", flush=True)
    except BrokenPipeError:
        # The reader of the pipe, such as head, has seen enough. Python flushes standard output once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if failed:
        raise typer.Exit(1)


def _is_model(argument: str) -> bool:
    return argument.endswith(MODEL_SUFFIXES) or (argument in shipped_models() and not Path(argument).exists())


@dataclass(frozen=True)
class Answer:
    """The answer for one picture.

    Attributes:
        model: name or path of the model.
        prediction: its prediction; None if no garment was detected.
    """

    model: str
    prediction: Prediction | None

    def as_dict(self, top_k: int) -> dict[str, Any]:
        """Return plain values for JSON."""
        if self.prediction is None:
            predicted: dict[str, Any] = dict.fromkeys(("answer", "label", "index", "milliseconds"))
            predicted |= {"score": 0.0, "top": []}
        else:
            predicted = self.prediction.as_dict(top_k)
        return {"model": self.model, "found": self.prediction is not None, **predicted}

    def text(self, top_k: int) -> str:
        """Return one human-readable line."""
        if self.prediction is None:
            return "no garment found"
        classes = ", ".join(f"{choice.label} {choice.score:.1%}" for choice in self.prediction.top(top_k))
        doubt = "" if self.prediction.known else f"{self.prediction.answer}; perhaps "
        return f"{doubt}{classes} ({self.prediction.milliseconds:.2f} ms)"


@dataclass
class Classifiers:
    """The models, each loaded when a picture needs it.

    Attributes:
        model: the model for every picture; None chooses by the kind of picture.
        threads: threads of the interpreter.
        interpreter: its name; None chooses.
        labels: names of the classes, in place of those in the models' files.
        loaded: the models by name.
    """

    model: str | None
    threads: int
    interpreter: str | None
    labels: tuple[str, ...] | None = None
    loaded: dict[str, Classifier] = field(default_factory=dict)

    def named(self, name: str) -> Classifier:
        """Return a model by name or path.

        Raises:
            EdgeFmnistError: as :meth:`Classifier.load`.
        """
        if name not in self.loaded:
            self.loaded[name] = options.load_classifier(name, self.threads, self.interpreter, self.labels)
        return self.loaded[name]

    def answer(self, picture: np.ndarray) -> Answer:
        """Classify a picture, as :func:`edge_fmnist.vision.preprocess.preprocess` takes it.

        Raises:
            ImageError: a picture that cannot be used.
            EdgeFmnistError: a model that cannot be used, as :meth:`Classifier.load` and :meth:`Classifier.predict`.
        """
        from edge_fmnist.vision.preprocess import is_image, preprocess

        name = self.model or (DEFAULT_MODEL if is_image(picture) else CAMERA_MODEL)
        garment = preprocess(picture)
        return Answer(name, self.named(name).predict(garment.image) if garment.found else None)


def _answers(classifiers: Classifiers, arguments: list[str]) -> Iterator[tuple[str, Answer | EdgeFmnistError]]:
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
                yield source, classifiers.answer(picture)
            except ImageError as error:
                yield source, ImageError(f"{source}: {error}")
