"""How the report draws: fonts, colours, heat maps, tiles of images, and SVG that follows the reader's dark or light.

A figure is 4.8 inches wide with text of 8 points or more, so that it reads on
a phone, which shows it at about that size.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_fmnist.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches.
WIDTH, CAPTION_LINE, MARGIN = 4.8, 0.135, 0.06
TINY, SMALL, NORMAL = 8, 9, 10
# Characters of a label; the longest of Fashion-MNIST has 11.
LONGEST_LABEL = 14
PAPER, INK, QUIET, GRID = "#ffffff", "#1f2933", "#66727f", "#e4e8ec"
BLUE, RED, AMBER, GREEN = "#2e6f9e", "#d1495b", "#b57a12", "#2f855a"
# Cells and what stands on them: the same in the dark, so that the contrast stays.
CELL_BLUE, CELL_RED, ON_CELL = "#2d6e9d", "#d0485a", "#fefefe"
# What each colour is in the dark.
DARK = {
    PAPER: "#171c22",
    INK: "#e6eaee",
    QUIET: "#9aa7b4",
    GRID: "#2c343d",
    BLUE: "#6aaee0",
    RED: "#f0788a",
    AMBER: "#e0a63c",
    GREEN: "#5fc38c",
}
RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": NORMAL,
    "axes.titlesize": NORMAL,
    "axes.labelsize": NORMAL,
    "axes.edgecolor": QUIET,
    "axes.facecolor": PAPER,
    "axes.labelcolor": INK,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": PAPER,
    "figure.edgecolor": PAPER,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "savefig.facecolor": PAPER,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    # The same figure gives the same bytes.
    "svg.hashsalt": "edge-fmnist",
}
SVG_START, PNG_START = (b"<?xml", b"<svg"), b"\x89PNG\r\n\x1a\n"


def new_figure(height: float, *, width: float = WIDTH) -> Figure:
    """Return an empty figure; not through pyplot, which would choose a window system and keep every figure.

    Args:
        height: in inches.
        width: in inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def new_axes(height: float, *, grid: str = "y") -> Axes:
    """Return the only axes of a new figure, ``height`` inches high, with grid lines along ``grid``: x, y or both."""
    axes = new_figure(height).add_subplot()
    axes.grid(axis=grid)  # type: ignore[arg-type]
    return axes


def figure_of(axes: Axes) -> Figure:
    """Return the figure that axes are in."""
    figure = axes.get_figure(root=True)
    assert figure is not None  # noqa: S101 - for the type checker: these axes were made in one
    return figure


def shortened(label: str) -> str:
    """Return the name of a class as a figure has room for it."""
    return label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…"


def heat_map(shares: np.ndarray, texts: Sequence[Sequence[str]], labels: Sequence[str], colours: np.ndarray) -> Figure:
    """Draw a matrix of classes by classes, rows true and columns predicted.

    Args:
        shares: how strongly each cell is coloured, 0 to 1, shape (classes, classes).
        texts: what stands in each cell.
        labels: the names of the classes.
        colours: the colour of each cell, shape (classes, classes).
    """
    count = len(labels)
    figure = new_figure(WIDTH)
    axes = figure.add_subplot()
    axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5), aspect="equal", ylabel="true", xlabel="predicted")
    names = [shortened(label) for label in labels]
    axes.set_xticks(range(count), names, rotation=90)
    axes.set_yticks(range(count), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for (row, column), share in np.ndenumerate(shares):
        _cell(axes, (row, column), float(share), str(colours[row, column]), texts[row][column])
    return figure


def _cell(axes: Axes, place: tuple[int, int], share: float, colour: str, text: str) -> None:
    from matplotlib.patches import Rectangle

    row, column = place
    # Transparent over the paper, so that a weak cell is dark in the dark.
    axes.add_patch(
        Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, facecolor=colour, alpha=0.05 + 0.95 * share, linewidth=0)
    )
    ink = ON_CELL if share > 0.55 else INK
    axes.text(column, row, text, ha="center", va="center", fontsize=TINY, color=ink)


def image_tiles(
    images: np.ndarray,
    captions: Sequence[str],
    *,
    columns: int,
    colours: Sequence[str] | None = None,
) -> Figure:
    """Draw images in rows, each with its caption below.

    Args:
        images: uint8, shape (N, 28, 28), N at least 1.
        captions: one for each image, with the same number of lines each.
        columns: images in a row.
        colours: the colour of each caption; None means ink.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-len(images) // columns)
    side = WIDTH / columns
    lines = captions[0].count("\n") + 1
    below = CAPTION_LINE * lines + 0.14
    height = rows * (side + below)
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left, top = index % columns * side, height - index // columns * (side + below)
        axes = figure.add_axes(
            ((left + 0.04 * side) / WIDTH, (top - side * 0.98) / height, 0.92 * side / WIDTH, 0.92 * side / height)
        )
        show_image(axes, image)
        figure.text(
            (left + side / 2) / WIDTH,
            (top - side * 0.98 - 0.05) / height,
            caption,
            ha="center",
            va="top",
            fontsize=TINY,
            color=colours[index] if colours else INK,
        )
    return figure


def show_image(axes: Axes, image: np.ndarray) -> None:
    """Show an image, shape (28, 28), 0 black and 255 white, its pixels as squares, without ticks or frame."""
    # "none" hands the 28x28 pixels on; others would write an image as large as the figure.
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="none")
    axes.set_axis_off()


def render(content: Figure | bytes) -> tuple[bytes, str]:
    """Return the bytes of a figure's file and its suffix, ``.svg`` or ``.png``.

    Raises:
        UsageError: bytes that are neither.
    """
    if not isinstance(content, bytes):
        return _svg(content), ".svg"
    if content.startswith(PNG_START):
        return content, ".png"
    if content.lstrip().startswith(SVG_START):
        return content, ".svg"
    raise UsageError(f"expected a figure, or the bytes of an SVG or PNG file; got bytes that begin {content[:8]!r}")


def _svg(figure: Figure) -> bytes:
    stream = io.BytesIO()
    # Without a date, so that the same figure gives the same bytes. Tight, so that no long label is cut off.
    figure.savefig(
        stream, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight", pad_inches=MARGIN
    )
    text = stream.getvalue().decode()
    start = text.index(">", text.index("<svg")) + 1
    return (text[:start] + _dark_style() + text[start:]).encode()


def _dark_style() -> str:
    """Return CSS that gives each colour of ours its dark twin; matplotlib writes colours as style attributes."""
    rules = "".join(
        f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}'
        for light, dark in DARK.items()
        for kind in ("fill", "stroke")
    )
    return f"\n <style>@media screen and (prefers-color-scheme: dark){{{rules}}}</style>"
