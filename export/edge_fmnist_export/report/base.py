"""The inputs and outputs of a report section.

A section is a module of :mod:`edge_fmnist_export.report.sections` with a ``VERSION``, increased whenever its content
changes, and a function ``build(context) -> ReportSection``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_fmnist.data.dataset import Split
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.predictions import Predictions
from edge_fmnist_export.report.explain.scorer import Scorer, load_float_model, of_network
from edge_fmnist_export.training.run_folder import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Called with the current step and the share of the section that is done, 0 to 1.
ShareProgress = Callable[[str, float], None]


def no_progress(step: str, share: float) -> None:
    """Ignore progress."""


@dataclass(frozen=True, eq=False)
class ReportFigure:
    """A figure of a section: a matplotlib figure, or the bytes of an SVG file.

    Attributes:
        name: file name without suffix, unique in the section; lower case, words joined by hyphens.
        caption: one or two sentences; also the alternative text for screen readers.
    """

    name: str
    content: Figure | bytes
    caption: str


@dataclass(frozen=True)
class ReportTable:
    """A table of a section; its cells are text, numbers or None.

    Attributes:
        name: file name without suffix, as for a figure.
        shown: number of rows on the page; None shows all. The CSV and JSON files contain all rows.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str
    shown: int | None = None


@dataclass(frozen=True)
class Tile:
    """A headline figure at the top of the page: a label, a value, and a short note."""

    label: str
    value: str
    note: str


@dataclass(frozen=True, eq=False)
class ReportSection:
    """A section of the report; ``summary`` holds plain values for ``--json`` and ``report.json``."""

    title: str
    text: Sequence[str] = ()
    figures: Sequence[ReportFigure] = ()
    tables: Sequence[ReportTable] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    tiles: Sequence[Tile] = ()


@dataclass(frozen=True, eq=False)
class ReportContext:
    """What sections are built from. Slow values are computed on first use.

    Attributes:
        name: name of the model in the report.
        classifier: the ``.tflite`` file at ``model_path``, loaded.
        run: the training run of the file, with its history and float weights; None if unknown.
        output: folder of the report.
        progress: called with the progress of the section.
        given_labels: names of the classes from the user, in place of the file's.
    """

    name: str
    model_path: Path
    classifier: Classifier
    run: Run | None
    train: Split
    test: Split
    labels: tuple[str, ...]
    output: Path
    seed: int = 0
    progress: ShareProgress = no_progress
    given_labels: tuple[str, ...] | None = None

    @functools.cached_property
    def predictions(self) -> Predictions:
        """The file's predictions for the test split."""
        return self.classifier.predict_batch(self.test.images)

    @functools.cached_property
    def float_scorer(self) -> Scorer | None:
        """The float Keras model of the run, with the file's temperature; None without a run.

        Raises:
            MissingExtraError: the extra ``[export]`` is not installed.
            RunError: the weights are missing, damaged or do not fit.
        """
        if self.run is None:
            return None
        return of_network(
            load_float_model(self.run),
            self.name,
            self.labels,
            flip_tta=self.classifier.flip_tta,
            temperature=self.classifier.temperature,
        )

    @functools.cached_property
    def float_scores(self) -> np.ndarray | None:
        """The float model's probabilities for the test split, float32, shape (N, classes); None without a run."""
        return None if self.float_scorer is None else self.float_scorer.scores(self.test.images)
