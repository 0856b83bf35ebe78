"""Section Gallery: images named right and wrong, the surest mistakes, and where the file and the float model differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edge_fmnist_export.report import figures
from edge_fmnist_export.report.base import Context, Figure, Section, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

VERSION = 1
COLUMNS, SHOWN, ROWS_SHOWN = 4, 20, 15


def build(context: Context) -> Section:
    """Choose images and draw them."""
    context.progress("choosing images", 0.0)
    named, targets = context.predictions.indexes, context.test.targets
    rng = np.random.default_rng(context.seed)
    right, wrong = np.flatnonzero(named == targets), np.flatnonzero(named != targets)
    surest = wrong[np.argsort(-context.predictions.scores[wrong].max(axis=1), kind="stable")]
    context.progress("running the float model", 0.2)
    differing = _differing(context)
    drawn = [
        _tiles(context, "right", _spread(right, targets, rng), "Drawn at random from the images named right"),
        _tiles(context, "wrong", np.sort(rng.permutation(wrong)[:SHOWN]), "Drawn at random from the mistakes"),
        _tiles(context, "surest-mistakes", surest[:SHOWN], "The mistakes with the highest scores"),
        _disagreements(context, differing),
    ]
    return Section(
        "Gallery",
        text=_text(context, len(wrong), differing),
        figures=[figure for figure in drawn if figure is not None],
        tables=[_mistakes_table(context, surest), *_differing_tables(context, differing)],
        summary={
            "mistakes": len(wrong),
            "surest_mistakes": surest[:SHOWN].tolist(),
            "differing": None if differing is None else len(differing),
        },
    )


def _spread(chosen: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the images that are drawn, as many of each class as can be, in the order of the classes."""
    order = rng.permutation(chosen)
    # Of each class the first, then of each the second, and so on.
    turn = np.zeros(len(order), np.int64)
    for index in np.unique(targets[order]):
        of_class = targets[order] == index
        turn[of_class] = np.arange(of_class.sum())
    shown = order[np.argsort(turn, kind="stable")][:SHOWN]
    by_class: np.ndarray = shown[np.argsort(targets[shown], kind="stable")]
    return by_class


def _differing(context: Context) -> np.ndarray | None:
    """Return the images that the file and the float model name differently, the surest first; None without one."""
    if context.float_scores is None:
        return None
    differing = np.flatnonzero(context.float_scores.argmax(axis=1) != context.predictions.indexes)
    sureness = context.predictions.scores[differing].max(axis=1)
    result: np.ndarray = differing[np.argsort(-sureness, kind="stable")]
    return result


def _text(context: Context, wrong: int, differing: np.ndarray | None) -> list[str]:
    first = (
        f"The file names {wrong:,} of {len(context.test):,} test images wrong. Under each image: what it is, what the "
        "file names it, and the score. Tables count test images from 0."
    )
    if context.float_scores is None or differing is None:
        return [first, "Without the run that the file came from there is no float model to compare it with."]
    targets = context.test.targets[differing]
    ours = int((context.predictions.indexes[differing] == targets).sum())
    theirs = int((context.float_scores[differing].argmax(axis=1) == targets).sum())
    return [
        first,
        f"The file and the float model name {len(differing):,} images differently: there the file is right {ours:,} "
        f"times, the float model {theirs:,} times, and neither {len(differing) - ours - theirs:,} times.",
    ]


def _tiles(context: Context, name: str, chosen: np.ndarray, what: str) -> Figure | None:
    if not len(chosen):
        return None
    named, targets, scores = context.predictions.indexes, context.test.targets, context.predictions.scores
    labels = [figures.shortened(label) for label in context.labels]
    captions = [
        f"{labels[targets[index]]}\n{_verdict_mark(named[index] == targets[index])} "
        f"{labels[named[index]]}\n{scores[index].max():.1%}"
        for index in chosen
    ]
    colours = [figures.INK if named[index] == targets[index] else figures.RED for index in chosen]
    return Figure(
        name, _drawn(context, chosen, captions, colours), f"{what}: what it is, what the file names it, its score."
    )


def _verdict_mark(right: Any) -> str:
    # Not by colour alone.
    return "=" if right else "→"


def _disagreements(context: Context, differing: np.ndarray | None) -> Figure | None:
    if differing is None or context.float_scores is None or not len(differing):
        return None
    chosen = differing[:SHOWN]
    named, floats, targets = context.predictions.indexes, context.float_scores, context.test.targets
    labels = [figures.shortened(label) for label in context.labels]
    captions = [
        f"{labels[targets[index]]}\nfile: {labels[named[index]]}\nfloat: {labels[floats[index].argmax()]}"
        for index in chosen
    ]
    colours = [figures.INK if named[index] == targets[index] else figures.RED for index in chosen]
    return Figure(
        "differing",
        _drawn(context, chosen, captions, colours),
        "Where the file and the float model name different classes, the file's surest first: what it is, what each "
        "names it. Red where the file is wrong.",
    )


def _drawn(context: Context, chosen: np.ndarray, captions: list[str], colours: list[str]) -> Drawing:
    return figures.image_tiles(context.test.images[chosen], captions, columns=COLUMNS, colours=colours)


def _mistakes_table(context: Context, surest: np.ndarray) -> Table:
    scores, labels = context.predictions.scores, context.labels
    rows = [
        [
            int(index),
            labels[context.test.targets[index]],
            labels[scores[index].argmax()],
            float(scores[index].max()),
            float(scores[index, context.test.targets[index]]),
        ]
        for index in surest
    ]
    return Table(
        "mistakes",
        ["test image", "true", "named", "score", "score of the true class"],
        rows,
        "All mistakes, the surest first.",
        shown=ROWS_SHOWN,
    )


def _differing_tables(context: Context, differing: np.ndarray | None) -> list[Table]:
    if differing is None or context.float_scores is None:
        return []
    ours, theirs, labels = context.predictions.scores, context.float_scores, context.labels
    rows = [
        [
            int(index),
            labels[context.test.targets[index]],
            labels[ours[index].argmax()],
            float(ours[index].max()),
            labels[theirs[index].argmax()],
            float(theirs[index].max()),
        ]
        for index in differing
    ]
    columns = ["test image", "true", "file", "its score", "float model", "its score there"]
    return [Table("differing", columns, rows, "Where the file and the float model differ.", shown=ROWS_SHOWN)]
