"""The page: one HTML file with all in it, no reference to anything outside."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from edge_fmnist_export.report.base import Table
from edge_fmnist_export.report.store import StoredFigure, StoredSection

TEMPLATE = "page.html.j2"
MEDIA_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}
# Smaller numbers would be all zeros.
LEAST_PLAIN = 0.001
# From here on four decimals are more than anyone reads.
LEAST_COARSE = 10


def render_page(
    title: str, facts: Mapping[str, str], sections: Sequence[StoredSection], problems: Sequence[str]
) -> str:
    """Return the page as HTML.

    Args:
        title: its heading.
        facts: what the report is on: names and texts, shown below the heading.
        sections: in the order of the page.
        problems: what could not be computed, and why.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"data_uri": data_uri, "cell": cell_text}
    source = files("edge_fmnist_export.report").joinpath(TEMPLATE).read_text("utf-8")
    return environment.from_string(source).render(
        title=title,
        facts=facts,
        sections=sections,
        problems=problems,
        shown_rows=shown_rows,
        numeric_columns=numeric_columns,
    )


def data_uri(figure: StoredFigure) -> str:
    """Return a figure's file as a ``data:`` address."""
    return f"data:{MEDIA_TYPES[figure.suffix]};base64,{base64.b64encode(figure.content).decode()}"


def shown_rows(table: Table) -> Sequence[Sequence[Any]]:
    """Return the rows of a table that the page shows."""
    return table.rows if table.shown is None else table.rows[: table.shown]


def numeric_columns(table: Table) -> list[bool]:
    """Tell of each column whether it holds numbers and at most gaps besides, and so is aligned to the right."""
    return [
        all(row[index] is None or is_number(row[index]) for row in table.rows) for index in range(len(table.columns))
    ]


def is_number(value: Any) -> bool:
    """Tell whether a cell holds a number; truth values do not count."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def cell_text(value: Any) -> str:
    """Return a cell as a reader wants it: thousands apart, no more decimals than matter, a dash for nothing."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if 0 < abs(value) < LEAST_PLAIN:
        return f"{value:.3g}"
    return f"{value:,.{4 if abs(value) < LEAST_COARSE else 1}f}"
