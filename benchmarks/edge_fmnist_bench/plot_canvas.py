"""What all plots share: fonts and colours, title, legend and footer, the logarithmic axis, files."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge_fmnist_bench.document import Document
from edge_fmnist_bench.plot_points import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")
# Inches: the width of a figure, the height of its axes, the height of a row, and what lies around the axes.
WIDTH, HEIGHT, ROW = 9.6, 3.9, 0.56
TOP, RIGHT, LINE = 0.95, 0.25, 0.17
DPI = 160
INK, QUIET, GRID = "#1f2933", "#66727f", "#e4e8ec"
# int8, the lower precisions in between, float: told apart without colour vision as well.
COLOURS = {"int8": "#d1495b", "reduced": "#c98a1b", "float32": "#2e6f9e"}
NAMES = {"int8": "int8", "reduced": "float16, or int8 weights alone", "float32": "float32"}
Units = Sequence[tuple[float, str]]
# Of microseconds, and of kilobytes.
TIMES: Units = ((1, "µs"), (1e3, "ms"), (1e6, "s"))
SIZES: Units = ((1, "kB"), (1e3, "MB"))
RC = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    # The same result gives the same bytes.
    "svg.hashsalt": "edge-fmnist",
}


def make_axes(title: str, points: Sequence[Point], document: Document, rows: int = 0) -> Axes:
    """Return the axes of a new figure with title, legend and footer; it is as high as its rows need."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    below = footer(document)
    left, bottom = (2.6 if rows else 0.85), 0.75 + LINE * len(below)
    inside = max(HEIGHT, ROW * (rows + 0.5))
    height = bottom + inside + TOP
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    # Without pyplot, which would choose a window system; labels are placed by what this canvas measures.
    FigureCanvasAgg(figure)
    axes = figure.add_axes(
        (left / WIDTH, bottom / height, (WIDTH - left - RIGHT) / WIDTH, inside / height), axisbelow=True
    )
    figure.text(0.2 / WIDTH, 1 - 0.2 / height, title, va="top", fontsize=16, fontweight="bold")
    figure.text(0.2 / WIDTH, 1 - 0.55 / height, _where(document), va="top", fontsize=9.5, color=QUIET)
    figure.text(0.2 / WIDTH, 0.1 / height, "\n".join(below), va="bottom", fontsize=7.5, color=QUIET)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=GRID, linewidth=0.8)
    _legend(figure, points, (1 - RIGHT / WIDTH, 1 - 0.15 / height))
    return axes


def figure_of(axes: Axes) -> Figure:
    """Return the figure that axes are in."""
    from matplotlib.figure import Figure

    figure = axes.get_figure()
    assert isinstance(figure, Figure)  # noqa: S101 - for the type checker: never a subfigure here
    return figure


def _where(document: Document) -> str:
    """Return one line on what was measured where."""
    machine, model = document["machine"], document["model"]
    threads = document["protocol"]["single_stream"]["threads"]
    place = machine.get("board") or machine.get("cpu") or "unknown machine"
    return f"{model['name']} · {place} · batch 1, {threads} thread{'s' if threads > 1 else ''}"


def footer(document: Document) -> list[str]:
    """Return what a reader must know to trust the figure: date, commit, reasons for doubt."""
    commit = f", commit {document['commit'][:7]}" if document.get("commit") else ""
    lines = [f"edge-fmnist bench, {document['created'][:10]}{commit}"]
    if not document["complete"]:
        lines.append("Incomplete: the run was interrupted.")
    lines += [f"In doubt: {mark}" for mark in document["marks"]]
    return [part for line in lines for part in textwrap.wrap(line, 150)]


def scale(axes: Axes, low: float, high: float, units: Units) -> None:
    """Make the x axis logarithmic from ``low`` to ``high``, with plain numbers and units at its ticks."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.set_xlim(low, high)
    # Few enough not to run into each other.
    subs = (1.0, 2.0, 5.0) if high / low < 2000 else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=30))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: in_units(value, units)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def in_units(value: float, units: Units) -> str:
    """Return a value with three digits, in the largest unit that it is one of."""
    size, name = next((unit for unit in reversed(units) if value >= unit[0]), units[0])
    return f"{value / size:.3g} {name}"


def _legend(figure: Figure, points: Sequence[Point], corner: tuple[float, float]) -> None:
    from matplotlib.lines import Line2D

    present = [precision for precision in COLOURS if any(point.precision == precision for point in points)]
    handles = [
        Line2D([], [], marker="o", linestyle="", color=COLOURS[key], markersize=7, label=NAMES[key]) for key in present
    ]
    figure.legend(
        handles=handles,
        loc="upper right",
        bbox_to_anchor=corner,
        ncols=len(handles),
        frameon=False,
        fontsize=9,
        handletextpad=0.2,
        columnspacing=1.2,
    )


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as PNG and SVG and return the files; their names begin with ``stem``.

    Raises:
        OSError: a file cannot be written.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_name(stem.name + suffix) for suffix in SUFFIXES]
    for path in paths:
        # Without a date, so that the same result gives the same bytes.
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {"Software": None})
    return paths
