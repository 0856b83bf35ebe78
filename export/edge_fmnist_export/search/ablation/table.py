"""The table of an ablation: a Markdown page of its own, and the same as JSON beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

from edge_fmnist.errors import UsageError
from edge_fmnist_export.report import markdown
from edge_fmnist_export.search.ablation.build import Row

# The first line of a page that may be written anew.
FIRST = "<!-- made by python -m edge_fmnist_export.search.ablation, which writes the whole page -->"
HEADINGS = ("variant", "what differs", "validation, mean", "least to most", "to the whole, points", "seeds")


@dataclass(frozen=True)
class Ablation:
    """What all runs of an ablation share.

    Attributes:
        recipe: name of the recipe.
        epochs: of the float phase.
        validation: how many images validate.
    """

    recipe: str
    epochs: int
    validation: int


def cells(row: Row, whole: Row) -> tuple[str, ...]:
    """Return a row's cells as text, in the order of the headings."""
    accuracies, differences = row.accuracies.values(), row.differences(whole)
    difference = f"{100 * sum(differences) / len(differences):+.2f}"
    if len(differences) > 1:
        difference += f" ({100 * min(differences):+.2f} to {100 * max(differences):+.2f})"
    return (
        row.variant.name,
        f"`{row.variant.changes}`" if row.variant.changes else "",
        f"{row.mean:.2%}",
        f"{min(accuracies):.2%} to {max(accuracies):.2%}",
        "" if row is whole else difference,
        ", ".join(map(str, row.accuracies)),
    )


def text(ablation: Ablation, rows: Sequence[Row]) -> str:
    """Return the table as Markdown, with what a reader must know to trust it.

    Args:
        ablation: what all runs share.
        rows: the whole recipe first.
    """
    whole = rows[0]
    error = sqrt(whole.mean * (1 - whole.mean) / ablation.validation)
    lines = [
        markdown.table(HEADINGS, [cells(row, whole) for row in rows]),
        "",
        f"The recipe `{ablation.recipe}`, float phase, {ablation.epochs} epochs. Accuracy of the best epoch on the",
        f"{ablation.validation:,} validation images, which are the same for all; test images were not looked at.",
        "Differences are taken seed by seed.",
        f"One standard error of one run is {100 * error:.2f} points: a smaller difference says little.",
    ]
    return "\n".join(lines) + "\n"


def document(ablation: Ablation, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the table as plain values for JSON; accuracies 0 to 1."""
    return {
        "recipe": ablation.recipe,
        "epochs": ablation.epochs,
        "validation_images": ablation.validation,
        "variants": [
            {
                "name": row.variant.name,
                "changes": row.variant.changes,
                "mean": round(row.mean, 6),
                "accuracies": [{"seed": seed, "accuracy": value} for seed, value in row.accuracies.items()],
                "differences": [round(value, 6) for value in row.differences(rows[0])],
            }
            for row in rows
        ],
    }


def check_page(path: Path) -> None:
    """Check, before anything is trained, that the table may be written to a path.

    Raises:
        UsageError: no name of a Markdown file, or a file that is not an ablation's.
    """
    markdown.check_name(path)
    if path.exists() and not _is_ours(path):
        raise UsageError(f"{path}: already there, and no table of an ablation; name another page with --table")


def write_table(path: Path, ablation: Ablation, rows: Sequence[Row]) -> Path:
    """Write the table to a page and as JSON beside it; return the path of the JSON file.

    Raises:
        OSError: a file cannot be written.
    """
    return markdown.write_page(path, f"{FIRST}\n\n{text(ablation, rows)}", document(ablation, rows))


def _is_ours(path: Path) -> bool:
    try:
        return path.read_text("utf-8").startswith(FIRST)
    except (OSError, UnicodeDecodeError):
        return False
