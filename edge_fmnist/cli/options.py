"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="Folder with the four IDX files of a data set.", show_default=False),
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
