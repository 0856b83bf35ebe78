"""``edge-fmnist classify``: name the garments in pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import typer

from edge_fmnist.cli import console, options
from edge_fmnist.errors import EdgeFmnistError, ImageError, SourceError
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.predictions import Prediction
from edge_fmnist.model.registry import CAMERA_MODEL, DEFAULT_MODEL
from edge_fmnist.vision.read_image import find_pictures, read_picture


def classify(
    images: Annotated[list[str], typer.Argument(help="Files, folders, globs, or - for standard input.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="A shipped model's name or a .tflite file. Default: edge for 28x28 images, camera for photographs.",
            show_default=False,
        ),
    ] = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="How many classes to show.")] = 3,
    labels: options.ModelLabels = None,
    threads: options.Threads = 1,
    interpreter: options.Interpreter = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON line for each image.")] = False,
) -> None:
    """Name the garment in each image.

    A 28x28 image is taken as it is (garment bright on black). A larger one is a photograph: the garment is found,
    cut out and made such an image. Where none is found, or the model is not sure, the answer says so.
    An image that cannot be read is reported and the rest still classified; the exit code is then 1.
    """
    names = None if labels is None else options.labels_of(labels)
    classifiers = Classifiers(model, threads, interpreter, names)
    if model is not None:
        # A model that cannot be used is told of before any picture.
        classifiers.named(model)
    failed = False
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
    if failed:
        raise typer.Exit(1)


@dataclass(frozen=True)
class Answer:
    """What a model says of a picture.

    Attributes:
        model: its name or path.
        prediction: what it says; None where no garment was found, and so nothing asked.
    """

    model: str
    prediction: Prediction | None

    def as_dict(self, top_k: int) -> dict[str, Any]:
        """Return plain values for JSON."""
        if self.prediction is None:
            said: dict[str, Any] = dict.fromkeys(("answer", "label", "index", "milliseconds"))
            said |= {"score": 0.0, "top": []}
        else:
            said = self.prediction.as_dict(top_k)
        return {"model": self.model, "found": self.prediction is not None, **said}

    def text(self, top_k: int) -> str:
        """Return one line for people."""
        if self.prediction is None:
            return "no garment found"
        classes = ", ".join(f"{choice.label} {choice.score:.1%}" for choice in self.prediction.top(top_k))
        doubt = "" if self.prediction.known else f"{self.prediction.answer}; perhaps "
        return f"{doubt}{classes} ({self.prediction.milliseconds:.2f} ms)"


@dataclass
class Classifiers:
    """The models that are asked, each loaded when a picture needs it.

    Attributes:
        wanted: the model for every picture; None chooses by the kind of picture.
        threads: threads of the interpreter.
        interpreter: its name; None chooses.
        labels: the names of the classes, in place of those in the models' files.
        loaded: the models by name.
    """

    wanted: str | None
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
        """Classify an image, or the garment in a photograph.

        Args:
            picture: as for :func:`edge_fmnist.vision.preprocess.preprocess`.

        Raises:
            ImageError: a picture that cannot be used.
            EdgeFmnistError: a model that cannot be used, as :meth:`Classifier.load` and :meth:`Classifier.predict`.
        """
        from edge_fmnist.vision.preprocess import is_image, preprocess, to_grey

        if is_image(picture):
            name = self.wanted or DEFAULT_MODEL
            return Answer(name, self.named(name).predict(to_grey(picture)))
        name = self.wanted or CAMERA_MODEL
        garment = preprocess(picture)
        return Answer(name, self.named(name).predict(garment.image) if garment.found else None)


def _answers(classifiers: Classifiers, arguments: list[str]) -> Iterator[tuple[str, Answer | EdgeFmnistError]]:
    """Yield each picture with its answer, or with what is wrong with it; a model that fails ends all."""
    for argument in arguments:
        try:
            sources = list(find_pictures(argument))
        except SourceError as error:
            yield argument, error
            continue
        for source in sources:
            try:
                picture = read_picture(source)
            except (ImageError, SourceError) as error:
                yield source, error
                continue
            try:
                yield source, classifiers.answer(picture)
            except ImageError as error:
                yield source, ImageError(f"{source}: {error}")
