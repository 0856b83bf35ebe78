"""Draw a result: accuracy against latency, accuracy against size, distribution of latency (extra ``[plot]``)."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_fmnist import extras
from edge_fmnist.errors import DataError, UsageError
from edge_fmnist_bench.document import Document
from edge_fmnist_export.report.figures import BLUE, INK, QUIET, RED, drawing
from edge_fmnist_export.report.figures import RC as STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches: the width of a figure, the height of its axes, the height of a row, and the space around the axes.
WIDTH, HEIGHT, ROW = 9.6, 3.9, 0.56
TOP, RIGHT, LINE = 0.95, 0.25, 0.17
LABEL_WIDTH = 26
# Distinguishable with colour blindness.
COLOURS = {"int8": RED, "reduced": "#c98a1b", "float32": BLUE}
NAMES = {"int8": "int8", "reduced": "float16, or int8 weights alone", "float32": "float32"}
MARKERS = {"tflite": "o", "keras": "s", "onnx": "D"}
DRAWN = ("accuracy-latency", "accuracy-size", "latency")
# Metadata of the files, by which they are told from those of others; without the date, so that they are reproducible.
MARK = "edge-fmnist bench"
METADATA: dict[str, dict[str, str | None]] = {".png": {"Software": MARK}, ".svg": {"Creator": MARK, "Date": None}}
# The metadata comes first.
MARKED_BYTES = 4096
Units = Sequence[tuple[float, str]]
# Units of microseconds and of kilobytes.
TIMES: Units = ((1, "µs"), (1e3, "ms"), (1e6, "s"))
SIZES: Units = ((1, "kB"), (1e3, "MB"))
# Differences below a percentage point are noise on 10,000 images; the axis must not magnify them.
MIN_SPAN = 2.0
BINS = 140
VERSION = re.compile(r" \d+(\.\d+)+[^\s,]*")
RC = {**STYLE, "xtick.labelcolor": QUIET, "ytick.labelcolor": QUIET, "figure.dpi": 160}


@dataclass(frozen=True, eq=False)
class VariantPoint:
    """A variant as drawn.

    Attributes:
        label: its title without versions.
        precision: key of ``COLOURS``.
        family: key of ``MARKERS``.
        top1: accuracy in percent; None if not measured.
        size: file size in bytes; None for a model in memory.
        samples: times of single inferences in microseconds, float64; may be empty.
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


def points_of(document: Document) -> list[VariantPoint]:
    """Return the points of a result, the measured model first; failed variants are left out."""
    variants = sorted(document["variants"], key=lambda variant: bool(variant["name"] != document["reference"]))
    return [_point(variant) for variant in variants if variant.get("single_stream") or variant.get("accuracy")]


def _point(variant: dict[str, Any]) -> VariantPoint:
    single, accuracy = variant.get("single_stream"), variant.get("accuracy")
    name, device = str(variant["name"]), "" if variant["device"] == "CPU" else f", {variant['device']}"
    words = f"{name} {variant['title']}"
    reduced = any(word in words for word in ("float16", "dynamic", "mixed"))
    return VariantPoint(
        label=VERSION.sub("", f"{variant['title']}{device}"),
        precision="int8" if "int8" in words else "reduced" if reduced else "float32",
        family=next((family for family in ("keras", "onnx") if name.startswith(family)), "tflite"),
        top1=accuracy["top1"] * 100 if accuracy else None,
        size=variant.get("file_bytes"),
        samples=np.array(single["samples_us"] if single else [], np.float64),
    )


def check_replaceable(folder: Path) -> None:
    """Check that the files of :func:`plot` replace none but earlier ones.

    Raises:
        UsageError: a file of somebody else has one of the names.
        OSError: a file cannot be read.
    """
    for path in (folder / f"{name}{suffix}" for name in DRAWN for suffix in METADATA):
        if not path.is_file():
            continue
        with path.open("rb") as file:
            if MARK.encode() not in file.read(MARKED_BYTES):
                raise UsageError(
                    f"{path}: is not a plot of this version of `edge-fmnist bench`; choose another folder",
                    setting="--plot",
                )


def plot(document: Document, folder: Path) -> list[Path]:
    """Draw a result, each figure as PNG and SVG, into a folder, which is created if needed, and return the files.

    The figures are ``accuracy-latency``, ``accuracy-size`` and ``latency``; one without data is left out.

    Raises:
        MissingExtraError: the extra ``[plot]`` is not installed.
        DataError: the result has nothing to draw.
        OSError: a file cannot be written.
    """
    extras.require("plot", "plotting")
    points = points_of(document)
    drawers: Sequence[Callable[[Sequence[VariantPoint], Document], Figure | None]] = (
        accuracy_against_latency,
        accuracy_against_size,
        latency_distributions,
    )
    written = []
    with drawing(RC):
        for name, draw in zip(DRAWN, drawers, strict=True):
            if (figure := draw(points, document)) is not None:
                folder.mkdir(parents=True, exist_ok=True)
                for suffix, metadata in METADATA.items():
                    figure.savefig(folder / f"{name}{suffix}", metadata=metadata)
                    written.append(folder / f"{name}{suffix}")
    if not written:
        raise DataError("nothing to draw: the result has no variant with latency, or with accuracy and a file")
    return written


def accuracy_against_latency(points: Sequence[VariantPoint], document: Document) -> Figure | None:
    """Draw accuracy against the median time of one image; None without data."""
    shown = [point for point in points if point.top1 is not None and len(point.samples)]
    values = [point.percentile(50) for point in shown]
    return _scatter("Accuracy against latency", "time of one image, median", shown, values, TIMES, document)


def accuracy_against_size(points: Sequence[VariantPoint], document: Document) -> Figure | None:
    """Draw accuracy against file size, for variants with a file; a file is drawn once. None without data."""
    files = {(point.size, point.top1): point for point in reversed(points) if point.top1 is not None and point.size}
    shown = list(reversed(files.values()))
    values = [(point.size or 0) / 1000 for point in shown]
    return _scatter("Accuracy against size", "size of the model file", shown, values, SIZES, document)


def _scatter(
    title: str, label: str, points: Sequence[VariantPoint], values: Sequence[float], units: Units, document: Document
) -> Figure | None:
    """Draw labelled points: values on a logarithmic x axis, accuracy on the y axis."""
    if not points:
        return None
    from adjustText import adjust_text

    figure, axes = _figure(title, points, document)
    heights = [point.top1 or 0.0 for point in points]
    centre, span = (min(heights) + max(heights)) / 2, max(MIN_SPAN, 1.6 * (max(heights) - min(heights)))
    axes.set_ylim(max(0.0, centre - span / 2), min(100.0, centre + span / 2))
    axes.set_xlabel(label)
    axes.set_ylabel("top-1 accuracy on the test images, %")
    _scale(axes, min(values) / 1.7, max(values) * 1.7, units)
    for point, value, height in zip(points, values, heights, strict=True):
        style: dict[str, Any] = {"markersize": 9, "markeredgecolor": "white", "markeredgewidth": 1.2}
        axes.plot(value, height, MARKERS[point.family], color=COLOURS[point.precision], **style)
    texts = [
        axes.text(value, height, textwrap.fill(point.label, LABEL_WIDTH), fontsize=9, ha="center")
        for point, value, height in zip(points, values, heights, strict=True)
    ]
    # The placement starts with random steps; a limit of iterations, not of time, keeps it reproducible.
    state = np.random.get_state()
    np.random.seed(0)
    line = {"arrowstyle": "-", "color": QUIET, "lw": 0.6}
    spacing: dict[str, Any] = {"expand": (1.15, 1.7), "force_text": (0.2, 0.5)}
    adjust_text(texts, list(values), heights, ax=axes, iter_lim=300, arrowprops=line, **spacing)
    np.random.set_state(state)
    return figure


def latency_distributions(points: Sequence[VariantPoint], document: Document) -> Figure | None:
    """Draw the distribution of each variant's times, fastest on top, with p50, p90 and p99; None without data."""
    shown = sorted((point for point in points if len(point.samples)), key=lambda point: point.percentile(50))
    if not shown:
        return None
    figure, axes = _figure("Distribution of latency", shown, document, rows=len(shown))
    for row, point in enumerate(shown):
        _ridge(axes, point, row)
    axes.set_yticks(range(len(shown)), [textwrap.fill(point.label, LABEL_WIDTH) for point in shown])
    axes.set_ylim(len(shown) - 0.7, -1.0)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("time of one image: density, p50 (dot), p90 and p99 (strokes)")
    # Space for the figures on the left; a few outliers do not compress the rest.
    low, high = min(point.percentile(0.5) for point in shown), 1.4 * max(point.percentile(99) for point in shown)
    _scale(axes, low / 1.1 / (high / low) ** 0.12, high, TIMES)
    return figure


def _ridge(axes: Axes, point: VariantPoint, row: int) -> None:
    """Draw one distribution standing on the line ``row``."""
    p50, p90, p99 = (point.percentile(share) for share in (50, 90, 99))
    low, high = np.log10(point.percentile(0.5)), np.log10(p99)
    margin = 0.02 + 0.2 * (np.log10(p50) - low)
    edges = np.linspace(low - margin, high + margin, BINS + 1)
    kernel = np.exp(-0.5 * np.linspace(-2.5, 2.5, 9) ** 2)
    density = np.convolve(np.histogram(np.log10(point.samples), edges)[0], kernel, mode="same")
    centres, heights = 10 ** ((edges[1:] + edges[:-1]) / 2), row - 0.78 * density / density.max()
    colour = COLOURS[point.precision]
    axes.fill_between(centres, row, heights, color=colour, alpha=0.3, linewidth=0)
    axes.plot(centres, heights, color=colour, linewidth=1.2)
    axes.plot([p50, p99], [row, row], color=colour, linewidth=1.2)
    axes.plot([p90, p99], [row, row], "|", color=colour, markersize=9, markeredgewidth=1.6)
    axes.plot([p50], [row], "o", color=colour, markersize=6.5, markeredgecolor="white")
    place = (centres[0], row)
    axes.annotate(_in_units(p50, TIMES), place, (-4, 1), textcoords="offset points", ha="right", va="baseline")


def _figure(title: str, points: Sequence[VariantPoint], document: Document, rows: int = 0) -> tuple[Figure, Axes]:
    """Return a figure with title, legend and footer, as high as its rows need, and its axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    below = footer(document)
    left, bottom = (2.6 if rows else 0.85), 0.75 + LINE * len(below)
    inside = max(HEIGHT, ROW * (rows + 0.5))
    height = bottom + inside + TOP
    figure = Figure(figsize=(WIDTH, height))
    # Without pyplot, which would choose a window system; labels are placed by the measurements of this canvas.
    FigureCanvasAgg(figure)
    box = (left / WIDTH, bottom / height, (WIDTH - left - RIGHT) / WIDTH, inside / height)
    axes = figure.add_axes(box, axisbelow=True)
    machine, model = document["machine"], document["model"]
    threads = document["protocol"]["single_stream"]["threads"]
    place = machine.get("board") or machine.get("cpu") or "unknown machine"
    where = f"{model['name']} · {place} · batch 1, {threads} thread{'s' if threads > 1 else ''}"
    figure.text(0.2 / WIDTH, 1 - 0.2 / height, title, va="top", fontsize=16, fontweight="bold")
    figure.text(0.2 / WIDTH, 1 - 0.55 / height, where, va="top", fontsize=9.5, color=QUIET)
    figure.text(0.2 / WIDTH, 0.1 / height, "\n".join(below), va="bottom", fontsize=7.5, color=QUIET)
    axes.grid()
    present = [key for key in COLOURS if any(point.precision == key for point in points)]
    style: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 7}
    handles = [Line2D([], [], color=COLOURS[key], label=NAMES[key], **style) for key in present]
    corner = (1 - RIGHT / WIDTH, 1 - 0.15 / height)
    figure.legend(
        handles=handles, loc="upper right", bbox_to_anchor=corner, ncols=len(handles), frameon=False, fontsize=9
    )
    return figure, axes


def footer(document: Document) -> list[str]:
    """Return the lines below a figure: date, commit, failed validity checks."""
    commit = f", commit {document['commit'][:7]}" if document.get("commit") else ""
    lines = [f"edge-fmnist bench, {document['created'][:10]}{commit}"]
    if not document["complete"]:
        lines.append("Incomplete: the run was interrupted.")
    lines += [f"Warning: {mark}" for mark in document["marks"]]
    return [part for line in lines for part in textwrap.wrap(line, 150)]


def _scale(axes: Axes, low: float, high: float, units: Units) -> None:
    """Make the x axis logarithmic from ``low`` to ``high``, with plain numbers and units at its ticks."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.set_xlim(low, high)
    # Few enough not to overlap.
    subs = (1.0, 2.0, 5.0) if high / low < 2000 else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=30))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _in_units(value, units)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _in_units(value: float, units: Units) -> str:
    """Return a value with three digits, in the largest unit that does not exceed it."""
    size, name = next((unit for unit in reversed(units) if value >= unit[0]), units[0])
    return f"{value / size:.3g} {name}"
