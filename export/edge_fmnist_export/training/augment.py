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


def augment(images: np.ndarray, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Augment a batch of images, uint8 (N, 28, 28); the result has the same form."""
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
