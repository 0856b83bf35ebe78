"""The figures of a baseline: the confusion matrix, and the importance of each pixel."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from edge_fmnist_export.report.figures import BLUE, RC, RED, heat_map, new_figure
from edge_fmnist_export.report.metrics import Metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 200
# Inches.
IMPORTANCE_HEIGHT = 4.2
# Keeps the scale from being empty where nothing counts.
LEAST_IMPORTANCE = 1e-6


def draw_confusion(metrics: Metrics) -> bytes:
    """Return a PNG of the confusion matrix: counts, coloured by their share of the true class; mistakes are red."""
    from matplotlib import rc_context

    confusion = metrics.confusion
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    colours = np.where(np.eye(len(confusion), dtype=bool), BLUE, RED)
    texts = [[str(count) if count else "" for count in row] for row in confusion.tolist()]
    with rc_context(RC):
        return _png(heat_map(shares, texts, metrics.labels, colours))


def draw_importance(importance: np.ndarray, title: str) -> bytes:
    """Return a PNG of how much each pixel counts, with its scale.

    Args:
        importance: shape (28, 28).
        title: what it measures.
    """
    from matplotlib import rc_context

    with rc_context(RC):
        figure = new_figure(IMPORTANCE_HEIGHT)
        axes = figure.add_subplot()
        # Below 0 is chance, so the scale starts at 0: black is what does not count.
        highest = max(float(importance.max()), LEAST_IMPORTANCE)
        shown = axes.imshow(importance, cmap="inferno", vmin=0, vmax=highest, interpolation="nearest")
        axes.set_title(title, wrap=True)
        axes.set_axis_off()
        figure.colorbar(shown, ax=axes, shrink=0.8)
        return _png(figure)


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    # Without the name and version of the library, so that the same figure gives the same bytes.
    figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    return stream.getvalue()
