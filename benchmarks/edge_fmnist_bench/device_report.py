"""``edge-fmnist bench --report pi``: everything that a device should record, in one file to send in."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from pathlib import Path

from edge_fmnist_bench import machine
from edge_fmnist_bench.document import Document

KINDS = ("pi",)
BOARD = "Raspberry Pi"


def default_path() -> Path:
    """Return the name of the report's file, from the board and today's date."""
    facts = machine.describe()
    name = re.sub(r"[^a-z0-9]+", "-", str(facts["board"] or facts["cpu"]).lower()).strip("-")
    return Path(f"bench-{name}-{datetime.now(timezone.utc):%Y-%m-%d}.json")


def remarks(result: Document, path: Path, *, shortened: bool) -> list[str]:
    """Return what there is to say of a report, for people.

    Args:
        result: the report.
        path: where it was written.
        shortened: whether fewer calls were measured than the protocol says.
    """
    lines = []
    board = result["machine"]["board"]
    if board is None or BOARD not in board:
        lines.append(f"This machine is no {BOARD} ({board or result['machine']['cpu']}); the report says so.")
    if shortened:
        lines.append("--iterations shortened the run: figures to keep come from one without it.")
    if result["data"] is None or not result["data"]["fashion_mnist"]:
        lines.append("Without Fashion-MNIST the report has no accuracy: apt install dataset-fashion-mnist")
    if result["marks"]:
        lines.append("The report notes reasons to doubt it (above): let the machine cool and rest, and run it again.")
    return [*lines, f"Wrote {path.resolve()}: this is the file to send in, as docs/raspberry-pi.md says."]
