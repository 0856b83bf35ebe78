"""GitHub Markdown: tables, and pages with a generated part between two markers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from edge_fmnist.data.files import write_json, write_text
from edge_fmnist.errors import UsageError


def table(header: Sequence[str], rows: Iterable[Sequence[object]], *, text_columns: int | None = None) -> str:
    """Return a table without a trailing line break.

    The columns after the first ``text_columns``, if given, are numbers, aligned to the right.
    """
    words = len(header) if text_columns is None else text_columns
    lines = [header, ["---"] * words + ["---:"] * (len(header) - words), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(value: object) -> str:
    """Return text on one line, without a ``|`` that ends the cell, which it also does after an escaped backslash."""
    line = " ".join(str(value).splitlines())
    return re.sub(r"(\\*)\|", r"\1\1\|", line)


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
