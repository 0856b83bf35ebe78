"""Drawing for the report: style, confusion matrices, image tiles, and SVG files with a dark mode.

Figures are 4.8 inches wide with text of at least 8 points, so that they are readable on a phone.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_fmnist.cli import console

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Inches.
WIDTH, MARGIN = 4.8, 0.06
PNG_DPI = 200
TINY, SMALL, NORMAL = 8, 9, 10
# Maximum characters of a class name in a figure; the longest of Fashion-MNIST has 11.
LONGEST_LABEL = 14
PAPER, INK, QUIET, GRID = "#ffffff", "#1f2933", "#66727f", "#e4e8ec"
BLUE, RED, AMBER = "#2e6f9e", "#d1495b", "#b57a12"
# Colours of the confusion matrix: the same in dark mode, to keep the contrast of the numbers.
CELL_COLOURS, CELL_INK = ("#f4f7fa", "#6aaee0"), "#101820"
# Replacement of each colour in dark mode.
DARK = {
    PAPER: "#171c22",
    INK: "#e6eaee",
    QUIET: "#9aa7b4",
    GRID: "#2c343d",
    BLUE: "#6aaee0",
    RED: "#f0788a",
    AMBER: "#e0a63c",
}
# Fonts for what DejaVu Sans does not have, as Debian's packages name them.
OTHER_FONTS = ("Noto Sans CJK JP", "Noto Sans CJK SC", "IPAexGothic", "WenQuanYi Zen Hei", "Noto Emoji")
# The beginning of matplotlib's warning.
MISSING_GLYPH = "Glyph "
NO_FONT = (
    "class names in figures have characters that cannot be drawn; for Chinese, Japanese, Korean: install fonts-noto-cjk"
)
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
    # Dollar signs in labels do not mark formulas.
    "text.parse_math": False,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    # Reproducible SVG files.
    "svg.hashsalt": "edge-fmnist",
}


@contextlib.contextmanager
def drawing(style: Mapping[str, Any] = RC) -> Iterator[None]:
    """Draw in a style inside the block, and in other fonts what the usual one does not have.

    One warning, instead of matplotlib's for each character, says that no installed font has some.
    """
    import matplotlib

    missing: list[str] = []

    def show(message: Warning | str, *rest: Any, **more: Any) -> None:
        if str(message).startswith(MISSING_GLYPH):
            missing.append(str(message))
        else:
            usual(message, *rest, **more)

    family = [RC["font.family"], *_other_fonts()]
    with warnings.catch_warnings(), matplotlib.rc_context({**style, "font.family": family}):
        warnings.filterwarnings("always", MISSING_GLYPH)
        usual, warnings.showwarning = warnings.showwarning, show
        # Says for each of them which weights it lacks.
        logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
        yield
    if missing:
        _warn_of_missing_glyphs()


@functools.cache
def _warn_of_missing_glyphs() -> None:
    """Print the warning, once for all figures of a command."""
    console.warn(NO_FONT)


def _other_fonts() -> list[str]:
    """Return those of ``OTHER_FONTS`` that are installed."""
    from matplotlib import font_manager

    fonts = font_manager.fontManager
    # matplotlib's list is made once, when it is first used, and kept in a file.
    for path in {*font_manager.findSystemFonts()} - {font.fname for font in fonts.ttflist}:
        with contextlib.suppress(Exception):
            fonts.addfont(path)
    known = {font.name for font in fonts.ttflist}
    return [name for name in OTHER_FONTS if name in known]


def new_figure(height: float, *, width: float = WIDTH) -> Figure:
    """Return an empty figure of this size in inches.

    Not by pyplot, which would choose a GUI back end and keep every figure in memory.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def new_axes(height: float, *, grid: str = "y") -> Axes:
    """Return the only axes of a new figure of this height in inches; ``grid`` is x, y or both."""
    axes = new_figure(height).add_subplot()
    axes.grid(axis=grid)  # type: ignore[arg-type]
    return axes


def figure_of(axes: Axes) -> Figure:
    """Return the figure that contains the axes."""
    figure = axes.get_figure(root=True)
    assert figure is not None  # noqa: S101 - for the type checker
    return figure


def logarithmic(axis: Axis) -> None:
    """Make an axis logarithmic, with plain numbers at its ticks: matplotlib's own are formulas."""
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    axis.axes.set(**{f"{axis.axis_name}scale": "log"})  # type: ignore[attr-defined]
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def shortened(label: str) -> str:
    """Return a class name, cut in the middle to fit a figure: names often differ at the end."""
    half = LONGEST_LABEL // 2
    return label if len(label) <= LONGEST_LABEL else f"{label[:half]}…{label[1 - half :]}"


def class_axis(axes: Axes, labels: Sequence[str]) -> None:
    """Label the y axis with class names, the first at the top."""
    axes.set_yticks(range(len(labels)), [shortened(label) for label in labels])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)


def confusion_figure(confusion: np.ndarray, labels: Sequence[str], *, values_format: str = "d") -> Figure:
    """Draw a confusion matrix, rows true, columns predicted, by scikit-learn's ``ConfusionMatrixDisplay``.

    It holds counts or shares; cells whose value is 0 stay empty.
    """
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm
    from sklearn.metrics import ConfusionMatrixDisplay

    figure = new_figure(WIDTH)
    axes = figure.add_subplot()
    display = ConfusionMatrixDisplay(confusion, display_labels=[shortened(label) for label in labels])
    display.plot(
        ax=axes,
        cmap=LinearSegmentedColormap.from_list("cells", CELL_COLOURS),
        colorbar=False,
        values_format=values_format,
        xticks_rotation="vertical",
        text_kw={"fontsize": TINY, "color": CELL_INK},
        # The square root makes rare mistakes visible beside the diagonal.
        im_kw={"norm": PowerNorm(0.5, 0, max(float(confusion.max()), 1e-9)), "interpolation": "none"},
    )
    axes.set(xlabel="predicted", ylabel="true")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for text, value in zip(display.text_.flat, confusion.flat, strict=True):
        text.set_visible(bool(value))
    return figure


def image_tiles(
    images: np.ndarray, captions: Sequence[str], *, columns: int, colours: Sequence[str] | None = None
) -> Figure:
    """Draw images, uint8 (N, 28, 28), at least one, in a grid of ``columns``, each with a caption below.

    All captions have the same number of lines; ``colours`` are theirs, by default that of text.
    """
    rows = -(-len(images) // columns)
    lines = captions[0].count("\n") + 1
    figure = new_figure(rows * (WIDTH / columns + 0.14 * lines))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for index, (axes, image, caption) in enumerate(zip(grid.flat, images, captions, strict=False)):
        show_image(axes, image)
        # A label below the axes, which the layout leaves room for; shown without ticks and frame.
        axes.set_axis_on()
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_xlabel(caption, fontsize=TINY, color=colours[index] if colours else INK)
    return figure


def show_image(axes: Axes, image: np.ndarray) -> None:
    """Show an image, uint8, shape (28, 28), 0 black and 255 white, without ticks or frame."""
    # "none" embeds the 28x28 pixels; other methods embed an image of the size of the figure.
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="none")
    axes.set_axis_off()


def as_png(figure: Figure, dpi: float = PNG_DPI) -> bytes:
    """Return a figure as a PNG file; the same figure gives the same bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    return stream.getvalue()


def as_svg(figure: Figure) -> bytes:
    """Return a figure as an SVG file with a dark mode; the same figure gives the same bytes."""
    stream = io.BytesIO()
    # bbox_inches="tight" keeps long labels from being cut off.
    figure.savefig(
        stream, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight", pad_inches=MARGIN
    )
    text = stream.getvalue().decode()
    start = text.index(">", text.index("<svg")) + 1
    # matplotlib writes colours as style attributes.
    rules = "".join(
        f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}'
        for light, dark in DARK.items()
        for kind in ("fill", "stroke")
    )
    style = f"\n <style>@media screen and (prefers-color-scheme: dark){{{rules}}}</style>"
    return (text[:start] + style + text[start:]).encode()
