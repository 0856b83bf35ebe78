"""The HTML page: one file with all figures embedded, without external references."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from edge_fmnist_export.report.base import ReportFigure, ReportTable
from edge_fmnist_export.report.store import BuiltSection

TEMPLATE = "page.html.j2"
# Smaller numbers are written with an exponent, since four decimals would be all zeros.
LEAST_PLAIN = 0.001
# From this number on, one decimal is enough.
LEAST_COARSE = 10


def render_page(title: str, sections: Sequence[BuiltSection], about: Mapping[str, str], problems: Sequence[str]) -> str:
    """Return the page as HTML."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"data_uri": _data_uri, "cell": cell_text}
    source = files("edge_fmnist_export.report").joinpath(TEMPLATE).read_text("utf-8")
    return environment.from_string(source).render(
        title=title,
        tiles=[tile for built in sections for tile in built.section.tiles],
        sections=sections,
        about=about,
        problems=problems,
        numeric_columns=_numeric_columns,
    )


def cell_text(value: Any) -> str:
    """Return the text of a table cell: thousands separators, no more decimals than needed, a dash for None."""
    if value is None:
        return "-"
    if not _is_number(value):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if 0 < abs(value) < LEAST_PLAIN:
        return f"{value:.3g}"
    return f"{value:,.{4 if abs(value) < LEAST_COARSE else 1}f}"


def _data_uri(figure: ReportFigure) -> str:
    assert isinstance(figure.content, bytes)  # noqa: S101 - for the type checker: drawn before
    return f"data:image/svg+xml;base64,{base64.b64encode(figure.content).decode()}"


def _numeric_columns(table: ReportTable) -> list[bool]:
    """Return for each column whether it contains only numbers and None, and is aligned to the right."""
    return [
        all(row[index] is None or _is_number(row[index]) for row in table.rows) for index in range(len(table.columns))
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
