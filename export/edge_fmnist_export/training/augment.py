"""Augmentation, vectorized over the batch in NumPy, for every Keras back end and for ``tf_keras``.

It works on uint8 batches before they enter the graph, and takes a few per cent of a training step
(``export/RESULTS.md``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_fmnist.vision.preprocess import DARKEST

if TYPE_CHECKING:
    # Needs pydantic, which the baselines, which need batches, do without.
    from edge_fmnist_export.training.recipe import Augmentation

# Background that segmentation takes for garment is as bright as a garment; dropped parts are black.
LEAKED, DROPPED = (DARKEST, 255), (0, 0)


def shift(images: np.ndarray, limit: int, rng: np.random.Generator) -> np.ndarray:
    """Shift each image (uint8, (N, H, W)) by up to ``limit`` pixels in each direction; the gap is filled with 0."""
    count, height, width = images.shape
    padded = np.pad(images, ((0, 0), (limit, limit), (limit, limit)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    rows, columns = rng.integers(0, 2 * limit + 1, (2, count))
    shifted: np.ndarray = windows[np.arange(count), rows, columns]
    return shifted


def flip(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Flip each image (N, H, W) left to right with probability 1/2."""
    chosen = rng.random(len(images)) < 0.5
    return np.where(chosen[:, None, None], images[:, :, ::-1], images)


def erase(images: np.ndarray, probability: float, area: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Fill a random rectangle in a share of the images, uint8 (N, H, W), with uniform noise.

    This is random erasing (Zhong et al. 2017, arXiv:1708.04896). The area, a share of the image, is uniform in
    ``area``, the aspect ratio log-uniform from 0.3 to 3.3.
    """
    inside = _rectangles(images.shape, probability, area, rng)
    result = images.copy()
    result[inside] = rng.integers(0, 256, int(inside.sum()), dtype=np.uint8)
    return result


def cover(
    images: np.ndarray, probability: float, area: tuple[float, float], values: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """Fill a random rectangle, as in :func:`erase`, with one grey value, from ``values``, for each image."""
    inside = _rectangles(images.shape, probability, area, rng)
    greys = rng.integers(values[0], values[1] + 1, len(images), dtype=np.uint8)
    return np.where(inside, greys[:, None, None], images)


def _rectangles(
    shape: tuple[int, ...], probability: float, area: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """Return bool masks of ``shape`` (N, H, W) with a random rectangle in a share of them."""
    count, height, width = shape
    pixels = rng.uniform(*area, count) * height * width
    ratio = np.exp(rng.uniform(np.log(0.3), np.log(3.3), count))
    rows = np.clip(np.sqrt(pixels * ratio).round(), 1, height).astype(int)
    columns = np.clip(np.sqrt(pixels / ratio).round(), 1, width).astype(int)
    rows[rng.random(count) >= probability] = 0
    top = rng.integers(0, height - rows + 1)
    left = rng.integers(0, width - columns + 1)
    inside: np.ndarray = _interval(height, top, rows)[:, :, None] & _interval(width, left, columns)[:, None, :]
    return inside


def _interval(length: int, start: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return bool (N, length), true from each start (N,) on for each size (N,), cut off at the ends."""
    place = np.arange(length)
    inside: np.ndarray = (place >= start[:, None]) & (place < (start + size)[:, None])
    return inside


def mixup(
    images: np.ndarray, targets: np.ndarray, alpha: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Blend each image, and its targets, with another of the batch (mixup, Zhang et al. 2017, arXiv:1710.09412).

    The weight is drawn for each image from a Beta distribution with both parameters ``alpha``. Images are float32 (N,
    H, W), targets float32 class probabilities (N, classes).
    """
    partner = rng.permutation(len(images))
    weight = rng.beta(alpha, alpha, len(images)).astype(np.float32)
    image_weight, target_weight = weight[:, None, None], weight[:, None]
    return (
        images * image_weight + images[partner] * (1 - image_weight),
        targets * target_weight + targets[partner] * (1 - target_weight),
    )


def cutmix(
    images: np.ndarray, targets: np.ndarray, alpha: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Replace a rectangle by that of another image of the batch (CutMix, Yun et al. 2019, arXiv:1905.04899).

    The rectangle has the image's aspect ratio, and its center is anywhere, so the border may cut it off. The share of
    own pixels is drawn from a Beta distribution with both parameters ``alpha``; the targets are weighted by the share
    of pixels that were replaced. Arrays are as in :func:`mixup`.
    """
    count, height, width = images.shape
    partner = rng.permutation(count)
    side = np.sqrt(1 - rng.beta(alpha, alpha, count))
    in_rows, in_columns = _centered(height, side, rng), _centered(width, side, rng)
    inside = in_rows[:, :, None] & in_columns[:, None, :]
    weight = 1 - inside.mean(axis=(1, 2), dtype=np.float32)[:, None]
    return np.where(inside, images[partner], images), targets * weight + targets[partner] * (1 - weight)


def _centered(length: int, share: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an interval for each share (N,) of the length, around a random center; sizes are rounded down."""
    size = (length * share).astype(int)
    return _interval(length, rng.integers(0, length, len(share)) - size // 2, size)


def mix(
    images: np.ndarray, targets: np.ndarray, settings: Augmentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Apply mixup or CutMix to a batch; with both on, either with probability 1/2; with both off, nothing is drawn.

    Images are float32 (N, H, W), targets float32 rows of any length.
    """
    if settings.mixup and (not settings.cutmix or rng.random() < 0.5):
        return mixup(images, targets, settings.mixup, rng)
    if settings.cutmix:
        return cutmix(images, targets, settings.cutmix, rng)
    return images, targets


def vary(images: np.ndarray, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Apply every augmentation except for mixup and CutMix, which change the targets, to uint8 images (N, 28, 28)."""
    if settings.shift:
        images = shift(images, settings.shift, rng)
    if settings.flip:
        images = flip(images, rng)
    if settings.erasing:
        images = erase(images, settings.erasing, settings.erasing_area, rng)
    if settings.dropping:
        images = cover(images, settings.dropping, settings.erasing_area, DROPPED, rng)
    if settings.leaking:
        images = cover(images, settings.leaking, settings.erasing_area, LEAKED, rng)
    return images


def augment(
    images: np.ndarray, targets: np.ndarray, settings: Augmentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Augment a batch: images, uint8 (N, 28, 28), and float32 class probabilities, (N, 10).

    Returns:
        Images as float32 (N, 28, 28, 1), values 0 to 1, and the targets.
    """
    result = vary(images, settings, rng).astype(np.float32) / np.float32(255)
    result, targets = mix(result, targets, settings, rng)
    return result[..., None], targets
