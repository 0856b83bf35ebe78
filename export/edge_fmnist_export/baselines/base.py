"""The interface of a classical baseline: features, estimator, search grid, pixel importance and file format."""

from __future__ import annotations

import warnings
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edge_fmnist_export.training.batches import Subset

# Called with the current step, the number of items done, and the total (None if unknown).
StepProgress = Callable[[str, int, int | None], None]
Predict = Callable[[np.ndarray], np.ndarray]
Settings = Mapping[str, Any]
# Edge of the square blocks that permutation importance shuffles, in pixels, and the number of images it uses.
BLOCK, BLOCK_IMAGES = 4, 1000


def no_progress(step: str, done: int, total: int | None) -> None:
    """Ignore progress."""


@dataclass(frozen=True, eq=False)
class BaselineData:
    """Training and validation data of a baseline: features, float32 (N, F), and classes, numbered from 0 without gaps.

    ``threads`` is the maximum number of CPU cores.
    """

    features: np.ndarray
    classes: np.ndarray
    validation_features: np.ndarray
    validation_classes: np.ndarray
    seed: int
    threads: int


class Baseline(ABC):
    """A classical classifier.

    Attributes:
        name: name on the command line.
        defaults: estimator settings, named as in the estimator's library; chosen on validation images.
        grid: values that a grid search tries.
        file_name: file name of the fitted model.
        importance_method: how pixel importance is measured.
        trusted: types that ``load`` accepts beyond those that skops trusts.
        modules: required modules.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    defaults: ClassVar[Settings]
    grid: ClassVar[Mapping[str, Sequence[Any]]]
    file_name: ClassVar[str] = "model.skops"
    importance_method: ClassVar[str] = "accuracy lost when a block of 4x4 pixels is shuffled among validation images"
    trusted: ClassVar[tuple[str, ...]] = ()
    modules: ClassVar[tuple[str, ...]] = ("sklearn", "skops")

    def features(self, images: np.ndarray, progress: StepProgress = no_progress) -> np.ndarray:  # noqa: ARG002
        """Return the estimator's input for images, uint8 (N, 28, 28): float32, shape (N, F).

        By default, these are the pixels, 0 to 1. ``progress`` is called with the number of images done.
        """
        pixels: np.ndarray = images.reshape(len(images), -1).astype(np.float32) / np.float32(255)
        return pixels

    @abstractmethod
    def estimator(self, data: BaselineData, settings: Settings) -> Any:
        """Return an unfitted estimator with scikit-learn's interface."""

    def fit_arguments(self, data: BaselineData) -> dict[str, Any]:  # noqa: ARG002
        """Return extra keyword arguments of the estimator's ``fit``."""
        return {}

    def watched(self, estimator: Any, after_round: Callable[[int], None]) -> Any:  # noqa: ARG002
        """Return the estimator, whose fit calls ``after_round`` with the number of finished rounds, if it has any."""
        return estimator

    def fit(self, data: BaselineData, settings: Settings, progress: StepProgress = no_progress) -> Any:
        """Return an estimator that was fitted on the training data."""
        progress("fitting", 0, None)
        with convergence_warnings_ignored():
            return self.estimator(data, settings).fit(data.features, data.classes, **self.fit_arguments(data))

    def facts(self, estimator: Any) -> dict[str, Any]:
        """Return facts about a fitted estimator for the results file."""
        return {"features": int(estimator.n_features_in_)}

    def importance(
        self,
        estimator: Any,  # noqa: ARG002
        predict: Predict,
        validation: Subset,
        seed: int,
        progress: StepProgress = no_progress,
    ) -> np.ndarray:
        """Return the importance of each pixel, by default by permutation of blocks.

        ``predict`` maps images, uint8 (N, 28, 28), to class indexes, shape (N,).

        Returns:
            float64, shape (28, 28).
        """
        return block_importance(predict, validation, seed, progress)

    def save(self, estimator: Any, path: Path) -> None:
        """Write a fitted estimator in the skops format, which contains no code (https://skops.readthedocs.io)."""
        from skops import io

        io.dump(estimator, path, compression=zipfile.ZIP_DEFLATED)

    def load(self, path: Path) -> Any:
        """Read a fitted estimator; only types of scikit-learn and NumPy that skops trusts are created.

        Raises:
            ValueError, OSError, KeyError, zipfile.BadZipFile: the file is damaged or contains other types.
        """
        from skops import io

        return io.load(path, trusted=list(self.trusted))


@contextmanager
def convergence_warnings_ignored() -> Iterator[None]:
    """Ignore scikit-learn's ConvergenceWarning; the results file records whether a fit converged."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def block_importance(predict: Predict, validation: Subset, seed: int, progress: StepProgress) -> np.ndarray:
    """Return the permutation importance of 4x4 pixel blocks (Breiman 2001, "Random forests", section 10).

    A single pixel has almost no importance when its neighbours carry the same information, so whole blocks are shuffled
    among at most 1,000 of the validation images. Values below 0 are noise. ``predict`` maps images, uint8 (N, 28, 28),
    to class indexes.

    Returns:
        Accuracy lost, float64, shape (28, 28), at most 1; the same for all pixels of a block.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(validation))[:BLOCK_IMAGES]
    images, targets = validation.images[chosen], validation.targets[chosen]
    accuracy = float((predict(images) == targets).mean())
    edge = images.shape[1] // BLOCK
    losses = np.zeros((edge, edge))
    for number, (row, column) in enumerate(np.ndindex(edge, edge), start=1):
        block = np.s_[:, row * BLOCK : (row + 1) * BLOCK, column * BLOCK : (column + 1) * BLOCK]
        shuffled = images.copy()
        shuffled[block] = images[block][rng.permutation(len(images))]
        losses[row, column] = accuracy - float((predict(shuffled) == targets).mean())
        progress("importance of blocks", number, edge * edge)
    return losses.repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)
