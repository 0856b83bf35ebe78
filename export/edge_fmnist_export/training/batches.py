"""The validation split, and the batches of an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_fmnist.data.dataset import Split
from edge_fmnist.data.labels import LABELS
from edge_fmnist.errors import DataError
from edge_fmnist.model.photos import GARMENTS
from edge_fmnist_export.architectures.registry import CLASSES
from edge_fmnist_export.training.augment import augment

if TYPE_CHECKING:
    from edge_fmnist_export.training.recipe import Augmentation

# Targets of photographs beyond the classes: shoes of any of three classes, and none of the ten classes.
FOOTWEAR, UNKNOWN = CLASSES, CLASSES + 1
# The row of each target: 1 for each correct class, so all 0 for UNKNOWN.
TARGET_ROWS = np.eye(CLASSES + 2, CLASSES, dtype=np.float32)
TARGET_ROWS[FOOTWEAR, [LABELS.index(label) for label in GARMENTS["shoes"]]] = 1
TARGET_ROWS.flags.writeable = False


def scaled(images: np.ndarray) -> np.ndarray:
    """Return images (uint8, (N, 28, 28)) as network input: float32 (N, 28, 28, 1), values 0 to 1."""
    result: np.ndarray = images[..., None].astype(np.float32) / np.float32(255)
    return result


@dataclass(frozen=True)
class Subset:
    """Images (uint8, (N, 28, 28)) and their targets (uint8, (N,)): a class index, FOOTWEAR or UNKNOWN.

    FOOTWEAR and UNKNOWN are only among the ten classes of Fashion-MNIST.
    """

    images: np.ndarray
    targets: np.ndarray
    classes: int = CLASSES

    def __len__(self) -> int:
        return len(self.targets)

    def chosen(self, which: np.ndarray) -> Subset:
        """Return the images that a mask or indexes select."""
        return Subset(self.images[which], self.targets[which], self.classes)

    def inputs(self) -> np.ndarray:
        """Return the images as network input: float32 (N, 28, 28, 1), values 0 to 1."""
        return scaled(self.images)

    def one_hot(self) -> np.ndarray:
        """Return the targets as float32 rows, shape (N, classes): 1 for each correct class, so all 0 for UNKNOWN."""
        rows = TARGET_ROWS if self.classes == CLASSES else np.eye(self.classes, dtype=np.float32)
        encoded: np.ndarray = rows[self.targets]
        return encoded


def join(subsets: Sequence[Subset]) -> Subset:
    """Concatenate subsets."""
    return Subset(
        np.concatenate([subset.images for subset in subsets]), np.concatenate([subset.targets for subset in subsets])
    )


def split_validation(train: Split, count: int, seed: int) -> tuple[Subset, Subset]:
    """Split the training images into a training and a validation subset, stratified by class.

    Returns:
        The training and the validation subset, both in the order of the data set.

    Raises:
        DataError: too few images.
    """
    from sklearn.model_selection import train_test_split

    try:
        rest, held_out = train_test_split(
            np.arange(len(train)), test_size=count, stratify=train.targets, random_state=seed
        )
    except ValueError as error:
        raise DataError(
            f"cannot hold out {count} of {len(train)} training images for validation ({error}); use more images of "
            "each class, or another number of them for validation"
        ) from error
    return tuple(  # type: ignore[return-value]
        Subset(train.images[chosen], train.targets[chosen]) for chosen in (np.sort(rest), np.sort(held_out))
    )


def steps_per_epoch(subset: Subset, batch_size: int) -> int:
    """Return the number of batches in an epoch; an incomplete last batch is dropped.

    Raises:
        DataError: fewer images than one batch.
    """
    if len(subset) < batch_size:
        raise DataError(f"{len(subset)} training images are fewer than one batch of {batch_size}")
    return len(subset) // batch_size


def epoch_batches(
    subset: Subset, batch_size: int, settings: Augmentation, seed: tuple[int, ...], targets: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the shuffled, augmented batches of one epoch, which depend only on the seed.

    The seed consists of the recipe's seed, the phase and the epoch. ``targets``, float32 (N, any), replace those of the
    subset.

    Yields:
        Images, float32 (batch, 28, 28, 1), values 0 to 1, and targets, float32 (batch, 10): 1 for each correct class.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(subset))
    targets = subset.one_hot() if targets is None else targets
    for step in range(steps_per_epoch(subset, batch_size)):
        chosen = order[step * batch_size : (step + 1) * batch_size]
        yield scaled(augment(subset.images[chosen], settings, rng)), targets[chosen]
