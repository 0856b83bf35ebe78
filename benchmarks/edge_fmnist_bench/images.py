"""What variants are fed with, and how right they are."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge_fmnist.data import dataset
from edge_fmnist.data.dataset import IMAGE_SHAPE, Split
from edge_fmnist.errors import DataNotFoundError
from edge_fmnist_bench.protocol import Accuracy
from edge_fmnist_bench.variants.base import Runner, Variant, VariantError

# Where there is no data set: enough that no call sees the same image as the one before.
MADE_UP = 256


class Images(NamedTuple):
    """Images to run on, and what they show.

    Attributes:
        images: uint8, shape (N, 28, 28).
        split: the test set they are; None where they are made up.
    """

    images: np.ndarray
    split: Split | None

    def describe(self) -> dict[str, Any] | None:
        """Return plain values for JSON; None where the images are made up."""
        if self.split is None:
            return None
        return {
            "images": len(self.split),
            "fashion_mnist": dataset.is_fashion_mnist(self.split),
            "sha256": list(self.split.sha256),
        }

    def batch(self, size: int) -> np.ndarray:
        """Return a batch of images, repeated where there are not as many."""
        return np.ascontiguousarray(self.images[np.arange(size) % len(self.images)])


def load_images(folder: Path | None, seed: int) -> Images:
    """Return the test images, or made-up ones where no data set is found.

    Args:
        folder: where the data set is; None searches.
        seed: of made-up images.

    Raises:
        DataNotFoundError: ``folder`` is given and is no data set.
        DataError: the data set is damaged.
    """
    try:
        split = dataset.load("test", folder)
    except DataNotFoundError:
        if dataset.named_folder(folder) is not None:
            raise
        return Images(np.random.default_rng(seed).integers(0, 256, (MADE_UP, *IMAGE_SHAPE), dtype=np.uint8), None)
    return Images(split.images, split)


def accuracy(variant: Variant, single: Runner | None, split: Split, settings: Accuracy, threads: int) -> dict[str, Any]:
    """Return top-1 on a split, through the call that is timed.

    Where one image at a time would take too long, the variant is opened for batches if it can be.

    Args:
        variant: what is evaluated.
        single: its call for one image; None opens it.
        split: images and targets.
        settings: how long it may take, and the batch size.
        threads: of the variant.

    Raises:
        VariantError: it cannot run here.
    """
    single = single or variant.open(threads=threads, batch=1)
    single(split.images[:1])
    started = time.perf_counter()
    single(split.images[:1])
    batch = 1
    if (time.perf_counter() - started) * len(split) > settings.budget_seconds:
        # A model made for one image takes the time it takes.
        with contextlib.suppress(VariantError):
            single, batch = variant.open(threads=threads, batch=settings.batch), settings.batch
    right = sum(_right(single, split, start, batch) for start in range(0, len(split), batch))
    return {"top1": round(right / len(split), 6), "images": len(split), "batch": batch}


def _right(run: Runner, split: Split, start: int, batch: int) -> int:
    """Return how many of a batch's answers are right; a last, smaller batch is filled up with black images."""
    images, targets = split.images[start : start + batch], split.targets[start : start + batch]
    if len(images) < batch:
        images = np.concatenate([images, np.zeros((batch - len(images), *IMAGE_SHAPE), np.uint8)])
    return int((run(images)[: len(targets)].argmax(axis=1) == targets).sum())
