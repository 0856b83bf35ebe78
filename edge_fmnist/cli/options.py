"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_fmnist.data.labels import LABELS, read_labels

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="Folder with the four IDX files of a data set.", show_default=False),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        help="Text file with the names of the classes, one a line. Default: Fashion-MNIST's.",
        show_default=False,
    ),
]
ModelLabels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        help="Text file with the names of the classes, one a line, in place of those in the model's file.",
        show_default=False,
    ),
]
Photos = Annotated[
    Path | None,
    typer.Option("--photos", help="Folder of photographs, a folder for each garment.", show_default=False),
]
Model = Annotated[str, typer.Option("--model", "-m", help="A shipped model's name or a .tflite file.")]
Threads = Annotated[int, typer.Option("--threads", "-t", min=1, max=64, help="Threads of the interpreter.")]
Interpreter = Annotated[
    str | None,
    typer.Option(
        "--interpreter",
        help="ai-edge-litert, tflite-runtime or tensorflow. Default: the first installed.",
        show_default=False,
    ),
]


def labels_of(path: Path | None) -> tuple[str, ...]:
    """Return the labels in the file that ``--labels`` names, or Fashion-MNIST's.

    Raises:
        SourceError: no such file.
        DataError: it holds no such labels.
    """
    return LABELS if path is None else read_labels(path)
