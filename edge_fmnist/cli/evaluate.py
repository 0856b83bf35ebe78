"""``edge-fmnist evaluate``: accuracy of models on a data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from edge_fmnist.cli import console, options
from edge_fmnist.data.dataset import Split, load
from edge_fmnist.errors import EdgeFmnistError, UsageError
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.evaluation import Evaluation
from edge_fmnist.model.registry import CAMERA_MODEL, DEFAULT_MODEL

if TYPE_CHECKING:
    from edge_fmnist.model.metadata import Metadata
    from edge_fmnist.model.photos import PhotoEvaluation


def evaluate(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Names of shipped models, or .tflite files. Default: edge, or camera for --photos."),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="The same as the argument.", show_default=False)
    ] = None,
    data: options.Data = None,
    labels: options.ModelLabels = None,
    photos: options.Photos = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            help="test (default) or train; with --photos, a folder in it (default: validation, if it exists).",
            show_default=False,
        ),
    ] = None,
    threads: options.Threads = options.BULK_THREADS,
    interpreter: options.Interpreter = None,
    json: options.Json = False,
) -> None:
    """Measure the accuracy of models on a data set, or with --photos on photographs.

    On a data set: top-1 accuracy; precision, recall and F1 for each class; the confusion matrix; the predicted classes.
    On photographs: accuracy for each garment, false-reject rate, and AUROC of known against unknown garments.
    A model that fails is reported and the rest is still evaluated; the exit code is then that of the failure.
    A photograph that cannot be read is reported and skipped; the exit code is then 1.
    """
    if photos is not None and data is not None:
        raise typer.BadParameter("expected --data or --photos, got both", param_hint="--photos")
    if photos is not None and labels is not None:
        raise typer.BadParameter("--photos uses the labels of Fashion-MNIST; leave --labels out", param_hint="--labels")
    names = options.given_labels(labels)
    task = _on_images(data, "test" if split is None else split) if photos is None else _on_photos(photos, split)
    results, exit_code = {}, 0
    for name in [*(models or ()), *(model or ())] or [CAMERA_MODEL if photos is not None else DEFAULT_MODEL]:
        try:
            classifier = options.load_classifier(name, threads, interpreter, names)
            if task.images is not None and classifier.metadata is not None:
                _check_classes(name, classifier.metadata, names)
                options.warn_of_other_data(
                    name, classifier.metadata.training_data, "train" if task.split == "train" else "test", task.images
                )
            results[name] = task.evaluate(classifier)
        except EdgeFmnistError as error:
            console.say(f"Error: {error}")
            exit_code = error.exit_code
            continue
        for problem in getattr(results[name], "unreadable", ()):
            console.say(f"Error: {problem}")
            exit_code = exit_code or 1
        if not json:
            with console.reader_may_leave():
                task.show(name, results[name])
    if json:
        with console.reader_may_leave():
            console.emit_json(
                [{"model": name, "split": task.split, **result.as_dict()} for name, result in results.items()]
            )
    if exit_code:
        raise typer.Exit(exit_code)


def _check_classes(name: str, metadata: Metadata, names: tuple[str, ...] | None) -> None:
    """Check that a model is not one of own classes, unless ``names`` says which they are in the data set.

    Raises:
        UsageError: it is.
    """
    if metadata.own_classes and names is None:
        raise UsageError(
            f"{name}: its classes are not those of Fashion-MNIST; evaluate it with --photos, or, if they are those of "
            "the data set, name them with --labels"
        )


class Task(NamedTuple):
    """The images that models are evaluated on, and how.

    Attributes:
        split: name of the images.
        evaluate: returns the metrics of a model.
        show: prints metrics, with the name of the model.
        images: the split of a data set; None for photographs.
    """

    split: str
    evaluate: Callable[[Classifier], Any]
    show: Callable[[str, Any], None]
    images: Split | None = None


def _on_images(data: Path | None, split: str) -> Task:
    if split not in ("test", "train"):
        raise typer.BadParameter(f"expected test or train, got {split!r}", param_hint="--split")
    images = load("test" if split == "test" else "train", data)

    def evaluate_images(classifier: Classifier) -> Evaluation:
        from edge_fmnist.model import evaluation

        with console.quiet_native_log():
            # The first batch creates the interpreter, which logs to standard error.
            classifier.predict_batch(images.images[:128])
        return evaluation.evaluate(classifier, images)

    return Task(split, evaluate_images, show, images)


def _on_photos(folder: Path, split: str | None) -> Task:
    from edge_fmnist.model.photos import DEFAULT_SPLIT, evaluate_photos, find_photos

    if split is None and (folder / DEFAULT_SPLIT).is_dir():
        split = DEFAULT_SPLIT

    def evaluate_one(classifier: Classifier) -> PhotoEvaluation:
        return evaluate_photos(classifier, find_photos(folder, split, console.warn, classifier.labels), console.warn)

    name = folder.resolve().name if split is None else split
    return Task(name, evaluate_one, show_photos)


def show_photos(name: str, result: PhotoEvaluation) -> None:
    """Print an evaluation on photographs."""
    auroc = "" if result.auroc is None else f", AUROC known/unknown {result.auroc:.3f}"
    console.show_table(
        f"{name}: {result.top1:.1%} top-1 on {result.images:,} photographs{auroc}, "
        f"threshold {result.threshold:.2f} rejects {result.false_reject_rate:.1%} of correct predictions",
        ["garment", "right label", "right", "photographs", "share", "answered"],
        [
            (
                metrics.garment,
                " or ".join(metrics.labels) or "unknown",
                metrics.right,
                metrics.images,
                f"{metrics.right / metrics.images:.1%}",
                f"{metrics.answered / metrics.images:.1%}",
            )
            for metrics in result.garments
        ],
        numbers_from=2,
    )


def show(name: str, result: Evaluation) -> None:
    """Print an evaluation on a data set."""
    size = f", {Path(name).stat().st_size:,} bytes" if Path(name).is_file() else ""
    console.show_table(
        f"{name}: {result.top1:.2%} top-1 on {result.images:,} images{size}, "
        f"{result.images / result.milliseconds * 1000:,.0f} images/s",
        ["class", "precision", "recall", "F1", "images", "predicted"],
        [
            (m.label, f"{m.precision:.3f}", f"{m.recall:.3f}", f"{m.f1:.3f}", m.support, m.predicted)
            for m in result.classes
        ],
    )
    labels = [metrics.label for metrics in result.classes]
    console.show_table(
        "Confusion matrix: rows are true classes, columns predicted ones",
        ["", *map(str, range(len(labels)))],
        [(f"{i} {label}", *row) for i, (label, row) in enumerate(zip(labels, result.confusion.tolist(), strict=True))],
    )
