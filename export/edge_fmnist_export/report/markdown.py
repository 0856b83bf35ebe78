"""Pages in GitHub's Markdown: tables, and the part of a page that a command writes between two marks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from edge_fmnist.data.files import write_json, write_text
from edge_fmnist.errors import UsageError

SUFFIX = ".md"


def table(header: Sequence[str], rows: Iterable[Sequence[object]], text_columns: int | None = None) -> str:
    """Return a table, without a line break at its end.

    Args:
        header: the headings.
        rows: the cells; a ``|`` in one is escaped.
        text_columns: how many columns on the left are words, aligned as such; those beyond are numbers, aligned to
            the right. None for all.
    """
    words = len(header) if text_columns is None else text_columns
    lines = [header, ["---"] * words + ["---:"] * (len(header) - words), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def with_part(page: str, begin: str, end: str, content: str) -> str | None:
    """Return a page with what stands between two marks replaced; None where it lacks one of them.

    Args:
        page: the page.
        begin: the line above the part.
        end: the line below it.
        content: the new part, without a line break at its end.
    """
    before, begun, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    return f"{before}{begin}\n\n{content}\n\n{end}{after}" if begun and ended else None


def check_name(path: Path) -> None:
    """Check that a path names a Markdown file.

    Raises:
        UsageError: it does not.
    """
    if path.suffix != SUFFIX:
        raise UsageError(f"{path}: expected the name of a Markdown file, one that ends in {SUFFIX}")


def write_page(path: Path, page: str, document: Any) -> Path:
    """Write a page, and the same as JSON beside it; return the path of the JSON file.

    Raises:
        OSError: a file cannot be written.
    """
    write_text(path, page)
    plain = path.with_suffix(".json")
    write_json(plain, document)
    return plain
