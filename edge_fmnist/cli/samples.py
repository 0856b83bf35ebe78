"""``edge-fmnist samples``: draw the sample pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def samples(
    output: Annotated[Path, typer.Option("--output", "-o", help="Output folder.")] = Path("samples"),
) -> None:
    """Draw three sample pictures to classify, and print their paths."""
    from edge_fmnist.data.samples import write_samples

    for path in write_samples(output):
        print(path)
