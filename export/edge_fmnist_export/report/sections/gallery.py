"""Section Gallery: correct and incorrect predictions, and the images where file and float model disagree."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edge_fmnist_export.report import figures
from edge_fmnist_export.report.base import ReportContext, ReportFigure, ReportSection, ReportTable

VERSION = 3
COLUMNS, SHOWN, ROWS_SHOWN = 4, 20, 15


def build(context: ReportContext) -> ReportSection:
    """Select images and draw them."""
    context.progress("selecting images", 0.0)
    predicted, targets, scores = context.predictions.indexes, context.test.targets, context.predictions.scores
    rng = np.random.default_rng(context.seed)
    correct, wrong = np.flatnonzero(predicted == targets), np.flatnonzero(predicted != targets)
    top = scores.max(axis=1)
    confident = wrong[np.argsort(-top[wrong], kind="stable")]
    labels = [figures.shortened(label) for label in context.labels]

    def caption(index: int) -> str:
        # The sign makes mistakes visible without colour.
        sign = "=" if predicted[index] == targets[index] else "→"
        return f"{labels[targets[index]]}\n{sign} {labels[predicted[index]]}\n{top[index]:.1%}"

    below = "Below: true class, predicted class, score."
    drawn = [
        _tiles(context, "correct", spread(correct, targets, rng), caption, f"Random correct predictions. {below}"),
        _tiles(context, "wrong", np.sort(rng.permutation(wrong)[:SHOWN]), caption, f"Random mistakes. {below}"),
        _tiles(context, "confident-mistakes", confident, caption, f"The mistakes with the highest scores. {below}"),
    ]
    text = [
        f"The file misclassifies {len(wrong):,} of {len(targets):,} test images. In the tables, test images are "
        "numbered from 0."
    ]
    tables = [_mistakes_table(context, confident)]
    context.progress("running the float model", 0.2)
    floats, differing = context.float_scores, None
    if floats is None:
        text.append("Without the training run there is no float model to compare with.")
    else:
        differing = np.flatnonzero(floats.argmax(axis=1) != predicted)
        differing = differing[np.argsort(-top[differing], kind="stable")]
        text.append(_disagreement(context, floats, differing))
        drawn.append(_differing_tiles(context, floats, differing))
        tables.append(_differing_table(context, floats, differing))
    return ReportSection(
        "Gallery",
        text=text,
        figures=[figure for figure in drawn if figure is not None],
        tables=tables,
        summary={
            "mistakes": len(wrong),
            "confident_mistakes": confident[:SHOWN],
            "differing": None if differing is None else len(differing),
        },
    )


def spread(chosen: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random selection of images, balanced over the classes and sorted by class."""
    order = rng.permutation(chosen)
    # The first of each class, then the second of each class, and so on.
    turn = np.zeros(len(order), np.int64)
    for index in np.unique(targets[order]):
        of_class = targets[order] == index
        turn[of_class] = np.arange(of_class.sum())
    shown = order[np.argsort(turn, kind="stable")][:SHOWN]
    by_class: np.ndarray = shown[np.argsort(targets[shown], kind="stable")]
    return by_class


def _disagreement(context: ReportContext, floats: np.ndarray, differing: np.ndarray) -> str:
    targets = context.test.targets[differing]
    ours = int((context.predictions.indexes[differing] == targets).sum())
    theirs = int((floats[differing].argmax(axis=1) == targets).sum())
    return (
        f"The file and the float model disagree on {len(differing):,} images: the file is correct for {ours:,}, "
        f"the float model for {theirs:,}, and neither for {len(differing) - ours - theirs:,}."
    )


def _differing_tiles(context: ReportContext, floats: np.ndarray, differing: np.ndarray) -> ReportFigure | None:
    labels, predicted, targets = context.labels, context.predictions.indexes, context.test.targets

    def caption(index: int) -> str:
        names = [labels[each] for each in (targets[index], predicted[index], floats[index].argmax())]
        true, ours, theirs = map(figures.shortened, names)
        return f"{true}\nfile: {ours}\nfloat: {theirs}"

    text = (
        "Images where file and float model disagree, the highest scores first. Below: true class, prediction of each. "
        "Red: the file is wrong."
    )
    return _tiles(context, "differing", differing, caption, text)


def _tiles(
    context: ReportContext, name: str, chosen: np.ndarray, caption: Callable[[int], str], text: str
) -> ReportFigure | None:
    shown = chosen[:SHOWN]
    if not len(shown):
        return None
    correct = context.predictions.indexes[shown] == context.test.targets[shown]
    tiles = figures.image_tiles(
        context.test.images[shown],
        [caption(index) for index in shown],
        columns=COLUMNS,
        colours=[figures.INK if right else figures.RED for right in correct],
    )
    return ReportFigure(name, tiles, text)


def _mistakes_table(context: ReportContext, chosen: np.ndarray) -> ReportTable:
    scores, labels, targets = context.predictions.scores, context.labels, context.test.targets
    rows = [
        [
            index,
            labels[targets[index]],
            labels[scores[index].argmax()],
            scores[index].max(),
            scores[index, targets[index]],
        ]
        for index in chosen
    ]
    columns = ["test image", "true", "predicted", "score", "score of the true class"]
    return ReportTable("mistakes", columns, rows, "All mistakes, the highest scores first.", shown=ROWS_SHOWN)


def _differing_table(context: ReportContext, floats: np.ndarray, differing: np.ndarray) -> ReportTable:
    ours, labels, targets = context.predictions.scores, context.labels, context.test.targets
    rows = [
        [
            index,
            labels[targets[index]],
            labels[ours[index].argmax()],
            ours[index].max(),
            labels[floats[index].argmax()],
            floats[index].max(),
        ]
        for index in differing
    ]
    columns = ["test image", "true", "file", "score", "float model", "score of the float model"]
    return ReportTable("differing", columns, rows, "Disagreement of file and float model.", shown=ROWS_SHOWN)
