"""Section Training: loss, accuracy and learning rate over the epochs, and a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from edge_fmnist.errors import RunError
from edge_fmnist_export.report import figures
from edge_fmnist_export.report.base import ReportContext, ReportFigure, ReportSection, ReportTable
from edge_fmnist_export.report.verdict import judge
from edge_fmnist_export.training.phase import EpochRecord
from edge_fmnist_export.training.run_folder import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VERSION = 2
ROWS_SHOWN = 10
QAT = "qat"
COLUMNS = ("phase", "epoch", "loss", "accuracy", "validation_loss", "validation_accuracy", "learning_rate", "seconds")


def build(context: ReportContext) -> ReportSection:
    """Draw the training curves and assess them."""
    if context.run is None:
        return ReportSection(
            "Training",
            ["The training history is not in the model file. Give the run folder of the file with --run."],
            summary={"epochs": 0},
        )
    records = read_history(context.run)
    phases = {name: list(group) for name, group in groupby(records, key=lambda record: record.phase)}
    verdicts = {name: judge(group) for name, group in phases.items()}
    text = [
        _qat_text(phases[QAT], phases.get("float")) if name == QAT else f"Float training. {verdict.sentences()}"
        for name, verdict in verdicts.items()
    ]
    data = context.run.recipe.data
    held_out = "that were trained on, too" if data.train_on_validation else "held out of the training split"
    text.append(
        f"Validation: {data.validation:,} images {held_out}; test images are "
        "never used for model selection. Training metrics are averages over an epoch in which the network changes, on "
        "augmented images, and therefore slightly lower than those of the final network on plain images."
    )
    shade = " Shaded: quantization-aware training (QAT)." if QAT in phases else ""
    return ReportSection(
        "Training",
        text=text,
        figures=[
            ReportFigure("loss", _curves(records, "loss"), f"Loss on training and validation images.{shade}"),
            ReportFigure(
                "accuracy",
                _curves(records, "accuracy"),
                f"Accuracy on training and validation images; the dot is the best epoch of each phase.{shade}",
            ),
            ReportFigure("learning-rate", _learning_rate(records), f"Learning rate at the end of each epoch.{shade}"),
        ],
        tables=[
            ReportTable(
                "history",
                [column.replace("_", " ") for column in COLUMNS],
                [[getattr(record, column) for column in COLUMNS] for record in reversed(records)],
                "The epochs, the last first.",
                shown=ROWS_SHOWN,
            )
        ],
        summary={
            "epochs": _epochs(records)[-1],
            "verdict": {name: verdict.as_dict() for name, verdict in verdicts.items()},
        },
    )


def read_history(run: Run) -> list[EpochRecord]:
    """Read the epochs of a run.

    Raises:
        RunError: there is no history, or it is damaged.
    """
    history = run.read_json("history.json", None)
    if not history:
        raise RunError(f"{run.folder}: no history.json with at least one epoch; train the run first")
    try:
        records = [EpochRecord(**{key: epoch[key] for key in EpochRecord.__dataclass_fields__}) for epoch in history]
        # Raises if there is text instead of a number.
        sum(record.loss + record.validation_loss + record.accuracy + record.validation_accuracy for record in records)
    except (KeyError, TypeError) as error:
        raise RunError(f"{run.folder / 'history.json'}: not a history of epochs ({error!r})") from error
    return records


def _qat_text(records: Sequence[EpochRecord], before: Sequence[EpochRecord] | None) -> str:
    # QAT starts from a trained network, so overfitting and underfitting do not apply.
    best = max(records, key=lambda record: record.validation_accuracy)
    text = (
        f"Quantization-aware training. {len(records)} epoch{'s' if len(records) > 1 else ''}; epoch {best.epoch} had "
        f"the highest validation accuracy, {best.validation_accuracy:.2%}"
    )
    if not before:
        return f"{text}."
    reached = max(record.validation_accuracy for record in before)
    points = (best.validation_accuracy - reached) * 100
    return f"{text}, {points:+.2f} points compared with the float network's {reached:.2%}."


def _curves(records: Sequence[EpochRecord], name: str) -> Figure:
    percent = name == "accuracy"
    factor = 100 if percent else 1
    axes = _epoch_axes(records, "accuracy, %" if percent else name)
    validation = [getattr(record, f"validation_{name}") * factor for record in records]
    # A line needs two epochs to be visible.
    marker = "o" if len(records) < 4 else None
    for values, colour, label in (
        ([getattr(record, name) * factor for record in records], figures.BLUE, "training"),
        (validation, figures.RED, "validation"),
    ):
        axes.plot(_epochs(records), values, color=colour, label=label, linewidth=1.4, marker=marker)
    if percent:
        for _, group in groupby(enumerate(records), key=lambda item: item[1].phase):
            best = max((index for index, _ in group), key=lambda index: validation[index])
            axes.plot(_epochs(records)[best], validation[best], "o", color=figures.RED, markeredgecolor=figures.PAPER)
    axes.legend(loc="lower right" if percent else "upper right")
    return figures.figure_of(axes)


def _learning_rate(records: Sequence[EpochRecord]) -> Figure:
    axes = _epoch_axes(records, "learning rate")
    rates = [record.learning_rate for record in records]
    axes.plot(_epochs(records), rates, ".-", color=figures.BLUE, linewidth=1.2, markersize=4)
    if min(rates) > 0:
        figures.logarithmic(axes.yaxis)
    return figures.figure_of(axes)


def _epochs(records: Sequence[EpochRecord]) -> list[int]:
    """Return the epoch of each record, counted over all phases; not each epoch needs a record."""
    found: list[int] = []
    for _, group in groupby(records, key=lambda record: record.phase):
        before = found[-1] if found else 0
        found += [before + record.epoch for record in group]
    return found


def _epoch_axes(records: Sequence[EpochRecord], label: str) -> Axes:
    from matplotlib.ticker import MaxNLocator

    axes = figures.new_axes(2.9)
    axes.set_xlabel("epoch, over all phases")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    epochs = _epochs(records)
    axes.set_xlim(0.5, epochs[-1] + 0.5)
    for place, record in zip(epochs, records, strict=True):
        if record.phase == QAT:
            axes.axvspan(place - 0.5, place + 0.5, color=figures.AMBER, alpha=0.18, linewidth=0)
    return axes
