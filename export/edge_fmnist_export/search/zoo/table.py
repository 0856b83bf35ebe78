"""The zoo's table: Markdown between two markers, and the same as JSON beside it."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_fmnist.errors import UsageError
from edge_fmnist.model import interpreter as interpreters
from edge_fmnist.model.registry import DEFAULT_MODEL
from edge_fmnist_export.report import markdown
from edge_fmnist_export.search.zoo.build import Row

BEGIN, END = "<!-- zoo: made by edge-fmnist zoo, do not edit below -->", "<!-- zoo: do not edit above -->"
HEADINGS = (
    "network", "parameters", "MACs", "published", "float", "int8", "int8 file, bytes", "p50, µs", f"x {DEFAULT_MODEL}",
    "epochs",
)  # fmt: skip
NOT_GIVEN = "not given"
NEW_PAGE = (
    f"# The zoo\n\nThe networks of the published projects, trained by the recipes of the same name.\n\n{BEGIN}\n{END}\n"
)


def cells(row: Row) -> tuple[str, ...]:
    """Return a row's cells as text, in the order of the headings."""
    published, facts = row.published.accuracy, row.facts
    return (
        row.published.name,
        f"{facts.parameters:,}",
        f"{facts.macs:,}",
        NOT_GIVEN if published is None else f"{100 * published:.4g} %",
        f"{100 * facts.float_top1:.2f} %",
        f"{100 * facts.top1:.2f} %",
        f"{facts.bytes:,}",
        f"{row.latency.microseconds:.1f}",
        f"{row.latency.ratio:.2f}",
        f"{facts.epochs[0]} + {facts.epochs[1]}",
    )


def measured_with() -> str:
    """Return which interpreter measures latency here, on what kind of processor."""
    name = interpreters.choose()
    return f"{name} {interpreters.installed()[name]}, {platform.machine()}, one thread, one image at a time"


def text(rows: Sequence[Row]) -> str:
    """Return the table as Markdown, with what a reader must know to trust it, without a line break at its end."""
    images = rows[0].facts.images
    lines = [
        markdown.table(HEADINGS, [(f"`{name}`", *rest) for name, *rest in map(cells, rows)]),
        "",
        f"Top-1 on the {images:,} test images: float of the Keras model, int8 of the written file after",
        f"quantization-aware training. Latency: {measured_with()};",
        f"in turns with `{DEFAULT_MODEL}`, whose time the last ratio refers to. Epochs: float and quantization-aware.",
        "Published figures are of float networks:",
        "",
        *(f"- `{row.published.name}`: {row.published.source}" for row in rows),
    ]
    return "\n".join(lines)


def document(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the table as plain values for JSON."""
    return {"measured_with": measured_with(), "reference": DEFAULT_MODEL, "networks": [row.as_dict() for row in rows]}


def check_page(path: Path) -> None:
    """Check, before anything is trained, that a page can take the table.

    Raises:
        UsageError: no name of a Markdown file, or a page without the two markers.
    """
    markdown.check_name(path)
    if path.exists():
        _filled(path, "")


def write_table(path: Path, rows: Sequence[Row]) -> Path:
    """Write the table into a page, between its markers, and as JSON beside it; return the path of the JSON file.

    Raises:
        UsageError: a page without the two markers.
        OSError: a file cannot be written.
    """
    return markdown.write_page(path, _filled(path, text(rows)), document(rows))


def _filled(path: Path, content: str) -> str:
    """Return a page with its table replaced; a new page where there is none yet."""
    try:
        page = path.read_text("utf-8") if path.exists() else NEW_PAGE
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as text ({error})") from error
    filled = markdown.with_part(page, BEGIN, END, content)
    if filled is None:
        raise UsageError(
            f"{path}: expected a page with the lines {BEGIN!r} and {END!r}, between which the table goes; "
            "add them, or name a new page with --table"
        )
    return filled
