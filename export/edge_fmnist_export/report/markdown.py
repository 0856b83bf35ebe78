"""GitHub Markdown: tables, and pages with a generated part between two markers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from edge_fmnist.data.files import write_json, write_text
from edge_fmnist.errors import UsageError


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table without a trailing line break; ``|`` is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def with_part(page: str, begin: str, end: str, content: str, where: str) -> str:
    """Return a page, which messages call ``where``, with the text between two marker lines replaced.

    Raises:
        UsageError: a marker is missing.
    """
    before, begun, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not (begun and ended):
        raise UsageError(
            f"{where}: expected a page with the lines {begin!r} and {end!r}, between which the text is written; "
            "add them"
        )
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"


def write_page(path: Path, page: str, document: Any) -> Path:
    """Write a page and the same content as JSON next to it; return the path of the JSON file.

    Raises:
        OSError: a file cannot be written.
    """
    write_text(path, page)
    plain = path.with_suffix(".json")
    write_json(plain, document)
    return plain
