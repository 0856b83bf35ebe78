"""Fit, evaluate and save a baseline: the work of ``edge-fmnist baseline``.

A part of the training images is held out for validation, as for the networks. The test images are used once, for the
final evaluation, and never for model selection.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_fmnist.cli.signals import interrupted_later
from edge_fmnist.data.dataset import Split
from edge_fmnist.data.files import moved_into_place
from edge_fmnist.errors import CheckError, DataError, UsageError
from edge_fmnist_export.baselines.base import (
    Baseline,
    BaselineData,
    StepProgress,
    convergence_warnings_ignored,
    no_progress,
)
from edge_fmnist_export.baselines.fitted import FittedBaseline, load_estimator
from edge_fmnist_export.report.metrics import ClassificationMetrics, measure
from edge_fmnist_export.training.batches import Subset, split_validation

FOLDS = 3
# One twelfth of the training images, 5,000 of 60,000, is held out for validation, as in the shipped recipes.
VALIDATION_SHARE = 12
# A grid search compares settings on this many images; the best settings are then fitted on all.
SEARCH_IMAGES = 10_000
# A saved model is read back and must predict the same on this many images.
CHECKED_IMAGES = 1000


@dataclass(frozen=True)
class BaselineOptions:
    """Options of a baseline run.

    Attributes:
        grid: choose settings by grid search with cross-validation.
        train_images: number of training images, stratified by class; None means all.
        threads: maximum number of CPU cores.
        ray: address of a Ray cluster that does the fits of the grid search; None does them here.
    """

    grid: bool = False
    train_images: int | None = None
    seed: int = 1
    threads: int = 1
    ray: str | None = None


@dataclass(frozen=True, eq=False)
class BaselineResult:
    """A fitted baseline and its evaluation.

    Attributes:
        settings: the estimator settings used.
        trials: results of the grid search, best first; empty without one.
        train_images: number of images it was fitted on.
        validation: metrics on held-out training images.
        test: metrics on the test images, which are never used for model selection.
        importance: importance of each pixel, float64, shape (28, 28).
        seconds: duration of each step.
    """

    fitted: FittedBaseline
    settings: dict[str, Any]
    trials: list[dict[str, Any]]
    train_images: int
    validation: ClassificationMetrics
    test: ClassificationMetrics
    importance: np.ndarray
    seconds: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        baseline = self.fitted.baseline
        return {
            "baseline": baseline.name,
            "title": baseline.title,
            "labels": list(self.fitted.labels),
            "classes": list(self.fitted.classes),
            "settings": self.settings,
            "fit": baseline.facts(self.fitted.estimator),
            "grid_search": {"folds": FOLDS, "trials": self.trials} if self.trials else None,
            "train_images": self.train_images,
            "validation": self.validation.as_dict(),
            "test": self.test.as_dict(),
            "importance_method": baseline.importance_method,
            "seconds": {step: round(value, 2) for step, value in self.seconds.items()},
        }


def run(
    baseline: Baseline, train: Split, test: Split, options: BaselineOptions, progress: StepProgress = no_progress
) -> BaselineResult:
    """Fit and evaluate a baseline.

    Raises:
        UsageError: ``train_images`` is out of range.
        DataError: the data has fewer than two classes, or too few images for validation.
    """
    subset, validation = split(train, options)
    classes = np.unique(subset.targets)
    seconds: dict[str, float] = {}
    started = time.perf_counter()

    def finish(step: str) -> None:
        nonlocal started
        now = time.perf_counter()
        seconds[step], started = now - started, now

    data = _data(baseline, subset, validation, classes, options, progress)
    finish("features")
    settings = dict(baseline.defaults)
    trials = grid_search(baseline, data, progress, options.ray) if options.grid else []
    if trials:
        settings |= trials[0]["settings"]
        finish("grid search")
    estimator = baseline.fit(data, settings, progress)
    finish("fit")
    fitted = FittedBaseline(baseline, estimator, tuple(map(int, classes)), train.labels)
    measured = {}
    for name, images, targets in (
        ("validation", validation.images, validation.targets),
        ("test", test.images, test.targets),
    ):
        indexes, probabilities = fitted.predict_batch(images, progress)
        measured[name] = measure(targets, indexes, fitted.labels, probabilities)
        finish(name)
    importance = baseline.importance(estimator, fitted.predict, validation, options.seed, progress)
    finish("importance")
    return BaselineResult(
        fitted, settings, trials, len(subset), measured["validation"], measured["test"], importance, seconds
    )


def split(train: Split, options: BaselineOptions) -> tuple[Subset, Subset]:
    """Return the images for fitting and the images for validation.

    Raises:
        UsageError: ``train_images`` is out of range.
        DataError: the data has fewer than two classes, or too few images for validation.
    """
    classes = len(np.unique(train.targets))
    if classes < 2:
        raise DataError(f"expected training images of at least two classes, got {classes}")
    rest, validation = split_validation(train, max(len(train) // VALIDATION_SHARE, classes), options.seed)
    wanted = options.train_images
    if wanted is None or wanted == len(rest):
        return rest, validation
    if len(rest) <= FOLDS * classes:
        raise UsageError(f"{len(rest):,} images are too few to choose --train-images from; leave it out")
    if not FOLDS * classes <= wanted < len(rest):
        raise UsageError(
            f"expected {FOLDS * classes:,} to {len(rest):,} training images, got {wanted:,}; "
            f"{len(validation):,} of {len(train):,} are held out for validation"
        )
    return rest.chosen(np.sort(_stratified(rest.targets, wanted, options.seed))), validation


def grid_search(
    baseline: Baseline, data: BaselineData, progress: StepProgress = no_progress, ray: str | None = None
) -> list[dict[str, Any]]:
    """Evaluate all combinations of a baseline's grid by stratified 3-fold cross-validation.

    At most 10,000 of the training images are used. With ``ray``, the address of a cluster, the cluster does the
    fits.

    Returns:
        For each combination its ``settings``, and the mean ``accuracy`` and its standard ``deviation`` over the folds,
        0 to 1; best first.
    """
    from sklearn.model_selection import GridSearchCV, ParameterGrid, StratifiedKFold

    fits, done = len(ParameterGrid(dict(baseline.grid))) * FOLDS, 0

    def score(estimator: Any, features: np.ndarray, classes: np.ndarray) -> float:
        nonlocal done
        check_interrupt()
        done += 1
        progress("grid search", done, fits)
        return float(estimator.score(features, classes))

    estimator = baseline.estimator(data, baseline.defaults)
    if ray is None:
        estimator = baseline.watched(estimator, lambda _: check_interrupt())
    search = GridSearchCV(
        estimator,
        dict(baseline.grid),
        # On a cluster, the estimator's own score is the same, and need not be sent.
        scoring=score if ray is None else None,
        n_jobs=None if ray is None else -1,
        cv=StratifiedKFold(FOLDS, shuffle=True, random_state=data.seed),
        refit=False,
        error_score="raise",
    )
    count = len(data.classes)
    chosen = _stratified(data.classes, SEARCH_IMAGES, data.seed) if count > SEARCH_IMAGES else np.arange(count)
    progress("grid search", 0, fits)
    with convergence_warnings_ignored(), _fits_on(ray) as check_interrupt:
        search.fit(data.features[chosen], data.classes[chosen], **baseline.fit_arguments(data))
    found = search.cv_results_
    trials = [
        {"settings": dict(settings), "accuracy": round(float(mean), 6), "deviation": round(float(deviation), 6)}
        for settings, mean, deviation in zip(
            found["params"], found["mean_test_score"], found["std_test_score"], strict=True
        )
    ]
    return sorted(trials, key=lambda trial: -trial["accuracy"])


@contextlib.contextmanager
def _fits_on(ray: str | None) -> Iterator[Callable[[], None]]:
    """Let joblib, which scikit-learn uses, run on a Ray cluster inside the block; None: here.

    Yields:
        A function to call between two fits, which raises KeyboardInterrupt if Ctrl-C was pressed.
    """
    if ray is None:
        # xgboost reads the features by a callback of native code.
        with interrupted_later() as check_interrupt:
            yield check_interrupt
        return
    import joblib  # type: ignore[import-untyped]

    from edge_fmnist_export.bulk import cluster

    with cluster.connected(ray):
        from ray.util.joblib import register_ray

        register_ray()
        with joblib.parallel_config("ray"):
            yield lambda: None


def save(result: BaselineResult, path: Path, images: np.ndarray) -> None:
    """Write the fitted model, read it back, and check that it predicts the same.

    The first 1,000 of ``images``, uint8 (N, 28, 28), are used for the check.

    Raises:
        CheckError: the predictions differ; nothing is written.
        OSError: the folder is not writable.
    """
    fitted, checked = result.fitted, images[:CHECKED_IMAGES]
    with moved_into_place(path) as temporary:
        fitted.baseline.save(fitted.estimator, temporary)
        estimator = load_estimator(fitted.baseline, temporary)
        read_back = FittedBaseline(fitted.baseline, estimator, fitted.classes, fitted.labels)
        if differing := int((read_back.predict(checked) != fitted.predict(checked)).sum()):
            raise CheckError(f"{path}: read back, the model predicts {differing} of {len(checked)} images differently")


def _stratified(classes: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return the positions of a random sample with the class proportions of the whole."""
    from sklearn.model_selection import train_test_split

    try:
        chosen, _ = train_test_split(np.arange(len(classes)), train_size=count, stratify=classes, random_state=seed)
    except ValueError as error:
        raise DataError(f"cannot take {count} of {len(classes)} training images of each class: {error}") from error
    return np.asarray(chosen)


def _data(
    baseline: Baseline,
    subset: Subset,
    validation: Subset,
    classes: np.ndarray,
    options: BaselineOptions,
    progress: StepProgress,
) -> BaselineData:
    # A class without training images cannot be predicted, so early stopping ignores it.
    known = validation.chosen(np.isin(validation.targets, classes))
    return BaselineData(
        baseline.features(subset.images, progress),
        np.searchsorted(classes, subset.targets),
        baseline.features(known.images, progress),
        np.searchsorted(classes, known.targets),
        options.seed,
        options.threads,
    )
