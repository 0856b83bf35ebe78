"""Draw an explanation over its image, and over the photograph if there is one."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edge_fmnist.vision.resize import shrunk
from edge_fmnist_export.report.explain.base import Explanation
from edge_fmnist_export.report.explain.explain_input import ExplainInput
from edge_fmnist_export.report.explain.placement import onto_photograph
from edge_fmnist_export.report.figures import INK, QUIET, as_png, drawing, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# RGB for oppose and support; distinguishable with colour blindness, visible on any grey.
AGAINST, FOR = (0.10, 0.45, 0.95), (1.00, 0.35, 0.05)
# Opacity of the strongest value.
OPACITY = 0.85
# Background of the colour bar.
MIDDLE = "0.45"
# Inches.
PANEL, TITLE = 3.0, 0.75
DPI = 110
LONGEST_EDGE = 640
# Of a title, in characters.
LEAST_COLUMNS = 10


def draw(source: ExplainInput, explanation: Explanation, title: str, note: str) -> bytes:
    """Draw a picture and its explanation side by side.

    Returns:
        A PNG file; the same arguments give the same bytes.
    """
    # Dollar signs in labels do not mark formulas.
    with drawing({"text.parse_math": False}):
        return as_png(_figure(source, explanation, title, note), DPI)


def _figure(source: ExplainInput, explanation: Explanation, title: str, note: str) -> Figure:
    photograph = source.photograph
    panels = 2 if photograph is None else 3
    figure = new_figure(PANEL + TITLE, width=panels * PANEL + 1)
    figure.set_facecolor("white")
    heading = figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK)
    for columns in range(len(title), LEAST_COLUMNS, -1):
        if heading.get_window_extent().width < 0.98 * figure.bbox.width:
            break
        heading.set_text(textwrap.fill(title, columns - 1))
    axes = figure.subplots(1, panels)
    axes[0].set_title(note, loc="left", fontsize=8.5, color=QUIET)
    if photograph is None or source.garment is None:
        axes[0].imshow(source.image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    else:
        shown = cv2.cvtColor(shrunk(photograph, LONGEST_EDGE), cv2.COLOR_BGR2RGB)
        axes[0].imshow(shown)
        mapped = onto_photograph(explanation.values, source.garment, shown.shape[:2])
        overlay(axes[2], shown, mapped, explanation)
    axes[0].set_axis_off()
    bar = figure.colorbar(overlay(axes[1], source.image, explanation.values, explanation), ax=axes, shrink=0.8)
    bar.ax.set_facecolor(MIDDLE)
    bar.ax.tick_params(labelsize=7.5, labelcolor=QUIET, color=QUIET)
    if explanation.signed:
        bar.ax.set_title("for", fontsize=8, color=QUIET)
        bar.ax.set_xlabel("against", fontsize=8, color=QUIET)
    return figure


def overlay(axes: Axes, picture: np.ndarray, values: np.ndarray, explanation: Explanation) -> Any:
    """Show a picture, uint8 grey or RGB, with values on top: transparent at 0, more opaque for larger values.

    Returns:
        The matplotlib image of the values, for a colour bar.
    """
    from matplotlib.colors import LinearSegmentedColormap

    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_axis_off()
    # Not 0, which gives an empty scale.
    most = max(float(np.abs(explanation.values).max()), 1e-9)
    stops: list[Any] = [(0.0, (*FOR, 0.0)), (1.0, (*FOR, OPACITY))]
    if explanation.signed:
        stops = [(0.0, (*AGAINST, OPACITY)), (0.5, (*AGAINST, 0.0)), (0.5, (*FOR, 0.0)), (1.0, (*FOR, OPACITY))]
    colours = LinearSegmentedColormap.from_list("explanation", stops)
    least = -most if explanation.signed else 0.0
    return axes.imshow(values, cmap=colours, vmin=least, vmax=most, interpolation="nearest")
