"""What every baseline is: features, an estimator, settings and their grid, importance, and a file to keep it in."""

from __future__ import annotations

import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edge_fmnist_export.training.batches import Subset

# What is being done, how much of it is done, and of how much; None where that is not known.
Advance = Callable[[str, int, int | None], None]
Settings = Mapping[str, Any]
Grid = Mapping[str, Sequence[Any]]


def silent(message: str, done: int, of: int | None) -> None:
    """Tell nobody."""


@dataclass(frozen=True, eq=False)
class Material:
    """What a baseline is fitted on.

    Attributes:
        features: one row for each training image, shape (N, F).
        classes: the class of each, counted from 0 without a gap, shape (N,).
        validation_features: rows of images that are not trained on, shape (M, F).
        validation_classes: their classes, shape (M,).
        seed: decides all chance.
        threads: how many cores may be used.
        advance: is told how far the fit is.
    """

    features: np.ndarray
    classes: np.ndarray
    validation_features: np.ndarray
    validation_classes: np.ndarray
    seed: int
    threads: int
    advance: Advance = silent

    def part(self, chosen: np.ndarray, advance: Advance) -> Material:
        """Return the training images that indexes choose, with the same validation images."""
        return replace(self, features=self.features[chosen], classes=self.classes[chosen], advance=advance)


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted estimator of scikit-learn's interface, and what is worth telling of the fit, as plain values."""

    estimator: Any
    facts: dict[str, Any] = field(default_factory=dict)


class Baseline(ABC):
    """A classical method. Subclasses say how it sees images and how it is fitted.

    Attributes:
        name: what the command line calls it.
        title: what it is, for people.
        defaults: its settings, as its library names them. They were chosen on validation images.
        grid: the values that a grid search tries for some of the settings.
        file_name: the name of the file that keeps the fitted model.
        importance_method: how the importance of a pixel is measured.
        trusted: types beyond those that skops trusts, which ``load`` checks itself.
        modules: the modules it needs.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    defaults: ClassVar[Settings]
    grid: ClassVar[Grid]
    file_name: ClassVar[str] = "model.skops"
    importance_method: ClassVar[str]
    trusted: ClassVar[tuple[str, ...]] = ()
    modules: ClassVar[tuple[str, ...]] = ("sklearn", "skops")

    def features(self, images: np.ndarray, advance: Advance = silent) -> np.ndarray:  # noqa: ARG002 - for subclasses
        """Return what the estimator sees of images: here the pixels, float32, shape (N, 784), 0 to 1.

        Args:
            images: uint8, shape (N, 28, 28).
            advance: is told how many images are done.
        """
        pixels: np.ndarray = images.reshape(len(images), -1).astype(np.float32) / np.float32(255)
        return pixels

    @abstractmethod
    def fit(self, material: Material, settings: Settings) -> Fit:
        """Fit an estimator.

        Args:
            material: what to fit it on.
            settings: all of its settings, as in ``defaults``.
        """

    def importance(
        self,
        estimator: Any,
        predict: Callable[[np.ndarray], np.ndarray],  # noqa: ARG002 - for subclasses
        validation: Subset,  # noqa: ARG002
        seed: int,  # noqa: ARG002
        advance: Advance = silent,  # noqa: ARG002
    ) -> np.ndarray:
        """Return how much each pixel counts, float64, shape (28, 28); by default the estimator's own measure.

        Args:
            estimator: the fitted estimator.
            predict: from images, uint8 (N, 28, 28), to the indexes of their classes.
            validation: images that were not trained on.
            seed: decides all chance.
            advance: is told how far it is.
        """
        values = np.asarray(estimator.feature_importances_, np.float64)
        return values.reshape(28, 28)

    def save(self, estimator: Any, path: Path) -> None:
        """Write a fitted estimator in skops' format, which holds no code (https://skops.readthedocs.io)."""
        from skops import io

        io.dump(estimator, path, compression=zipfile.ZIP_DEFLATED)

    def load(self, path: Path) -> Any:
        """Return the estimator in a file; only types that skops trusts, of scikit-learn and NumPy, are made.

        Raises:
            ValueError, OSError, KeyError, zipfile.BadZipFile: the file is damaged, or holds other types.
        """
        from skops import io

        return io.load(path, trusted=list(self.trusted))
