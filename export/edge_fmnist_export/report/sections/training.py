"""Section Training: how loss, accuracy and learning rate went, and what that says."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from edge_fmnist.errors import RunError
from edge_fmnist_export.report import figures, verdict
from edge_fmnist_export.report.base import Context, Figure, Section, Table
from edge_fmnist_export.report.verdict import Verdict
from edge_fmnist_export.training.phase import EpochRecord
from edge_fmnist_export.training.run_folder import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

VERSION = 1
ROWS_SHOWN = 10
QAT = "qat"
PHASE_NAMES = {"float": "float training", QAT: "quantization-aware training"}
COLUMNS = (
    "phase",
    "epoch",
    "loss",
    "accuracy",
    "validation_loss",
    "validation_accuracy",
    "learning_rate",
    "seconds",
)


def build(context: Context) -> Section:
    """Draw the curves of the run and judge them."""
    if context.run is None:
        return Section(
            "Training",
            ["A model file does not say how its training went. Name the run folder it came from with --run."],
            summary={"epochs": 0},
        )
    records = read_history(context.run)
    phases = {name: list(group) for name, group in groupby(records, key=lambda record: record.phase)}
    verdicts = {name: verdict.judge(group) for name, group in phases.items()}
    return Section(
        "Training",
        text=[*_paragraphs(phases, verdicts), _remark(context.run)],
        figures=[
            Figure(
                "loss",
                _curves(records, "loss", "loss", legend="upper right"),
                "Loss on training and validation images." + _shade(phases),
            ),
            Figure(
                "accuracy",
                _curves(records, "accuracy", "accuracy, %", 100, legend="lower right"),
                "Accuracy on training and validation images; the dot is the epoch that was kept." + _shade(phases),
            ),
            Figure(
                "learning-rate", _learning_rate(records), "Learning rate at the end of each epoch." + _shade(phases)
            ),
        ],
        tables=[_table(records)],
        summary={"epochs": len(records), "verdict": {name: found.as_dict() for name, found in verdicts.items()}},
    )


def read_history(run: Run) -> list[EpochRecord]:
    """Return the epochs of a run.

    Raises:
        RunError: there is no history, or it is damaged.
    """
    history = run.read_json("history.json", None)
    if not history:
        raise RunError(f"{run.folder}: has no history.json with at least one epoch; train the run first")
    try:
        known = EpochRecord.__dataclass_fields__
        records = [EpochRecord(**{key: epoch[key] for key in known}) for epoch in history]
        # Adding finds text where a number should be.
        sum(record.loss + record.validation_loss + record.accuracy + record.validation_accuracy for record in records)
    except (KeyError, TypeError) as error:
        raise RunError(f"{run.folder / 'history.json'}: not a history of epochs ({error!r})") from error
    return records


def _paragraphs(phases: dict[str, list[EpochRecord]], verdicts: dict[str, Verdict]) -> list[str]:
    paragraphs = []
    for name, found in verdicts.items():
        heading = PHASE_NAMES.get(name, name)
        if name == QAT:
            # It starts from a trained network, so that over- and underfitting are not what matters.
            paragraphs.append(_qat(phases[name], phases.get("float")))
        else:
            paragraphs.append(f"{heading[0].upper()}{heading[1:]}. {found.sentences()}")
    return paragraphs


def _qat(records: Sequence[EpochRecord], before: Sequence[EpochRecord] | None) -> str:
    best = max(records, key=lambda record: record.validation_accuracy)
    text = (
        f"Quantization-aware training. {len(records)} epoch{'s' if len(records) > 1 else ''}; the best, "
        f"{best.epoch}, reached {best.validation_accuracy:.2%} on the validation images"
    )
    if not before:
        return f"{text}."
    reached = max(record.validation_accuracy for record in before)
    points = (best.validation_accuracy - reached) * 100
    return f"{text}, {points:+.2f} points beside the float network's {reached:.2%}."


def _remark(run: Run) -> str:
    recipe = run.recipe
    return (
        f"Validation: {recipe.data.validation:,} images held out of the train split; the test split chose nothing. "
        "Training figures are means over an epoch in which the network still changed, on augmented images, so they "
        "lie a little lower than those of the finished network on plain images."
    )


def _shade(phases: dict[str, list[EpochRecord]]) -> str:
    return " Shaded: quantization-aware training (QAT)." if QAT in phases else ""


def _curves(records: Sequence[EpochRecord], what: str, label: str, factor: float = 1, *, legend: str) -> Drawing:
    axes = _epoch_axes(records, label)
    places = range(1, len(records) + 1)
    trained = [getattr(record, what) * factor for record in records]
    validated = [getattr(record, f"validation_{what}") * factor for record in records]
    marker = "o" if len(records) < 4 else None
    axes.plot(places, trained, color=figures.BLUE, label="training", linewidth=1.4, marker=marker)
    axes.plot(places, validated, color=figures.RED, label="validation", linewidth=1.4, marker=marker)
    if what == "accuracy":
        _mark_best(axes, records, factor)
    axes.legend(loc=legend)
    return figures.figure_of(axes)


def _mark_best(axes: Axes, records: Sequence[EpochRecord], factor: float) -> None:
    start = 0
    for _, group in groupby(records, key=lambda record: record.phase):
        epochs = list(group)
        best = max(range(len(epochs)), key=lambda index: epochs[index].validation_accuracy)
        height = epochs[best].validation_accuracy * factor
        axes.plot(start + best + 1, height, "o", color=figures.RED, markersize=6, markeredgecolor=figures.PAPER)
        start += len(epochs)


def _learning_rate(records: Sequence[EpochRecord]) -> Drawing:
    axes = _epoch_axes(records, "learning rate")
    rates = [record.learning_rate for record in records]
    axes.plot(range(1, len(rates) + 1), rates, ".-", color=figures.BLUE, linewidth=1.2, markersize=4)
    if min(rates) > 0:
        axes.set_yscale("log")
    return figures.figure_of(axes)


def _epoch_axes(records: Sequence[EpochRecord], label: str) -> Axes:
    from matplotlib.ticker import MaxNLocator

    axes = figures.new_axes(2.9)
    axes.set_xlabel("epoch, all phases counted on")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(0.5, len(records) + 0.5)
    for place, record in enumerate(records, start=1):
        if record.phase == QAT:
            axes.axvspan(place - 0.5, place + 0.5, color=figures.AMBER, alpha=0.18, linewidth=0)
    return axes


def _table(records: Sequence[EpochRecord]) -> Table:
    return Table(
        "history",
        [column.replace("_", " ") for column in COLUMNS],
        [[getattr(record, column) for column in COLUMNS] for record in reversed(records)],
        "The epochs, the last first.",
        shown=ROWS_SHOWN,
    )
