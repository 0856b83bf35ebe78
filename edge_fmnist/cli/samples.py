"""``edge-fmnist samples``: draw the sample pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_fmnist.cli import console


def samples(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures.")] = Path("samples"),
) -> None:
    """Draw three sample pictures to classify."""
    from edge_fmnist.data.samples import write_samples

    for path in write_samples(output):
        console.say(f"Drew {path}")
