"""Section Explanation: the pixels that support a prediction, by every method, for correct and wrong predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edge_fmnist.errors import UsageError
from edge_fmnist_export.report import figures
from edge_fmnist_export.report.base import ReportContext, ReportFigure, ReportSection, ReportTable
from edge_fmnist_export.report.explain import NAMES
from edge_fmnist_export.report.explain.base import ExplainRequest, Explanation
from edge_fmnist_export.report.explain.drawing import overlay
from edge_fmnist_export.report.explain.methods import METHODS
from edge_fmnist_export.report.explain.scorer import Scorer, of_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VERSION = 3
# The number of mistakes with the highest scores that are explained, besides one correct prediction of each class.
MISTAKES = 4
ROWS = 5


def build(context: ReportContext) -> ReportSection:
    """Explain one correct prediction of each class, and the mistakes with the highest scores."""
    predictions, images = context.predictions, context.test.images
    correct, wrong = choose(predictions.scores, context.test.targets, context.seed)
    scorers = _scorers(context)
    explained: dict[int, list[Explanation]] = {}
    for done, index in enumerate([*correct, *wrong]):
        context.progress(f"test image {index}", done / (len(correct) + len(wrong)))
        target = int(predictions.indexes[index])
        explained[index] = [
            METHODS[method](ExplainRequest(scorer, images[index], target, context.seed))
            for method, scorer in scorers.items()
        ]
    text = [
        "SHAP, LIME and occlusion treat the file as a black box: they measure how the score of the prediction changes "
        "when pixels become black, the background of the data set. SHAP distributes the score among the pixels; LIME "
        "fits a linear model to random superpixels; occlusion moves a black square over the image. Grad-CAM shows the "
        "regions of the float model's last feature map that support the class."
    ]
    if context.float_scorer is None:
        text.append("Without the training run there is no float model, and therefore no Grad-CAM.")
    return ReportSection(
        "Explanation",
        text=text,
        figures=[
            ReportFigure(
                f"{name}-{start // ROWS + 1}",
                _rows(context, chosen[start : start + ROWS], explained, list(scorers)),
                f"{what}. Orange supports the prediction, blue opposes it.",
            )
            for name, what, chosen in (
                ("correct", "Correct predictions, one image of each class", correct),
                ("mistakes", "The mistakes with the highest scores", wrong),
            )
            for start in range(0, len(chosen), ROWS)
        ],
        tables=[_table(context, explained, list(scorers))],
    )


def choose(scores: np.ndarray, targets: np.ndarray, seed: int) -> tuple[list[int], list[int]]:
    """Return the images to explain: a random correct one of each class, and the mistakes with the highest scores.

    Scores have the shape (N, classes), targets (N,).
    """
    predicted = scores.argmax(axis=1)
    order = np.random.default_rng(seed).permutation(len(targets))
    correct = []
    for index in np.unique(targets):
        correct += order[(targets[order] == index) & (predicted[order] == index)][:1].tolist()
    wrong = np.flatnonzero(predicted != targets)
    confident = wrong[np.argsort(-scores[wrong].max(axis=1), kind="stable")]
    return correct, confident[:MISTAKES].tolist()


def share_on_garment(values: np.ndarray, image: np.ndarray) -> float:
    """Return the share, 0 to 1, of the absolute values (28, 28) that lies on pixels of the garment."""
    mass = np.abs(values)
    return float(mass[image > 0].sum() / mass.sum()) if mass.sum() > 0 else 0.0


def _scorers(context: ReportContext) -> dict[str, Scorer]:
    """Return the model that each method explains: the file, and for Grad-CAM the float model if possible."""
    file_scorer = of_file(context.classifier, context.name)
    scorers = {method: file_scorer for method in METHODS if method != "gradcam"}
    if context.float_scorer is None:
        return scorers
    try:
        METHODS["gradcam"](ExplainRequest(context.float_scorer, context.test.images[0], 0, context.seed))
    except UsageError:
        # A network without a feature map, such as a multilayer perceptron.
        return scorers
    return {**scorers, "gradcam": context.float_scorer}


def _rows(
    context: ReportContext, chosen: Sequence[int], explained: dict[int, list[Explanation]], methods: Sequence[str]
) -> Figure:
    """Draw one row per image: the image, and each explanation on top of it."""
    figure = figures.new_figure(1.12 * len(chosen) + 0.3)
    grid = figure.subplots(len(chosen), 1 + len(methods), squeeze=False)
    size = figures.SMALL - 1
    labels = [figures.shortened(label) for label in context.labels]
    for row, index in zip(grid, chosen, strict=True):
        image = context.test.images[index]
        target, predicted = context.test.targets[index], context.predictions.indexes[index]
        caption = f"{labels[predicted]} {context.predictions.scores[index].max():.0%}"
        figures.show_image(row[0], image)
        row[0].set_title(
            caption if target == predicted else f"{labels[target]}\n→ {caption}", fontsize=size, loc="left"
        )
        for axes, explanation in zip(row[1:], explained[index], strict=True):
            overlay(axes, image, explanation.values, explanation)
    for axes, method in zip(grid[0][1:], methods, strict=True):
        axes.set_title(NAMES[method], fontsize=size)
    return figure


def _table(context: ReportContext, explained: dict[int, list[Explanation]], methods: Sequence[str]) -> ReportTable:
    rows = [
        [
            index,
            context.labels[context.test.targets[index]],
            context.labels[context.predictions.indexes[index]],
            *(round(share_on_garment(each.values, context.test.images[index]), 4) for each in explanations),
        ]
        for index, explanations in explained.items()
    ]
    columns = ["test image", "true", "predicted", *(NAMES[method] for method in methods)]
    return ReportTable("on-garment", columns, rows, "Share of each explanation that lies on the garment.")
