"""Options and arguments that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_fmnist.cli import console
from edge_fmnist.data.labels import LABELS, read_labels

if TYPE_CHECKING:
    from edge_fmnist.data.dataset import Split, SplitName
    from edge_fmnist.model.classifier import Classifier

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="Folder with the four IDX files of a data set.", show_default=False),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        help="Text file with the names of the classes, one per line. Default: Fashion-MNIST's.",
        show_default=False,
    ),
]
ModelLabels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        help="Text file with the names of the classes, one per line, instead of those in the model's file.",
        show_default=False,
    ),
]
Photos = Annotated[
    Path | None,
    typer.Option("--photos", help="Folder of photographs, with a subfolder for each garment.", show_default=False),
]
Model = Annotated[str, typer.Option("--model", "-m", help="A shipped model's name or a .tflite file.")]
# Where the model is an argument, --model works, too.
SameModel = Annotated[str | None, typer.Option("--model", "-m", help="The same as the argument.", show_default=False)]
# For commands that take images as well as photographs.
PictureModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Name of a shipped model, or a .tflite file. Default: edge for 28x28 images, camera for photographs.",
        show_default=False,
    ),
]
# Default for bulk work, not latency: all cores, up to where more stop helping a network this small.
BULK_THREADS = min(4, os.cpu_count() or 1)
Threads = Annotated[int, typer.Option("--threads", "-t", min=1, max=64, help="Threads of the interpreter.")]
# NumPy, TensorFlow and scikit-learn take no larger ones.
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Random seed.")]
Interpreter = Annotated[
    str | None,
    typer.Option(
        "--interpreter",
        help="ai-edge-litert, tflite-runtime or tensorflow. Default: the first installed.",
        show_default=False,
    ),
]


def given_labels(path: Path | None) -> tuple[str, ...] | None:
    """Return the labels in the file given by ``--labels``; None without one, for those of the model.

    Raises:
        SourceError: no such file.
        DataError: its labels cannot be used.
    """
    return None if path is None else read_labels(path)


def labels_of(path: Path | None) -> tuple[str, ...]:
    """Return :func:`given_labels`, or Fashion-MNIST's."""
    return given_labels(path) or LABELS


def one_model(argument: str | None, option: str | None, default: str) -> str:
    """Return the model that is given as an argument or with ``--model``.

    Raises:
        BadParameter: there are both.
    """
    if argument is not None and option is not None:
        raise typer.BadParameter(f"expected one model, got {argument} and {option}", param_hint="--model")
    given = option if argument is None else argument
    return default if given is None else given


def load_classifier(
    name: str, threads: int = 1, interpreter: str | None = None, labels: tuple[str, ...] | None = None
) -> Classifier:
    """Load a model without the interpreter's log lines, and warn of what had to be assumed about it.

    Raises:
        EdgeFmnistError: as :class:`Classifier`.
    """
    from edge_fmnist.model.classifier import Classifier

    with console.quiet_native_log():
        classifier = Classifier(name, threads=threads, interpreter=interpreter, labels=labels)
    for assumption in classifier.assumptions:
        console.warn(assumption)
    return classifier


def warn_of_other_data(model: str, recorded: Any, name: SplitName, split: Split) -> None:
    """Warn if the accuracy of a model is measured on another data set than it was trained on.

    ``recorded`` are the hashes that the model or run records, as for
    :func:`edge_fmnist.data.dataset.of_another_set`.
    """
    from edge_fmnist.data.dataset import of_another_set

    if of_another_set(recorded, name, split):
        console.warn(
            f"{model}: accuracy is measured on another data set than it was trained on; "
            "give the folder of the data it was trained on with --data"
        )
