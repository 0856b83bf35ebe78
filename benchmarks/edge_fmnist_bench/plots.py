"""Draw a result: accuracy against latency, accuracy against size, and how latency spreads (extra ``[plot]``)."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_fmnist import extras
from edge_fmnist.errors import DataError
from edge_fmnist_bench.document import Document

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
MARKERS = {"tflite": "o", "keras": "s", "onnx": "D"}
# Differences of accuracy below a point are within chance on 10,000 images; the axis must not blow them up.
LEAST_SPAN = 2.0
VERSION = re.compile(r" \d+(\.\d+)+[^\s,]*")
LABEL_WIDTH = 26
BINS = 140
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


@dataclass(frozen=True, eq=False)
class Point:
    """What is drawn of a variant.

    Attributes:
        label: its title without versions.
        precision: a key of ``COLOURS``.
        family: a key of ``MARKERS``.
        top1: accuracy in percent; None where it was not measured.
        size: of the file, in bytes; None for a model in memory.
        samples: times of single inferences in microseconds, float64; empty where none was taken.
    """

    label: str
    precision: str
    family: str
    top1: float | None
    size: int | None
    samples: np.ndarray

    def percentile(self, share: float) -> float:
        """Return a percentile of the samples in microseconds."""
        return float(np.percentile(self.samples, share))


def plot(document: Document, folder: Path) -> list[Path]:
    """Draw what a result holds, each figure as PNG and SVG.

    ``accuracy-latency``, ``accuracy-size`` and ``latency``; a figure that the
    result has nothing for is left out.

    Args:
        document: a result of the benchmark.
        folder: where the files go; it is made if it is not there.

    Returns:
        The files that were written.

    Raises:
        MissingExtraError: the extra ``[plot]`` is not installed.
        DataError: the result has nothing to draw.
        OSError: a file cannot be written.
    """
    extras.require("plot", "plotting", ("matplotlib",))
    import matplotlib

    # The model that is measured comes first, so that its row names a file that several share.
    variants = sorted(document["variants"], key=lambda variant: variant["name"] != document["reference"])
    points = [point for point in map(_point, variants) if point is not None]
    drawers: dict[str, Callable[[Sequence[Point], Document], Figure | None]] = {
        "accuracy-latency": accuracy_against_latency,
        "accuracy-size": accuracy_against_size,
        "latency": latency_distributions,
    }
    written = []
    with matplotlib.rc_context(RC):
        for name, draw in drawers.items():
            if (figure := draw(points, document)) is not None:
                written += _save(figure, folder / name)
    if not written:
        raise DataError("nothing to draw: the result holds no variant with latency, or with accuracy and a file")
    return written


def _point(variant: dict[str, Any]) -> Point | None:
    """Return what is drawn of a variant; None for one that failed before anything was measured."""
    single, accuracy = variant.get("single_stream"), variant.get("accuracy")
    if not single and not accuracy:
        return None
    name = str(variant["name"])
    device = "" if variant["device"] == "CPU" else f", {variant['device']}"
    return Point(
        label=VERSION.sub("", f"{variant['title']}{device}"),
        precision=_precision(name, variant["title"]),
        family=next((family for family in ("keras", "onnx") if name.startswith(family)), "tflite"),
        top1=accuracy["top1"] * 100 if accuracy else None,
        size=variant.get("file_bytes"),
        samples=np.array(single["samples_us"] if single else [], np.float64),
    )


def _precision(name: str, title: str) -> str:
    words = f"{name} {title}"
    if "int8" in words:
        return "int8"
    return "reduced" if "float16" in words or "dynamic" in words or "mixed" in words else "float32"


def accuracy_against_latency(points: Sequence[Point], document: Document) -> Figure | None:
    """Draw accuracy against the median time of one image."""
    shown = [point for point in points if point.top1 is not None and len(point.samples)]
    if not shown:
        return None
    axes = _axes("Accuracy against latency", shown, document)
    axes.set_xlabel("time of one image, median")
    _scatter(axes, shown, [point.percentile(50) for point in shown], TIMES)
    return _figure_of(axes)


def accuracy_against_size(points: Sequence[Point], document: Document) -> Figure | None:
    """Draw accuracy against the size of the file, for variants that have one; a file is drawn once."""
    shown: list[Point] = []
    for point in points:
        known = [(other.size, other.top1) for other in shown]
        if point.top1 is not None and point.size is not None and (point.size, point.top1) not in known:
            shown.append(point)
    if not shown:
        return None
    axes = _axes("Accuracy against size", shown, document)
    axes.set_xlabel("size of the model file")
    _scatter(axes, shown, [(point.size or 0) / 1000 for point in shown], SIZES)
    return _figure_of(axes)


def latency_distributions(points: Sequence[Point], document: Document) -> Figure | None:
    """Draw how the times of each variant spread, the quickest on top: a density with p50, p90 and p99."""
    shown = sorted((point for point in points if len(point.samples)), key=lambda point: point.percentile(50))
    if not shown:
        return None
    axes = _axes("How latency spreads", shown, document, rows=len(shown))
    for row, point in enumerate(shown):
        _ridge(axes, point, row)
    axes.set_yticks(range(len(shown)), [textwrap.fill(point.label, LABEL_WIDTH) for point in shown])
    axes.set_ylim(len(shown) - 0.7, -1.0)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("time of one image: how often it was measured, with p50 (dot), p90 and p99 (strokes)")
    # Room for the figures on the left; a few outliers do not squeeze the rest.
    low, high = min(point.percentile(0.5) for point in shown), 1.4 * max(point.percentile(99) for point in shown)
    _scale(axes, low / 1.1 / (high / low) ** 0.12, high, TIMES)
    return _figure_of(axes)


def _ridge(axes: Axes, point: Point, row: int) -> None:
    """Draw one distribution standing on the line ``row``."""
    p50, p90, p99 = (point.percentile(share) for share in (50, 90, 99))
    logarithms = np.log10(point.samples)
    low, high = np.log10(point.percentile(0.5)), np.log10(p99)
    margin = 0.02 + 0.2 * (np.log10(p50) - low)
    edges = np.linspace(low - margin, high + margin, BINS + 1)
    density = np.convolve(np.histogram(logarithms, edges)[0], _kernel(), mode="same")
    centres, heights = 10 ** ((edges[1:] + edges[:-1]) / 2), row - 0.78 * density / density.max()
    colour = COLOURS[point.precision]
    axes.fill_between(centres, row, heights, color=colour, alpha=0.3, linewidth=0)
    axes.plot(centres, heights, color=colour, linewidth=1.2)
    axes.plot([p50, p99], [row, row], color=colour, linewidth=1.2)
    axes.plot([p90, p99], [row, row], "|", color=colour, markersize=9, markeredgewidth=1.6)
    axes.plot([p50], [row], "o", color=colour, markersize=6.5, markeredgecolor="white")
    place = (centres[0], row)
    axes.annotate(_in_units(p50, TIMES), place, (-4, 1), textcoords="offset points", ha="right", va="baseline")


def _kernel() -> np.ndarray:
    """Return weights that smooth a histogram."""
    weights = np.exp(-0.5 * np.linspace(-2.5, 2.5, 9) ** 2)
    normalized: np.ndarray = weights / weights.sum()
    return normalized


def _axes(title: str, points: Sequence[Point], document: Document, rows: int = 0) -> Axes:
    """Return the axes of a new figure with title, legend and footer; it is as high as its rows need."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    footer = _footer(document)
    left, bottom = (2.6 if rows else 0.85), 0.75 + LINE * len(footer)
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
    figure.text(0.2 / WIDTH, 0.1 / height, "\n".join(footer), va="bottom", fontsize=7.5, color=QUIET)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=GRID, linewidth=0.8)
    _legend(figure, points, (1 - RIGHT / WIDTH, 1 - 0.15 / height))
    return axes


def _figure_of(axes: Axes) -> Figure:
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


def _footer(document: Document) -> list[str]:
    """Return what a reader must know to trust the figure: date, commit, reasons for doubt."""
    commit = f", commit {document['commit'][:7]}" if document.get("commit") else ""
    lines = [f"edge-fmnist bench, {document['created'][:10]}{commit}"]
    if not document["complete"]:
        lines.append("Incomplete: the run was interrupted.")
    lines += [f"In doubt: {mark}" for mark in document["marks"]]
    return [part for line in lines for part in textwrap.wrap(line, 150)]


def _scatter(axes: Axes, points: Sequence[Point], values: Sequence[float], units: Units) -> None:
    """Draw points with their labels: values on a logarithmic axis, accuracies beside them."""
    heights = [point.top1 or 0.0 for point in points]
    centre, span = (min(heights) + max(heights)) / 2, max(LEAST_SPAN, 1.6 * (max(heights) - min(heights)))
    axes.set_ylim(max(0.0, centre - span / 2), min(100.0, centre + span / 2))
    axes.set_ylabel("top-1 accuracy on the test images, %")
    _scale(axes, min(values) / 1.7, max(values) * 1.7, units)
    for point, value, height in zip(points, values, heights, strict=True):
        axes.plot(
            value,
            height,
            MARKERS[point.family],
            color=COLOURS[point.precision],
            markersize=9,
            markeredgecolor="white",
            markeredgewidth=1.2,
        )
    _name(axes, points, list(zip(values, heights, strict=True)))


def _name(axes: Axes, points: Sequence[Point], places: Sequence[tuple[float, float]]) -> None:
    """Write each point's label where it hides nothing, with a thin line from it to the point."""
    # Markers are about this many pixels wide.
    radius = 7 * DPI / 72
    marks = [axes.transData.transform(place) for place in places]
    taken = [_box(x - radius, y - radius, x + radius, y + radius) for x, y in marks]
    for index in sorted(range(len(points)), key=lambda position: places[position][0]):
        for offset in _offsets():
            text = _label(axes, points[index].label, places[index], offset)
            box = text.get_window_extent().padded(3)
            inside = all(axes.bbox.contains(x, y) for x, y in ((box.x0, box.y0), (box.x1, box.y1)))
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                _line(axes, places[index], offset)
                break
            text.remove()
        else:
            # No free place: better over another label than missing.
            _label(axes, points[index].label, places[index], (0, 14))


def _box(left: float, bottom: float, right: float, top: float) -> Any:
    from matplotlib.transforms import Bbox

    return Bbox.from_extents(left, bottom, right, top)


def _offsets() -> list[tuple[int, int]]:
    """Return places around a point for its label, in points, the nearest first."""
    places = [(across, up) for across in range(-96, 97, 24) for up in (*range(-140, -13, 14), *range(14, 141, 14))]
    return sorted(places, key=lambda place: (place[0] ** 2 + place[1] ** 2, place))


def _label(axes: Axes, label: str, place: tuple[float, float], offset: tuple[int, int]) -> Any:
    return axes.annotate(
        textwrap.fill(label, LABEL_WIDTH),
        place,
        offset,
        textcoords="offset points",
        ha="center",
        va="bottom" if offset[1] > 0 else "top",
        fontsize=9,
        zorder=4,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )


def _line(axes: Axes, place: tuple[float, float], offset: tuple[int, int]) -> None:
    """Draw a line from a point to its label, below all labels."""
    line = {"arrowstyle": "-", "color": QUIET, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
    axes.annotate("", place, offset, textcoords="offset points", zorder=1.5, arrowprops=line)


def _scale(axes: Axes, low: float, high: float, units: Units) -> None:
    """Make the x axis logarithmic from ``low`` to ``high``, with plain numbers and units at its ticks."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.set_xlim(low, high)
    # Few enough not to run into each other.
    subs = (1.0, 2.0, 5.0) if high / low < 2000 else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=30))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _in_units(value, units)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _in_units(value: float, units: Units) -> str:
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


def _save(figure: Figure, stem: Path) -> list[Path]:
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_name(stem.name + suffix) for suffix in SUFFIXES]
    for path in paths:
        # Without a date, so that the same result gives the same bytes.
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {"Software": None})
    return paths
