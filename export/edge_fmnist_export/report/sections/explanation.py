"""Section Explanation: which pixels speak for the answer, by every method, on right and wrong images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edge_fmnist.errors import UsageError
from edge_fmnist_export.report import figures
from edge_fmnist_export.report.base import Context, Figure, Section, Table
from edge_fmnist_export.report.explain.base import Explanation, Question
from edge_fmnist_export.report.explain.drawing import overlay
from edge_fmnist_export.report.explain.methods import METHODS, explain
from edge_fmnist_export.report.explain.scorer import Scorer, of_file, of_network

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

VERSION = 1
# The surest mistakes that are explained beside one right image of each class.
MISTAKES = 4
ROWS = 5
NAMES = {"shap": "SHAP", "lime": "LIME", "occlusion": "occlusion", "gradcam": "Grad-CAM"}


def build(context: Context) -> Section:
    """Explain one right answer of each class, and the surest mistakes."""
    right, wrong = choose(context.predictions.scores, context.test.targets, context.seed)
    scorers = _scorers(context)
    explained: dict[int, list[Explanation]] = {}
    for done, index in enumerate([*right, *wrong]):
        context.progress(f"test image {index}", done / (len(right) + len(wrong)))
        explained[index] = _explained(context, scorers, index)
    methods = list(scorers)
    drawn = [
        Figure(
            f"{name}-{number}",
            _rows(context, part, explained, methods),
            f"{what}; orange speaks for the answer, blue against it: {', '.join(_heading(m) for m in methods)}.",
        )
        for name, what, chosen in (
            ("right", "Right answers, an image of each class", right),
            ("mistakes", "The mistakes with the highest scores", wrong),
        )
        for number, part in enumerate((chosen[at : at + ROWS] for at in range(0, len(chosen), ROWS)), start=1)
    ]
    return Section("Explanation", text=_text(context), figures=drawn, tables=[_table(context, explained, methods)])


def choose(scores: np.ndarray, targets: np.ndarray, seed: int) -> tuple[list[int], list[int]]:
    """Return which images are explained: a right one of each class at random, and the surest mistakes.

    Args:
        scores: float32, shape (N, classes).
        targets: shape (N,).
        seed: decides which right ones.
    """
    answers = scores.argmax(axis=1)
    order = np.random.default_rng(seed).permutation(len(targets))
    right = []
    for index in np.unique(targets):
        of_class = order[(targets[order] == index) & (answers[order] == index)]
        right += of_class[:1].tolist()
    wrong = np.flatnonzero(answers != targets)
    surest = wrong[np.argsort(-scores[wrong].max(axis=1), kind="stable")]
    return right, surest[:MISTAKES].tolist()


def _scorers(context: Context) -> dict[str, Scorer]:
    """Return the model that each method explains: the file, and for Grad-CAM the float model if it has one."""
    ours = of_file(context.classifier, context.name)
    scorers = {method: ours for method in METHODS if method != "gradcam"}
    model = context.float_model
    if model is None:
        return scorers
    mirrored, temperature = context.classifier.mirrored, context.classifier.temperature
    network = of_network(model, context.name, context.labels, mirrored=mirrored, temperature=temperature)
    try:
        explain("gradcam", Question(network, context.test.images[0], 0, context.seed))
    except UsageError:
        # A network without a feature map, as one of Dense layers alone.
        return scorers
    return {**scorers, "gradcam": network}


def _explained(context: Context, scorers: dict[str, Scorer], index: int) -> list[Explanation]:
    """Return the explanations of the file's answer for one test image."""
    image, answer = context.test.images[index], int(context.predictions.indexes[index])
    return [explain(method, Question(scorer, image, answer, context.seed)) for method, scorer in scorers.items()]


def _heading(method: str) -> str:
    return f"{NAMES[method]} (float)" if method == "gradcam" else NAMES[method]


def _rows(
    context: Context, chosen: Sequence[int], explained: dict[int, list[Explanation]], methods: Sequence[str]
) -> Drawing:
    """Draw a row for each image: the image, then each explanation over it."""
    figure = figures.new_figure(1.12 * len(chosen) + 0.3)
    grid = figure.subplots(len(chosen), 1 + len(methods), squeeze=False)
    for row, index in zip(grid, chosen, strict=True):
        image = context.test.images[index]
        figures.show_image(row[0], image)
        row[0].set_title(_caption(context, index), fontsize=figures.SMALL - 1, loc="left")
        for axes, explanation in zip(row[1:], explained[index], strict=True):
            overlay(axes, image, explanation.values, explanation)
    for axes, method in zip(grid[0][1:], methods, strict=True):
        axes.set_title(NAMES[method], fontsize=figures.SMALL - 1)
    return figure


def _caption(context: Context, index: int) -> str:
    target, answer = context.test.targets[index], context.predictions.indexes[index]
    score = f"{context.predictions.scores[index].max():.0%}"
    if target == answer:
        return f"{context.labels[answer]} {score}"
    return f"{context.labels[target]}\n→ {context.labels[answer]} {score}"


def _text(context: Context) -> list[str]:
    text = [
        "SHAP, LIME and occlusion explain the file as a black box: what its score for its answer loses when pixels "
        "turn black, the background of the data set. SHAP shares the score out among the pixels; LIME fits a linear "
        "model to random superpixels; occlusion moves a black square over the image. Grad-CAM shows which places of "
        "the float model's last feature map speak for the class."
    ]
    if context.float_model is None:
        text.append("Without the run that the file came from there is no float model, and so no Grad-CAM.")
    return text


def _table(context: Context, explained: dict[int, list[Explanation]], methods: Sequence[str]) -> Table:
    """Return how much of each explanation lies on the garment."""
    rows = [
        [
            index,
            context.labels[context.test.targets[index]],
            context.labels[context.predictions.indexes[index]],
            *(round(share_on_garment(e.values, context.test.images[index]), 4) for e in explanations),
        ]
        for index, explanations in explained.items()
    ]
    columns = ["test image", "true", "named", *(_heading(method) for method in methods)]
    return Table("on-garment", columns, rows, "Share of each explanation that lies on the garment, not beside it.")


def share_on_garment(values: np.ndarray, image: np.ndarray) -> float:
    """Return the share of the values' mass that lies on pixels of the garment, 0 to 1; 0 where there is no mass.

    Args:
        values: float, shape (28, 28).
        image: uint8, shape (28, 28), the garment bright on black.
    """
    mass = np.abs(values)
    return float(mass[image > 0].sum() / mass.sum()) if mass.sum() > 0 else 0.0
