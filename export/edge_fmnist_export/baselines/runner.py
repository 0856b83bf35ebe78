"""Fit a baseline, measure it, keep it: what ``edge-fmnist baseline`` does.

The training images are split as for the networks: a part of them validates,
and the test images are seen once, at the end.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge_fmnist.data.dataset import Split
from edge_fmnist.data.files import moved_into_place
from edge_fmnist.errors import CheckError, DataError, UsageError
from edge_fmnist_export.baselines.base import Advance, Baseline, Material, silent
from edge_fmnist_export.baselines.fitted import FittedBaseline, load_estimator
from edge_fmnist_export.baselines.search import FOLDS, Trial, search
from edge_fmnist_export.report.metrics import Metrics, measure
from edge_fmnist_export.training.batches import Subset, split_validation

# Of 60,000, 5,000 validate, as in the shipped recipes; of fewer, the same share.
VALIDATION_SHARE = 12
# A grid search compares settings, for which these suffice; the winner is then fitted on all images.
SEARCH_IMAGES = 10_000
# Images on which a file that was written and read back must answer as before.
CHECKED_IMAGES = 1000


@dataclass(frozen=True)
class Options:
    """How a baseline is run.

    Attributes:
        grid: whether a grid search with cross-validation chooses the settings.
        train_images: how many training images to use, drawn by class; None means all.
        seed: decides all chance.
        threads: how many cores may be used.
    """

    grid: bool = False
    train_images: int | None = None
    seed: int = 1
    threads: int = 1


@dataclass(frozen=True, eq=False)
class Outcome:
    """A fitted baseline and what it is worth.

    Attributes:
        fitted: the model.
        settings: the settings that it was fitted with.
        facts: what is worth telling of the fit.
        trials: the combinations of the grid search, the best first; empty without one.
        train_images: how many images it was fitted on.
        validation: metrics on images that were held out of the training images.
        test: metrics on the test images, which chose nothing.
        importance: how much each pixel counts, float64, shape (28, 28).
        seconds: how long each step took.
    """

    fitted: FittedBaseline
    settings: dict[str, Any]
    facts: dict[str, Any]
    trials: list[Trial]
    train_images: int
    validation: Metrics
    test: Metrics
    importance: np.ndarray
    seconds: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "baseline": self.fitted.baseline.name,
            "title": self.fitted.baseline.title,
            "labels": list(self.fitted.labels),
            "classes": list(self.fitted.classes),
            "settings": self.settings,
            "fit": self.facts,
            "grid_search": {"folds": FOLDS, "trials": [trial.as_dict() for trial in self.trials]}
            if self.trials
            else None,
            "train_images": self.train_images,
            "validation": self.validation.as_dict(),
            "test": self.test.as_dict(),
            "importance_method": self.fitted.baseline.importance_method,
            "seconds": {step: round(value, 2) for step, value in self.seconds.items()},
        }


@dataclass
class Clock:
    """Measures steps one after another.

    Attributes:
        seconds: how long each step took.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    _since: float = field(default_factory=time.perf_counter)

    def done(self, step: str) -> None:
        """Note that a step is done, and start the next one."""
        now = time.perf_counter()
        self.seconds[step] = now - self._since
        self._since = now


def run(baseline: Baseline, train: Split, test: Split, options: Options, advance: Advance = silent) -> Outcome:
    """Fit a baseline and measure it.

    Args:
        baseline: what to fit.
        train: the training split; validation is taken from it.
        test: what the finished model is measured on.
        options: how.
        advance: is told how far it is.

    Raises:
        UsageError: more training images wanted than there are, or fewer than two for each class.
        DataError: too few images to hold any out.
    """
    subset, validation = split(train, options)
    clock = Clock()
    classes = np.unique(subset.targets)
    material = _material(baseline, subset, validation, classes, options, advance)
    clock.done("features")
    settings = dict(baseline.defaults)
    trials = _search(baseline, subset, material) if options.grid else []
    if trials:
        settings |= trials[0].settings
        clock.done("grid search")
    fit = baseline.fit(material, settings)
    clock.done("fit")
    fitted = FittedBaseline(baseline, fit.estimator, tuple(map(int, classes)), train.labels)
    validated = _measured(fitted, validation.images, validation.targets, advance)
    clock.done("validation")
    tested = _measured(fitted, test.images, test.targets, advance)
    clock.done("test")
    importance = baseline.importance(fit.estimator, fitted.predict, validation, options.seed, advance)
    clock.done("importance")
    return Outcome(fitted, settings, fit.facts, trials, len(subset), validated, tested, importance, clock.seconds)


def split(train: Split, options: Options) -> tuple[Subset, Subset]:
    """Return the images to fit on and those that validate.

    Raises:
        UsageError: more training images wanted than there are, or fewer than two for each class.
        DataError: too few images to hold any out.
    """
    classes = len(np.unique(train.targets))
    if classes < 2:
        raise DataError(f"expected training images of at least two classes, got {classes}")
    rest, validation = split_validation(train, max(len(train) // VALIDATION_SHARE, classes), options.seed)
    wanted = options.train_images
    if wanted is None or wanted == len(rest):
        return rest, validation
    if not FOLDS * classes <= wanted < len(rest):
        raise UsageError(
            f"expected {FOLDS * classes:,} to {len(rest):,} training images, got {wanted:,}; "
            f"{len(validation):,} of {len(train):,} are held out for validation"
        )
    return _drawn(rest, wanted, options.seed), validation


def save(outcome: Outcome, path: Path, images: np.ndarray) -> None:
    """Write the fitted model to a file, read it back, and check that it answers as before.

    Args:
        outcome: holds the model.
        path: where the file goes.
        images: what is asked, uint8, shape (N, 28, 28); the first 1,000 of them.

    Raises:
        CheckError: it answers otherwise; nothing is written.
        OSError: the folder cannot be written to.
    """
    baseline, fitted, asked = outcome.fitted.baseline, outcome.fitted, images[:CHECKED_IMAGES]
    with moved_into_place(path) as temporary:
        baseline.save(fitted.estimator, temporary)
        again = FittedBaseline(baseline, load_estimator(baseline, temporary), fitted.classes, fitted.labels)
        if differing := int((again.predict(asked) != fitted.predict(asked)).sum()):
            raise CheckError(f"{path}: read back, the model answers {differing} of {len(asked)} images differently")


def _drawn(subset: Subset, count: int, seed: int) -> Subset:
    """Return so many images of a subset, drawn by class, in their order."""
    from sklearn.model_selection import train_test_split

    chosen, _ = train_test_split(np.arange(len(subset)), train_size=count, stratify=subset.targets, random_state=seed)
    return subset.chosen(np.sort(chosen))


def _material(
    baseline: Baseline, subset: Subset, validation: Subset, classes: np.ndarray, options: Options, advance: Advance
) -> Material:
    # A class that no training image has can be neither learned nor validated.
    known = validation.chosen(np.isin(validation.targets, classes))
    return Material(
        baseline.features(subset.images, advance),
        np.searchsorted(classes, subset.targets),
        baseline.features(known.images, advance),
        np.searchsorted(classes, known.targets),
        options.seed,
        options.threads,
        advance,
    )


def _search(baseline: Baseline, subset: Subset, material: Material) -> list[Trial]:
    if len(subset) <= SEARCH_IMAGES:
        return search(baseline, baseline.defaults, material)
    from sklearn.model_selection import train_test_split

    chosen, _ = train_test_split(
        np.arange(len(subset)), train_size=SEARCH_IMAGES, stratify=material.classes, random_state=material.seed
    )
    return search(baseline, baseline.defaults, material.part(chosen, material.advance))


def _measured(fitted: FittedBaseline, images: np.ndarray, targets: np.ndarray, advance: Advance) -> Metrics:
    answers = fitted.answers(images, advance)
    return measure(targets, answers.indexes, fitted.labels, answers.probabilities)
