"""Draw a result: accuracy against latency, accuracy against size, and how latency spreads (extra ``[plot]``)."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_fmnist import extras
from edge_fmnist.errors import DataError
from edge_fmnist_bench.document import Document
from edge_fmnist_bench.plot_canvas import (
    COLOURS,
    INK,
    RC,
    SIZES,
    TIMES,
    Units,
    figure_of,
    in_units,
    make_axes,
    save,
    scale,
)
from edge_fmnist_bench.plot_labels import LABEL_WIDTH, name_points
from edge_fmnist_bench.plot_points import Point, points_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = {"tflite": "o", "keras": "s", "onnx": "D"}
# Differences of accuracy below a point are within chance on 10,000 images; the axis must not blow them up.
LEAST_SPAN = 2.0
BINS = 140


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

    points = points_of(document)
    drawers: dict[str, Callable[[Sequence[Point], Document], Figure | None]] = {
        "accuracy-latency": accuracy_against_latency,
        "accuracy-size": accuracy_against_size,
        "latency": latency_distributions,
    }
    written = []
    with matplotlib.rc_context(RC):
        for name, draw in drawers.items():
            if (figure := draw(points, document)) is not None:
                written += save(figure, folder / name)
    if not written:
        raise DataError("nothing to draw: the result holds no variant with latency, or with accuracy and a file")
    return written


def accuracy_against_latency(points: Sequence[Point], document: Document) -> Figure | None:
    """Draw accuracy against the median time of one image."""
    shown = [point for point in points if point.top1 is not None and len(point.samples)]
    if not shown:
        return None
    axes = make_axes("Accuracy against latency", shown, document)
    axes.set_xlabel("time of one image, median")
    _scatter(axes, shown, [point.percentile(50) for point in shown], TIMES)
    return figure_of(axes)


def accuracy_against_size(points: Sequence[Point], document: Document) -> Figure | None:
    """Draw accuracy against the size of the file, for variants that have one; a file is drawn once."""
    shown: list[Point] = []
    for point in points:
        known = [(other.size, other.top1) for other in shown]
        if point.top1 is not None and point.size is not None and (point.size, point.top1) not in known:
            shown.append(point)
    if not shown:
        return None
    axes = make_axes("Accuracy against size", shown, document)
    axes.set_xlabel("size of the model file")
    _scatter(axes, shown, [(point.size or 0) / 1000 for point in shown], SIZES)
    return figure_of(axes)


def latency_distributions(points: Sequence[Point], document: Document) -> Figure | None:
    """Draw how the times of each variant spread, the quickest on top: a density with p50, p90 and p99."""
    shown = sorted((point for point in points if len(point.samples)), key=lambda point: point.percentile(50))
    if not shown:
        return None
    axes = make_axes("How latency spreads", shown, document, rows=len(shown))
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
    scale(axes, low / 1.1 / (high / low) ** 0.12, high, TIMES)
    return figure_of(axes)


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
    axes.annotate(in_units(p50, TIMES), place, (-4, 1), textcoords="offset points", ha="right", va="baseline")


def _kernel() -> np.ndarray:
    """Return weights that smooth a histogram."""
    weights = np.exp(-0.5 * np.linspace(-2.5, 2.5, 9) ** 2)
    normalized: np.ndarray = weights / weights.sum()
    return normalized


def _scatter(axes: Axes, points: Sequence[Point], values: Sequence[float], units: Units) -> None:
    """Draw points with their labels: values on a logarithmic axis, accuracies beside them."""
    heights = [point.top1 or 0.0 for point in points]
    centre, span = (min(heights) + max(heights)) / 2, max(LEAST_SPAN, 1.6 * (max(heights) - min(heights)))
    axes.set_ylim(max(0.0, centre - span / 2), min(100.0, centre + span / 2))
    axes.set_ylabel("top-1 accuracy on the test images, %")
    scale(axes, min(values) / 1.7, max(values) * 1.7, units)
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
    name_points(axes, points, list(zip(values, heights, strict=True)))
