"""The figures of the model cards: ``python -m edge_fmnist_export.cli.cards`` in a checkout fills docs/models.md.

Purpose and limits of each model are written by hand; the command replaces the text between the two markers of each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_fmnist.cli import console
from edge_fmnist.data import dataset
from edge_fmnist.data.dataset import Split
from edge_fmnist.data.files import write_text
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.registry import DEFAULT_MODEL, ShippedModel, shipped_models
from edge_fmnist.model.tflite_graph import read_graph
from edge_fmnist_export.quantize.latency import Latency, compare_latency
from edge_fmnist_export.report import markdown, metrics
from edge_fmnist_export.report.metrics import ClassificationMetrics
from edge_fmnist_export.search.zoo import measured_with
from edge_fmnist_export.training.run_folder import open_run

PAGE = Path("docs/models.md")
WORST_PAIRS = 5


def markers(name: str) -> tuple[str, str]:
    """Return the lines between which the figures of a model stand."""
    return (f"<!-- figures of {name}: made by `python -m edge_fmnist_export.cli.cards` -->", f"<!-- end of {name} -->")


def figures_of(model: ShippedModel, test: Split, latency: Latency) -> str:
    """Return the figures of one model as Markdown."""
    content = model.path.read_bytes()
    classifier = Classifier.load(model.name)
    answers = classifier.predict_batch(test.images)
    found = metrics.measure(test.targets, answers.indexes, classifier.labels, answers.scores)
    recipe = open_run(model.name).recipe
    rows = [
        ("top-1 on the 10,000 test images, this file", f"{found.top1:.2%}"),
        ("the same, float model", f"{model.float_top1:.2%}"),
        ("macro F1, log loss", f"{found.macro.f1:.4f}, {found.log_loss:.4f} nats"),
        ("size", f"{model.bytes:,} bytes"),
        ("MACs", f"{read_graph(content, model.name).macs:,}"),
        (
            "latency, one thread, p50",
            f"{latency.microseconds:.0f} µs, {latency.ratio:.2f} times that of `{DEFAULT_MODEL}`",
        ),
        ("architecture", f"`{recipe.architecture}`"),
        ("SHA-256", f"`{model.sha256}`"),
    ]
    return "\n\n".join([markdown.table(("", ""), rows), _classes(found), _confusion(found), _worst(found)])


def _classes(found: ClassificationMetrics) -> str:
    return markdown.table(
        ("class", "precision", "recall", "F1"),
        [(each.label, f"{each.precision:.3f}", f"{each.recall:.3f}", f"{each.f1:.3f}") for each in found.classes],
    )


def _confusion(found: ClassificationMetrics) -> str:
    """Return the confusion matrix: rows true, columns predicted."""
    rows = [(f"**{label}**", *counts) for label, counts in zip(found.labels, found.confusion.tolist(), strict=True)]
    return "Rows are true, columns predicted:\n\n" + markdown.table(("", *found.labels), rows)


def _worst(found: ClassificationMetrics) -> str:
    pairs = [f"{pair.true} predicted as {pair.predicted} ({pair.images})" for pair in found.most_confused(WORST_PAIRS)]
    return f"Most frequent mistakes: {', '.join(pairs)}."


def cards(page: Annotated[Path, typer.Argument(help="The page of model cards.")] = PAGE) -> None:
    """Measure every shipped model and write its figures into the page of model cards."""
    test = dataset.load("test")
    models = shipped_models()
    contents = {name: model.path.read_bytes() for name, model in models.items()}
    latencies = compare_latency(contents, contents[DEFAULT_MODEL])
    text = page.read_text("utf-8")
    for name, model in models.items():
        figures = f"{figures_of(model, test, latencies[name])}\n\nMeasured with {measured_with()}."
        text = markdown.with_part(text, *markers(name), figures, str(page))
    write_text(page, text)
    console.say(f"Wrote the figures of {', '.join(models)} into {page}.")


if __name__ == "__main__":
    typer.run(cards)
