"""Section Result: accuracy of the file on the test split, latency, and calibration of its scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edge_fmnist.model.classifier import Classifier
from edge_fmnist_export.report import confidence, figures, metrics
from edge_fmnist_export.report.base import ReportContext, ReportFigure, ReportSection, ReportTable, Tile
from edge_fmnist_export.report.confidence import Coverage, Reliability
from edge_fmnist_export.report.metrics import ClassificationMetrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VERSION = 2
CONFUSED = 12
SHARES = (1.0, 0.99, 0.95, 0.9, 0.8, 0.7, 0.5)
CONFIDENCE_LEVEL = 0.95
DIGITS = 6
WARM_UP, TIMED = 50, 500
# Below this coverage, the accuracy of the few accepted images is noise.
LEAST_COVERAGE = 0.05


def build(context: ReportContext) -> ReportSection:
    """Evaluate the file, and the float model if there is one."""
    context.progress("running the file on the test split", 0.0)
    predictions, targets = context.predictions, context.test.targets
    measured = metrics.measure(targets, predictions.indexes, context.labels, predictions.scores)
    top, correct = predictions.scores.max(axis=1), predictions.indexes == targets
    trusted, curve = confidence.reliability(top, correct), confidence.coverage(top, correct)
    milliseconds = latency_p50(context)
    context.progress("running the float model on the test split", 0.2)
    facts = {
        **_accuracy_facts(measured, predictions.scores, targets),
        "expected calibration error": trusted.error,
        "latency p50, one thread, ms": milliseconds,
        **_float_facts(context),
    }
    context.progress("drawing", 0.8)
    return ReportSection(
        "Result",
        text=_text(context, measured, trusted, curve),
        figures=_figures(context, measured, trusted, curve),
        tables=_tables(measured, trusted, curve, facts),
        summary={
            **measured.as_dict(),
            "expected_calibration_error": round(trusted.error, DIGITS),
            "calibration_bins": confidence.BINS,
            "latency_p50_ms": round(milliseconds, 4),
            "facts": facts,
        },
        tiles=_tiles(context, facts),
    )


def latency_p50(context: ReportContext) -> float:
    """Return the median latency of one image on one thread of this machine, in milliseconds, after a warm-up."""
    classifier = Classifier.load(context.model_path, labels=context.given_labels)
    images = context.test.images[np.arange(WARM_UP + TIMED) % len(context.test)]
    return float(np.median([classifier.predict(image).milliseconds for image in images][WARM_UP:]))


def interval(correct: int, images: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of an accuracy, 0 to 1, by Wilson's score method."""
    from scipy.stats import binomtest

    found = binomtest(correct, images).proportion_ci(CONFIDENCE_LEVEL, method="wilson")
    return float(found.low), float(found.high)


def _accuracy_facts(measured: ClassificationMetrics, scores: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
    from sklearn.metrics import top_k_accuracy_score

    low, high = interval(int(np.trace(measured.confusion)), measured.images)
    classes = range(len(measured.classes))
    return {
        "images": measured.images,
        "top-1 accuracy": measured.top1,
        "top-1, 95 % interval from": low,
        "top-1, 95 % interval to": high,
        **{
            f"top-{k} accuracy": float(top_k_accuracy_score(targets, scores, k=k, labels=classes))
            for k in (2, 3)
            if k < len(classes)
        },
        **{
            f"{kind} {name}": getattr(average, name.lower())
            for kind, average in (("macro", measured.macro), ("weighted", measured.weighted))
            for name in ("precision", "recall", "F1")
        },
        "log loss, nats": measured.log_loss,
    }


def _float_facts(context: ReportContext) -> dict[str, float]:
    scores = context.float_scores
    if scores is None:
        return {}
    predicted, targets = scores.argmax(axis=1), context.test.targets
    trusted = confidence.reliability(scores.max(axis=1), predicted == targets)
    return {
        "float model: top-1 accuracy": float((predicted == targets).mean()),
        "float model: expected calibration error": trusted.error,
        "same prediction by file and float model": float((predicted == context.predictions.indexes).mean()),
    }


def _tiles(context: ReportContext, facts: dict[str, Any]) -> list[Tile]:
    low, high = facts["top-1, 95 % interval from"], facts["top-1, 95 % interval to"]
    size, milliseconds = context.model_path.stat().st_size, facts["latency p50, one thread, ms"]
    float_top1 = facts.get("float model: top-1 accuracy")
    drop = Tile("Quantization drop", "unknown", "no training run, so no float model")
    if float_top1 is not None:
        points = (float_top1 - facts["top-1 accuracy"]) * 100
        drop = Tile("Quantization drop", f"{points:.2f} points", f"float model: {float_top1:.2%}")
    return [
        Tile(
            "Top-1 accuracy",
            f"{facts['top-1 accuracy']:.2%}",
            f"{facts['images']:,} test images, 95 % interval {low:.2%} to {high:.2%}",
        ),
        Tile("File size", f"{size / 1024:,.1f} KiB", f"{size:,} bytes"),
        Tile("Latency, p50", f"{milliseconds * 1000:,.0f} µs", "one image, one thread, on the reporting machine"),
        drop,
    ]


def _text(context: ReportContext, measured: ClassificationMetrics, trusted: Reliability, curve: Coverage) -> list[str]:
    correct = int(np.trace(measured.confusion))
    low, high = interval(correct, measured.images)
    step = curve.at_share(0.9)
    first = (
        f"{measured.top1:.2%} of {measured.images:,} test images are classified correctly, "
        f"{measured.images - correct:,} incorrectly; the 95 % confidence interval is {low:.2%} to {high:.2%} (Wilson). "
        "All metrics are computed by scikit-learn from the predictions of the model file."
    )
    if pairs := measured.most_confused(1):
        pair = pairs[0]
        first += f" The most frequent mistake is {pair.true} predicted as {pair.predicted}: {pair.images:,} images."
    second = (
        f"The expected calibration error of the scores is {trusted.error * 100:.2f} percentage points ("
        f"{confidence.BINS} bins of equal width). If only the {curve.shares[step]:.1%} of images with a score of at "
        f"least {curve.thresholds[step]:.3f} are accepted, accuracy is {curve.accuracies[step]:.2%}."
    )
    threshold = context.classifier.threshold
    at_threshold = curve.at_threshold(threshold)
    if not threshold:
        second += " The file has no threshold: every prediction is accepted."
    elif at_threshold is None:
        second += f" At the file's threshold of {threshold:.2f}, no prediction is accepted."
    else:
        second += (
            f" At the file's threshold of {threshold:.2f}, {curve.shares[at_threshold]:.1%} of predictions are "
            f"accepted, with an accuracy of {curve.accuracies[at_threshold]:.2%}."
        )
    return [first, second]


def _figures(
    context: ReportContext, measured: ClassificationMetrics, trusted: Reliability, curve: Coverage
) -> list[ReportFigure]:
    percent = 100 * measured.confusion / np.maximum(measured.confusion.sum(axis=1, keepdims=True), 1)
    return [
        ReportFigure(
            "confusion-shares",
            figures.confusion_figure(percent, measured.labels, values_format=".1f"),
            "Confusion matrix in percent of each true class.",
        ),
        ReportFigure(
            "confusion-counts",
            figures.confusion_figure(measured.confusion, measured.labels),
            "Confusion matrix in images.",
        ),
        ReportFigure(
            "by-class", _class_chart(measured), "Precision, recall and F1 of each class; the axis does not start at 0."
        ),
        ReportFigure(
            "reliability",
            _reliability_chart(trusted),
            f"Reliability diagram: accuracy against score in {confidence.BINS} bins of equal width. Scores on the "
            "dashed line are calibrated, below it overconfident. The expected calibration error is "
            f"{trusted.error * 100:.2f} points. Below: images per bin.",
        ),
        ReportFigure(
            "coverage",
            _coverage_chart(curve, context.classifier.threshold),
            "Accuracy against coverage: the predictions with the lowest scores are rejected first.",
        ),
    ]


def _class_chart(measured: ClassificationMetrics) -> Figure:
    axes = figures.new_axes(3.6, grid="both")
    for name, colour, marker in (
        ("precision", figures.BLUE, ">"),
        ("recall", figures.RED, "<"),
        ("F1", figures.INK, "o"),
    ):
        values = [getattr(each, name.lower()) for each in measured.classes]
        axes.plot(values, range(len(values)), marker, color=colour, label=name, alpha=0.85, markeredgewidth=0)
    figures.class_axis(axes, measured.labels)
    axes.set_xlabel("precision, recall, F1")
    figure = figures.figure_of(axes)
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def _reliability_chart(trusted: Reliability) -> Figure:
    figure = figures.new_figure(4.4)
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    width, left = 0.94 / len(trusted.counts), trusted.edges[:-1]
    upper.bar(left, np.nan_to_num(trusted.accuracies), width, align="edge", color=figures.BLUE, alpha=0.85)
    upper.plot([0, 1], [0, 1], "--", color=figures.QUIET, linewidth=1.2)
    upper.plot(trusted.scores, trusted.accuracies, "o", color=figures.RED, markersize=4, label="mean score of the bin")
    upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
    upper.legend(loc="upper left")
    lower.bar(left, trusted.counts, width, align="edge", color=figures.QUIET)
    lower.set(xlabel="score", ylabel="images")
    figures.logarithmic(lower.yaxis)
    lower.set_ylim(bottom=0.8)
    for axes in (upper, lower):
        axes.grid(axis="y")
    return figure


def _coverage_chart(curve: Coverage, threshold: float) -> Figure:
    axes = figures.new_axes(3.0, grid="both")
    shown = curve.shares >= LEAST_COVERAGE
    axes.plot(curve.shares[shown] * 100, curve.accuracies[shown] * 100, color=figures.BLUE, linewidth=1.6)
    step = curve.at_threshold(threshold) if threshold else None
    if step is not None:
        place = curve.shares[step] * 100, curve.accuracies[step] * 100
        axes.plot(*place, "o", color=figures.RED, label=f"threshold of the file, {threshold:.2f}")
        axes.legend(loc="lower left")
    axes.set(xlabel="accepted predictions, %", ylabel="accuracy, %", xlim=(0, 101))
    return figures.figure_of(axes)


def _tables(
    measured: ClassificationMetrics, trusted: Reliability, curve: Coverage, facts: dict[str, Any]
) -> list[ReportTable]:
    classes = [[m.label, m.precision, m.recall, m.f1, m.support, m.predicted] for m in measured.classes]
    averages = [
        [f"{name} average", average.precision, average.recall, average.f1, measured.images, measured.images]
        for name, average in (("macro", measured.macro), ("weighted", measured.weighted))
    ]
    support = {each.label: each.support for each in measured.classes}
    steps = [curve.at_share(share) for share in SHARES]
    edges = trusted.edges
    return [
        ReportTable(
            "metrics", ["metric", "value"], list(facts.items()), "Metrics of the model file on the test split."
        ),
        ReportTable(
            "classification-report",
            ["class", "precision", "recall", "F1", "images", "predicted"],
            [*classes, *averages],
            "Classification report.",
        ),
        ReportTable(
            "confused",
            ["true", "predicted", "images", "share of the class"],
            [[*pair, pair.images / support[pair.true]] for pair in measured.most_confused(CONFUSED)],
            "The most frequently confused classes.",
        ),
        ReportTable(
            "coverage",
            ["coverage", "accuracy", "minimum score"],
            [[curve.shares[step], curve.accuracies[step], curve.thresholds[step]] for step in steps],
            "Accuracy against coverage.",
        ),
        ReportTable(
            "confusion",
            ["true", *measured.labels],
            [[label, *row] for label, row in zip(measured.labels, measured.confusion.tolist(), strict=True)],
            "Confusion matrix: rows true, columns predicted.",
        ),
        ReportTable(
            "reliability",
            ["score above", "up to", "images", "mean score", "accuracy"],
            list(zip(edges[:-1], edges[1:], trusted.counts, trusted.scores, trusted.accuracies, strict=True)),
            "The bins of the reliability diagram.",
        ),
    ]
