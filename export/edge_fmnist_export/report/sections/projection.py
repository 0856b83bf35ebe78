"""Section Projection: UMAP and t-SNE of test images, by the model's features and by pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_fmnist_export.report import figures
from edge_fmnist_export.report.analysis.projection import NEIGHBOURS, Projection, project
from edge_fmnist_export.report.base import ReportContext, ReportFigure, ReportSection, ReportTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VERSION = 4
HEIGHT = 4.6
# Points are drawn as a raster image, since thousands of shapes would make the page large.
POINTS_DPI = 180
# Outline of the mistakes, in light and dark mode.
EDGE = "#101010"
METHODS = {"umap": "UMAP", "tsne": "t-SNE"}
SPACES = {"features": "the penultimate layer", "pixels": "the pixels"}


def build(context: ReportContext) -> ReportSection:
    """Project a sample of the test images."""
    path = context.model_path
    found = project(path.read_bytes(), str(path), context.test, context.seed, context.progress)
    wrong = context.predictions.indexes[found.chosen] != found.targets
    count = len(found.chosen)
    return ReportSection(
        "Projection",
        text=[
            f"A sample of {count:,} test images, stratified by class; the file misclassifies {int(wrong.sum())} of "
            "them. The penultimate layer's features are the input of the file's last layer, dequantized. Neighbouring "
            "points are similar; the distances between groups and their sizes have no meaning.",
            f"Of the {NEIGHBOURS} nearest neighbours of an image, {found.purity['features']:.1%} are of the same class "
            f"by features, and {found.purity['pixels']:.1%} by pixels.",
        ],
        figures=[
            ReportFigure(
                f"{projection.method}-{projection.space}",
                draw(projection, found.targets, wrong, context.labels),
                f"{METHODS[projection.method]} of {SPACES[projection.space]}: {count:,} test images, coloured by "
                "class; crosses are mistakes of the file.",
            )
            for projection in found.projections
        ],
        tables=[
            ReportTable(
                "projections",
                ["space", "method", "purity before", "purity in the projection", "trustworthiness"],
                [
                    [
                        SPACES[each.space],
                        METHODS[each.method],
                        round(found.purity[each.space], 4),
                        round(each.purity, 4),
                        round(each.trustworthiness, 4),
                    ]
                    for each in found.projections
                ],
                f"Purity: share of the {NEIGHBOURS} nearest neighbours of the same class, before and after projection. "
                "Trustworthiness is 1 if all neighbours in the projection were neighbours before.",
            )
        ],
    )


def draw(projection: Projection, targets: np.ndarray, wrong: np.ndarray, labels: tuple[str, ...]) -> Figure:
    """Draw a projection of N images, with crosses for the mistakes of the file, bool, shape (N,)."""
    from matplotlib import colormaps
    from matplotlib.patheffects import withStroke

    axes = figures.new_axes(HEIGHT)
    axes.grid(visible=False)
    axes.set_axis_off()
    figure = figures.figure_of(axes)
    figure.set_dpi(POINTS_DPI)
    colours = np.asarray(colormaps["tab10"](targets % 10))
    x, y = projection.points.T
    axes.scatter(x[~wrong], y[~wrong], s=5, c=colours[~wrong], linewidths=0, alpha=0.75, rasterized=True)
    axes.scatter(
        x[wrong], y[wrong], s=30, c=colours[wrong], marker="X", linewidths=0.4, edgecolors=EDGE, rasterized=True
    )
    for index in np.unique(targets):
        of_class = targets == index
        axes.text(
            float(np.median(x[of_class])),
            float(np.median(y[of_class])),
            figures.shortened(labels[index]),
            ha="center",
            va="center",
            fontsize=figures.SMALL,
            fontweight="bold",
            color=figures.INK,
            path_effects=[withStroke(linewidth=2.5, foreground=figures.PAPER)],
        )
    return figure
