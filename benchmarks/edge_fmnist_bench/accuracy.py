"""Accuracy of a variant, through the call that is timed."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import numpy as np

from edge_fmnist.data.dataset import IMAGE_SHAPE, Split
from edge_fmnist_bench.protocol import Accuracy
from edge_fmnist_bench.variants.base import BenchmarkVariant, Runner, VariantError


def accuracy(
    variant: BenchmarkVariant, single: Runner | None, split: Split, settings: Accuracy, threads: int
) -> dict[str, Any]:
    """Return top-1 accuracy on a split, through the timed call.

    Where single images would take too long, the variant is opened for batches if possible.

    Args:
        variant: the variant.
        single: its call for one image; None opens it.
        split: images and targets.
        settings: time budget and batch size.
        threads: threads of the variant.

    Raises:
        VariantError: it cannot run here, or its outputs are not finite.
    """
    single = single or variant.open(threads=threads, batch=1)
    single(split.images[:1])
    started = time.perf_counter()
    single(split.images[:1])
    batch = 1
    if (time.perf_counter() - started) * len(split) > settings.budget_seconds:
        # A model with a fixed batch of one image stays with single images.
        with contextlib.suppress(VariantError):
            single, batch = variant.open(threads=threads, batch=settings.batch), settings.batch
    correct = sum(_correct(single, split, start, batch) for start in range(0, len(split), batch))
    return {"top1": round(correct / len(split), 6), "images": len(split), "batch": batch}


def _correct(run: Runner, split: Split, start: int, batch: int) -> int:
    """Return the number of correct answers in a batch; a smaller last batch is padded with black images."""
    images, targets = split.images[start : start + batch], split.targets[start : start + batch]
    if len(images) < batch:
        images = np.concatenate([images, np.zeros((batch - len(images), *IMAGE_SHAPE), np.uint8)])
    outputs = run(images)[: len(targets)]
    if not np.isfinite(outputs).all():
        raise VariantError("gave outputs that are not finite (NaN or infinity)")
    return int((outputs.argmax(axis=1) == targets).sum())
