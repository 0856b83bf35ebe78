"""Section Projection: images as points in the plane, as the model sees them and as pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_fmnist_export.report import figures
from edge_fmnist_export.report.analysis.projection import NEIGHBOURS, Projection, Projections, project
from edge_fmnist_export.report.base import Context, Figure, Section, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

VERSION = 1
HEIGHT = 4.6
# Points are drawn as an image, since thousands of shapes would make the page heavy; dots an inch of it.
POINTS_DPI = 180
# Sets the mistakes off from the points they lie among, in the dark too.
EDGE = "#101010"
METHODS = {"umap": "UMAP", "tsne": "t-SNE"}
SPACES = {"features": "the penultimate layer", "pixels": "the pixels"}


def build(context: Context) -> Section:
    """Project a sample of the test images, as the file's last layer sees them and as pixels."""
    found = project(
        context.model_path.read_bytes(),
        str(context.model_path),
        context.test,
        context.seed,
        advance=context.progress,
    )
    wrong = context.predictions.indexes[found.chosen] != found.targets
    drawn = [
        Figure(
            f"{projection.method}-{projection.space}",
            draw(projection, found.targets, wrong, context.labels),
            f"{METHODS[projection.method]} of {SPACES[projection.space]}: {len(found.chosen):,} test images coloured "
            "by their class; crosses are the file's mistakes.",
        )
        for projection in found.projections
    ]
    return Section("Projection", text=_text(found, int(wrong.sum())), figures=drawn, tables=[_table(found)])


def draw(projection: Projection, targets: np.ndarray, wrong: np.ndarray, labels: tuple[str, ...]) -> Drawing:
    """Draw a projection.

    Args:
        projection: of N images.
        targets: their classes, shape (N,).
        wrong: whether the file names them wrong, bool, shape (N,).
        labels: the names of the classes.
    """
    axes = figures.new_axes(HEIGHT)
    axes.grid(visible=False)
    axes.set_axis_off()
    figures.figure_of(axes).set_dpi(POINTS_DPI)
    colours = _colours(len(labels))
    x, y = projection.points.T
    axes.scatter(x[~wrong], y[~wrong], s=5, c=colours[targets[~wrong]], linewidths=0, alpha=0.75, rasterized=True)
    axes.scatter(
        x[wrong],
        y[wrong],
        s=30,
        c=colours[targets[wrong]],
        marker="X",
        linewidths=0.4,
        edgecolors=EDGE,
        rasterized=True,
    )
    for index in np.unique(targets):
        _name(axes, labels[index], float(np.median(x[targets == index])), float(np.median(y[targets == index])))
    return figures.figure_of(axes)


def _colours(count: int) -> np.ndarray:
    from matplotlib import colormaps

    return np.asarray(colormaps["tab10"](np.arange(count) % 10))


def _name(axes: Axes, label: str, x: float, y: float) -> None:
    from matplotlib.patheffects import withStroke

    axes.text(
        x,
        y,
        label,
        ha="center",
        va="center",
        fontsize=figures.SMALL,
        fontweight="bold",
        color=figures.INK,
        path_effects=[withStroke(linewidth=2.5, foreground=figures.PAPER)],
    )


def _text(found: Projections, wrong: int) -> list[str]:
    return [
        f"{len(found.chosen):,} test images, of each class its share, {wrong} of which the file names wrong. The "
        "penultimate layer is what the file's last layer is given, dequantized. Points near each other are alike; "
        "the distance between groups and their size mean nothing.",
        f"Of the {NEIGHBOURS} nearest neighbours of an image {found.purity['features']:.1%} are of its class in the "
        f"penultimate layer, and {found.purity['pixels']:.1%} among the pixels: that is what the layers in between "
        "are for.",
    ]


def _table(found: Projections) -> Table:
    rows = [
        [
            SPACES[projection.space],
            METHODS[projection.method],
            round(found.purity[projection.space], 4),
            round(projection.purity, 4),
            round(projection.trustworthiness, 4),
        ]
        for projection in found.projections
    ]
    columns = ["space", "method", "neighbours of the same class", "the same in the plane", "trustworthiness"]
    caption = (
        f"Shares of the {NEIGHBOURS} nearest neighbours, before and after projection; trustworthiness is 1 where all "
        "neighbours in the plane were neighbours before."
    )
    return Table("projections", columns, rows, caption)
