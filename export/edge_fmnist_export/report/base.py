"""What a section of the report is given, and what it gives back.

A section is a module of :mod:`edge_fmnist_export.report.sections` with a
``VERSION``, raised whenever what it says changes, and a function
``build(context) -> Section``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edge_fmnist.data.dataset import Split
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.predictions import Predictions
from edge_fmnist.model.quantization import softmax
from edge_fmnist_export.training.run_folder import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

# What is being done, and the share of the section that is done, 0 to 1.
Progress = Callable[[str, float], None]


def _silent(message: str, share: float) -> None:
    """Tell nobody."""


@dataclass(frozen=True, eq=False)
class Figure:
    """A figure of a section.

    Attributes:
        name: the file's name without suffix, unique in the section: lower case, words joined by hyphens.
        content: a matplotlib figure (written as SVG), or the bytes of an SVG or PNG file. What
            :mod:`edge_fmnist_export.report.figures` draws reads on a phone, and dark and light.
        caption: what it shows, in a sentence or two; also read to those who cannot see it.
        wide: whether it takes the whole width of the page; else two stand side by side where there is room.
    """

    name: str
    content: Drawing | bytes
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class Table:
    """A table of a section.

    Attributes:
        name: the file's name without suffix, unique in the section: lower case, words joined by hyphens.
        columns: the headings.
        rows: plain values: text, numbers, None.
        caption: what it shows.
        shown: how many rows the page shows; None shows all. The files hold all of them.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str
    shown: int | None = None


@dataclass(frozen=True, eq=False)
class Section:
    """A section of the report.

    Attributes:
        title: its heading.
        text: paragraphs of plain text, above figures and tables.
        figures: in the order of the page.
        tables: in the order of the page.
        summary: plain values for ``--json`` and ``report.json``.
    """

    title: str
    text: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Context:
    """What a section may use. What takes long is computed when it is first asked for.

    Attributes:
        name: what the report calls the model.
        model_path: the ``.tflite`` file that is reported on.
        classifier: that file, loaded.
        run: the run the file came from, with its history and float weights; None where it is not known.
        train: the training split.
        test: the test split.
        labels: the names of the classes.
        output: the folder of the report.
        seed: decides all chance.
        progress: is told how far the section is.
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
    progress: Progress = _silent

    @functools.cached_property
    def predictions(self) -> Predictions:
        """What the file answers on the test split."""
        return self.classifier.predict_batch(self.test.images)

    @functools.cached_property
    def float_model(self) -> Any | None:
        """The run's float Keras model, float32 (N, 28, 28, 1), 0 to 1, to logits; None without a run.

        Raises:
            MissingExtraError: the extra ``[export]`` is not installed.
            RunError: the weights are missing, damaged or do not fit.
        """
        from edge_fmnist_export.report.subject import load_float_model

        return None if self.run is None else load_float_model(self.run)

    @functools.cached_property
    def float_scores(self) -> np.ndarray | None:
        """The float model's probabilities on the test split, float32 (N, classes), at the file's temperature."""
        from edge_fmnist_export.training.inference import logits_of

        if self.float_model is None:
            return None
        logits = logits_of(self.float_model, self.test.images, flip_tta=self.classifier.mirrored)
        return softmax(logits / np.float32(self.classifier.temperature))


class SectionModule(Protocol):
    """What a module of a section offers."""

    @property
    def VERSION(self) -> int:  # noqa: N802 - a constant of a module
        """Raised whenever what the section says changes, so that nothing old is shown."""

    def build(self, context: Context) -> Section:
        """Compute the section.

        Raises:
            EdgeFmnistError: it cannot be computed.
        """
