"""``edge-fmnist bench --report pi``: all measurements of a device in one file to send in."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from pathlib import Path

from edge_fmnist_bench import machine
from edge_fmnist_bench.document import Document

KIND = "pi"
BOARD = "Raspberry Pi"


def default_path() -> Path:
    """Return the file name of the report, from the board and today's date."""
    facts = machine.describe()
    name = re.sub(r"[^a-z0-9]+", "-", str(facts["board"] or facts["cpu"]).lower()).strip("-")
    return Path(f"bench-{name}-{datetime.now(timezone.utc):%Y-%m-%d}.json")


def remarks(result: Document, path: Path, *, shortened: bool) -> list[str]:
    """Return human-readable remarks on a report and its file; ``shortened`` tells whether --iterations was given."""
    lines = []
    board = result["machine"]["board"]
    if board is None or BOARD not in board:
        lines.append(f"This machine is not a {BOARD} ({board or result['machine']['cpu']}); the report says so.")
    if shortened:
        lines.append("--iterations shortened the run: repeat it without this option for figures to publish.")
    if result["data"] is None or not result["data"]["fashion_mnist"]:
        lines.append("Without Fashion-MNIST the report has no accuracy: apt install dataset-fashion-mnist")
    if result["marks"]:
        lines.append("Validity checks failed (see the warnings above): let the machine cool down and run it again.")
    return [*lines, f"Wrote {path.resolve()}: send in this file, as described in docs/raspberry-pi.md."]
