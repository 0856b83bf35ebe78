"""Input images of the benchmark."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge_fmnist.data import dataset
from edge_fmnist.data.dataset import IMAGE_SHAPE, Split
from edge_fmnist.errors import DataNotFoundError

# Enough that no call sees the same image as the one before.
GENERATED = 256


class Images(NamedTuple):
    """Input images: uint8, shape (N, 28, 28), and the test set they come from; None for generated images."""

    images: np.ndarray
    split: Split | None

    def describe(self) -> dict[str, Any] | None:
        """Return plain values for JSON; None for generated images."""
        if self.split is None:
            return None
        return {
            "images": len(self.split),
            "fashion_mnist": dataset.is_fashion_mnist(self.split),
            "sha256": list(self.split.sha256),
        }

    def batch(self, size: int) -> np.ndarray:
        """Return ``size`` images, repeated where there are fewer."""
        return np.ascontiguousarray(self.images[np.arange(size) % len(self.images)])


def generated_images(seed: int) -> Images:
    """Return random images."""
    return Images(np.random.default_rng(seed).integers(0, 256, (GENERATED, *IMAGE_SHAPE), dtype=np.uint8), None)


def load_images(folder: Path | None, seed: int) -> Images:
    """Return the test images, or random ones where no data set is found.

    Args:
        folder: folder of the data set; None searches for it.
        seed: random seed of generated images.

    Raises:
        DataNotFoundError: ``folder`` is given and has no data set.
        DataError: the data set is damaged.
    """
    try:
        split = dataset.load("test", folder)
    except DataNotFoundError:
        if dataset.named_folder(folder) is not None:
            raise
        return generated_images(seed)
    return Images(split.images, split)


def mismatch(facts: dict[str, Any], images: Images) -> str | None:
    """Return why a model's accuracy cannot be measured on images; None when it can, or there is no data set.

    Args:
        facts: from :func:`model.describe`.
        images: from :func:`load_images`.
    """
    if not facts["takes_images"]:
        shapes = ", ".join(f"{entry['dtype']} {tuple(entry['shape'])}" for entry in facts["inputs"])
        return f"the model takes {shapes}, not 28x28 images"
    if images.split is None:
        return None
    if facts["own_classes"]:
        return "the model has other classes than the data set"
    if facts["no_scores"]:
        return str(facts["no_scores"])
    scores, classes = math.prod(facts["outputs"][0]["shape"]), int(images.split.targets.max()) + 1
    return None if scores >= classes else f"the model has {scores} outputs, and the data set {classes} classes"
