"""Section Result: how good the file's answers on the test split are, and how far its scores can be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edge_fmnist_export.report import confidence, figures, metrics
from edge_fmnist_export.report.base import Context, Figure, Section, Table
from edge_fmnist_export.report.confidence import Answered, Reliability
from edge_fmnist_export.report.metrics import Metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

VERSION = 1
CONFUSED = 12
SHARES = (1.0, 0.99, 0.95, 0.9, 0.8, 0.7, 0.5)
CONFIDENCE_LEVEL = 0.95
DIGITS = 6


def build(context: Context) -> Section:
    """Measure the file's answers, with the float model's beside them where there is one."""
    context.progress("running the file on the test split", 0.0)
    scores, targets = context.predictions.scores, context.test.targets
    measured = metrics.measure(targets, context.predictions.indexes, context.labels, scores)
    right = context.predictions.indexes == targets
    trusted = confidence.reliability(scores.max(axis=1), right)
    curve = confidence.answered(scores.max(axis=1), right)
    context.progress("running the float model on the test split", 0.2)
    facts = [
        *_accuracy_facts(measured, scores, targets),
        ["expected calibration error", trusted.error],
        *_float_facts(context),
    ]
    context.progress("drawing", 0.8)
    return Section(
        "Result",
        text=_text(context, measured, trusted, curve),
        figures=_figures(context, measured, trusted, curve),
        tables=[
            Table("metrics", ["what", "value"], facts, "Of the written file, on the test split."),
            _class_table(measured),
            _confused_table(measured),
            _answered_table(curve),
            _confusion_table(measured),
            _reliability_table(trusted),
        ],
        summary={
            **measured.as_dict(),
            "expected_calibration_error": round(trusted.error, DIGITS),
            "calibration_bins": confidence.BINS,
            "facts": {str(name): value for name, value in facts},
        },
    )


def interval(right: int, images: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of an accuracy, 0 to 1, by Wilson's score method."""
    from scipy.stats import binomtest

    found = binomtest(right, images).proportion_ci(CONFIDENCE_LEVEL, method="wilson")
    return float(found.low), float(found.high)


def _accuracy_facts(measured: Metrics, scores: np.ndarray, targets: np.ndarray) -> list[list[Any]]:
    from sklearn.metrics import top_k_accuracy_score

    low, high = interval(int(np.trace(measured.confusion)), measured.images)
    classes = range(len(measured.classes))
    nearly = [
        [f"top-{k} accuracy", float(top_k_accuracy_score(targets, scores, k=k, labels=classes))]
        for k in (2, 3)
        if k < len(classes)
    ]
    averages = [
        [f"{kind} {name}", getattr(average, attribute)]
        for kind, average in (("macro", measured.macro), ("weighted", measured.weighted))
        for name, attribute in (("precision", "precision"), ("recall", "recall"), ("F1", "f1"))
    ]
    return [
        ["images", measured.images],
        ["top-1 accuracy", measured.top1],
        ["top-1, 95 % interval from", low],
        ["top-1, 95 % interval to", high],
        *nearly,
        *averages,
        ["log loss, nats", measured.log_loss],
    ]


def _float_facts(context: Context) -> list[list[Any]]:
    if context.float_scores is None:
        return []
    scores, targets = context.float_scores, context.test.targets
    named = scores.argmax(axis=1)
    trusted = confidence.reliability(scores.max(axis=1), named == targets)
    return [
        ["float model: top-1 accuracy", float((named == targets).mean())],
        ["float model: expected calibration error", trusted.error],
        ["file and float model name the same class", float((named == context.predictions.indexes).mean())],
    ]


def _text(context: Context, measured: Metrics, trusted: Reliability, curve: Answered) -> list[str]:
    wrong = measured.images - int(np.trace(measured.confusion))
    low, high = interval(measured.images - wrong, measured.images)
    surest = curve.at_share(0.9)
    first = (
        f"{measured.top1:.2%} of {measured.images:,} test images are named right, {wrong:,} wrong; "
        f"the 95 % confidence interval is {low:.2%} to {high:.2%} (Wilson). "
        "Every metric is scikit-learn's, on what the written file answers."
    )
    if (pairs := measured.most_confused(1)) and wrong:
        pair = pairs[0]
        first += f" The most frequent mistake takes {pair.true} for {pair.predicted}: {pair.images:,} images."
    second = (
        f"The score of an answer is off by {trusted.error * 100:.2f} percentage points on average (expected "
        f"calibration error, {confidence.BINS} bins of equal width). Answering only the {curve.shares[surest]:.1%} of "
        f"images that score at least {curve.thresholds[surest]:.3f}, {curve.accuracies[surest]:.2%} are right."
    )
    return [first, second + _threshold_text(context, curve)]


def _threshold_text(context: Context, curve: Answered) -> str:
    threshold = context.classifier.threshold
    if not threshold:
        return " The file has no threshold: it answers every image."
    step = curve.at_threshold(threshold)
    if step is None:
        return f" At its threshold, {threshold:.2f}, the file answers none."
    return (
        f" At its threshold, {threshold:.2f}, the file answers {curve.shares[step]:.1%}, "
        f"{curve.accuracies[step]:.2%} of them right."
    )


def _figures(context: Context, measured: Metrics, trusted: Reliability, curve: Answered) -> list[Figure]:
    bins = f"{confidence.BINS} bins of equal width"
    return [
        Figure(
            "confusion-shares",
            _confusion(measured, shares=True),
            "Confusion: of the images of each class (row), how many in a hundred are named so (column). "
            "Blue is right, red wrong.",
        ),
        Figure(
            "confusion-counts",
            _confusion(measured, shares=False),
            "The same as numbers of images; the red of mistakes is scaled to the most frequent one.",
        ),
        Figure(
            "by-class", _class_chart(measured), "Precision, recall and F1 of each class; the axis does not start at 0."
        ),
        Figure(
            "reliability",
            _reliability_chart(trusted),
            f"Reliability: accuracy beside score, {bins}. On the dashed line scores are honest, below it too sure. "
            f"The expected calibration error is {trusted.error * 100:.2f} points. Beneath: images in each bin.",
        ),
        Figure(
            "answered",
            _answered_chart(curve, context.classifier.threshold),
            "Accuracy kept against share answered: images with the lowest scores are left unanswered first.",
        ),
    ]


def _confusion(measured: Metrics, *, shares: bool) -> Drawing:
    counts = measured.confusion
    by_row = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    diagonal = np.eye(len(counts), dtype=bool)
    mistakes = np.where(diagonal, 0, by_row if shares else counts)
    strength = np.where(diagonal, by_row, mistakes / max(float(mistakes.max()), 1e-9) * 0.9)
    texts = [
        [
            _share_text(by_row[i, j]) if shares else (str(counts[i, j]) if counts[i, j] else "")
            for j in range(len(counts))
        ]
        for i in range(len(counts))
    ]
    return figures.heat_map(strength, texts, measured.labels, np.where(diagonal, figures.CELL_BLUE, figures.CELL_RED))


def _share_text(share: float) -> str:
    """Return a share in hundredths, as short as a cell needs."""
    if share == 0:
        return ""
    return "100" if share == 1 else f"{share * 100:.1f}"


def _class_chart(measured: Metrics) -> Drawing:
    axes = figures.new_axes(3.6, grid="both")
    places = np.arange(len(measured.classes))
    series = (("precision", figures.BLUE, ">"), ("recall", figures.RED, "<"), ("f1", figures.INK, "o"))
    for attribute, colour, marker in series:
        values = [getattr(each, attribute) for each in measured.classes]
        name = {"f1": "F1"}.get(attribute, attribute)
        axes.plot(values, places, marker, color=colour, label=name, markersize=6, alpha=0.85, markeredgewidth=0)
    axes.set_yticks(places, [figures.shortened(label) for label in measured.labels])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("precision, recall, F1")
    figure = figures.figure_of(axes)
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def _reliability_chart(trusted: Reliability) -> Drawing:
    figure = figures.new_figure(4.4)
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    width = 1 / len(trusted.counts)
    left = trusted.edges[:-1]
    upper.bar(left, np.nan_to_num(trusted.accuracies), width * 0.94, align="edge", color=figures.BLUE, alpha=0.85)
    upper.plot([0, 1], [0, 1], "--", color=figures.QUIET, linewidth=1.2)
    upper.plot(trusted.scores, trusted.accuracies, "o", color=figures.RED, markersize=4, label="mean score of the bin")
    upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share right")
    upper.legend(loc="upper left")
    lower.bar(left, trusted.counts, width * 0.94, align="edge", color=figures.QUIET)
    lower.set(xlabel="score", ylabel="images", yscale="log")
    lower.set_ylim(bottom=0.8)
    for axes in (upper, lower):
        axes.grid(axis="y")
    return figure


def _answered_chart(curve: Answered, threshold: float) -> Drawing:
    axes = figures.new_axes(3.0, grid="both")
    # From where chance of a few images no longer shakes the curve.
    shown = curve.shares >= min(0.05, float(curve.shares[-1]))
    axes.plot(curve.shares[shown] * 100, curve.accuracies[shown] * 100, color=figures.BLUE, linewidth=1.6)
    step = curve.at_threshold(threshold) if threshold else None
    if step is not None:
        place = curve.shares[step] * 100, curve.accuracies[step] * 100
        axes.plot(*place, "o", color=figures.RED, label=f"threshold of the file, {threshold:.2f}")
        axes.legend(loc="lower left")
    axes.set(xlabel="images answered, %", ylabel="right among those, %", xlim=(0, 101))
    return figures.figure_of(axes)


def _class_table(measured: Metrics) -> Table:
    rows = [[m.label, m.precision, m.recall, m.f1, m.support, m.predicted] for m in measured.classes]
    averages = [
        [f"{name} average", average.precision, average.recall, average.f1, measured.images, measured.images]
        for name, average in (("macro", measured.macro), ("weighted", measured.weighted))
    ]
    return Table(
        "classification-report",
        ["class", "precision", "recall", "F1", "images", "named so"],
        [*rows, *averages],
        "Classification report.",
    )


def _confused_table(measured: Metrics) -> Table:
    support = {each.label: each.support for each in measured.classes}
    rows = [
        [pair.true, pair.predicted, pair.images, pair.images / support[pair.true]]
        for pair in measured.most_confused(CONFUSED)
    ]
    return Table("confused", ["true", "named", "images", "share of the class"], rows, "The pairs most often confused.")


def _answered_table(curve: Answered) -> Table:
    steps = [curve.at_share(share) for share in SHARES]
    return Table(
        "answered",
        ["share answered", "right among those", "least score"],
        [[float(curve.shares[s]), float(curve.accuracies[s]), float(curve.thresholds[s])] for s in steps],
        "Accuracy kept against share answered.",
    )


def _confusion_table(measured: Metrics) -> Table:
    rows = [[label, *map(int, row)] for label, row in zip(measured.labels, measured.confusion, strict=True)]
    return Table("confusion", ["true", *measured.labels], rows, "Confusion matrix: rows true, columns as named.")


def _reliability_table(trusted: Reliability) -> Table:
    rows = [
        [
            float(trusted.edges[i]),
            float(trusted.edges[i + 1]),
            int(count),
            float(trusted.scores[i]) if count else None,
            float(trusted.accuracies[i]) if count else None,
        ]
        for i, count in enumerate(trusted.counts)
    ]
    return Table(
        "reliability", ["score above", "up to", "images", "mean score", "share right"], rows, "The bins of reliability."
    )
