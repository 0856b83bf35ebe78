"""Draw an explanation: over the image, and over the photograph where there is one."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edge_fmnist import extras
from edge_fmnist.vision.preprocess import shrunk
from edge_fmnist_export.report.explain.base import Explanation
from edge_fmnist_export.report.explain.pictures import Subject
from edge_fmnist_export.report.explain.placement import onto_photograph

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure

# Against the class and for it, told apart without colour vision as well, on grey of any brightness.
AGAINST, FOR = (0.10, 0.45, 0.95), (1.00, 0.35, 0.05)
# How much of the picture the strongest colour covers.
OPACITY = 0.85
# What shows through a weak colour in the scale, half way from black to white.
MIDDLE = "0.45"
# Inches: an edge of a panel, what stands beside the panels and what above them.
PANEL, SCALE, TITLE = 3.0, 1.15, 0.75
DPI = 110
LONGEST = 640
INK, QUIET = "#1f2933", "#66727f"


def draw(subject: Subject, explanation: Explanation, title: str, note: str) -> bytes:
    """Draw a picture and its explanation beside it, as PNG.

    Args:
        subject: what was explained.
        explanation: how much each pixel counts.
        title: stands above, large.
        note: stands below the title, small.

    Returns:
        The bytes of the file; the same arguments give the same bytes.

    Raises:
        MissingExtraError: the extra ``[report]`` is not installed.
    """
    extras.require("report", "drawing an explanation", ("matplotlib",))
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = 2 if subject.photograph is None else 3
    width, height = panels * PANEL + SCALE, PANEL + TITLE
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    boxes = [
        ((index * PANEL + 0.1) / width, 0.1 / height, (PANEL - 0.2) / width, (PANEL - 0.2) / height)
        for index in range(panels)
    ]
    axes = [figure.add_axes(box) for box in boxes]
    figure.text(0.1 / width, 1 - 0.12 / height, title, va="top", fontsize=13, fontweight="bold", color=INK)
    figure.text(0.1 / width, 1 - 0.44 / height, note, va="top", fontsize=8.5, color=QUIET)
    _fill(axes, subject, explanation)
    _scale(figure, explanation, ((panels * PANEL + 0.1) / width, 0.25 / height, 0.16 / width, (PANEL - 0.5) / height))
    stream = io.BytesIO()
    # Without the version of what drew it, so that the same explanation gives the same bytes.
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def overlay(axes: Axes, picture: np.ndarray, values: np.ndarray, explanation: Explanation) -> None:
    """Fill axes with a picture and the values over it.

    Args:
        axes: of a matplotlib figure.
        picture: uint8, shape (H, W) grey or (H, W, 3) RGB.
        values: float, shape (H, W).
        explanation: where they come from; sets the scale of the colours.
    """
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    norm, colours = _colours(explanation)
    axes.imshow(values, cmap=colours, norm=norm, interpolation="nearest")
    axes.set_axis_off()


def _fill(axes: list[Axes], subject: Subject, explanation: Explanation) -> None:
    nothing = np.zeros((1, 1))
    if subject.photograph is not None and subject.garment is not None:
        photograph = cv2.cvtColor(shrunk(subject.photograph, LONGEST), cv2.COLOR_BGR2RGB)
        mapped = onto_photograph(explanation.values, subject.garment, photograph.shape[:2])
        axes[0].imshow(photograph)
        axes[0].set_axis_off()
        overlay(axes[1], subject.image, explanation.values, explanation)
        overlay(axes[2], photograph, mapped, explanation)
    else:
        overlay(axes[0], subject.image, np.broadcast_to(nothing, subject.image.shape), explanation)
        overlay(axes[1], subject.image, explanation.values, explanation)


def _colours(explanation: Explanation) -> tuple[Normalize, Colormap]:
    """Return the scale from values to colours: nothing at 0, more opaque the stronger."""
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    # Not 0, which no scale can be made of.
    most = max(float(np.abs(explanation.values).max()), 1e-9)
    ends: list[Any] = [(*FOR, 0.0), (*FOR, OPACITY)]
    if explanation.signed:
        ends = [(*AGAINST, OPACITY), (*AGAINST, 0.0), *ends]
        places = [0.0, 0.5, 0.5, 1.0]
    else:
        places = [0.0, 1.0]
    colours = LinearSegmentedColormap.from_list("explanation", list(zip(places, ends, strict=True)))
    return Normalize(-most if explanation.signed else 0.0, most), colours


def _scale(figure: Figure, explanation: Explanation, box: tuple[float, float, float, float]) -> None:
    from matplotlib.cm import ScalarMappable

    norm, colours = _colours(explanation)
    axes = figure.add_axes(box, facecolor=MIDDLE)
    bar = figure.colorbar(ScalarMappable(norm, colours), cax=axes)
    bar.ax.tick_params(labelsize=7.5, labelcolor=QUIET, color=QUIET)
    bar.outline.set_visible(False)
    if explanation.signed:
        axes.set_title("for", fontsize=8, color=QUIET)
        axes.set_xlabel("against", fontsize=8, color=QUIET)
