"""Augmentation, vectorised over the batch in NumPy.

One implementation serves every Keras back end and ``tf_keras``: it works on
uint8 batches before they enter the graph, where it costs a few per cent of a
training step (``tests/export/test_augment.py`` and ``export/RESULTS.md``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_fmnist.vision.preprocess import DARKEST

if TYPE_CHECKING:
    from edge_fmnist_export.training.recipe import Augmentation

# Ground that a mask takes in turns as grey as a garment; black is lost to the mask.
LEAKED, DROPPED = (DARKEST, 255), (0, 0)


def shift(images: np.ndarray, limit: int, rng: np.random.Generator) -> np.ndarray:
    """Return each image moved by up to ``limit`` pixels each way, the gap filled with background (0).

    Args:
        images: uint8, shape (N, H, W).
        limit: largest shift in pixels.
        rng: where the shifts come from.
    """
    count, height, width = images.shape
    padded = np.pad(images, ((0, 0), (limit, limit), (limit, limit)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    rows, columns = rng.integers(0, 2 * limit + 1, (2, count))
    shifted: np.ndarray = windows[np.arange(count), rows, columns]
    return shifted


def flip(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the images (N, H, W), each mirrored left to right with probability 1/2."""
    chosen = rng.random(len(images)) < 0.5
    return np.where(chosen[:, None, None], images[:, :, ::-1], images)


def erase(images: np.ndarray, probability: float, area: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Return the images with a random rectangle of noise in a share of them.

    Random erasing, Zhong et al. 2017, arXiv:1708.04896: the area uniform in
    ``area`` (shares of the image), the aspect ratio log-uniform from 0.3 to
    3.3, the rectangle filled with uniform noise.

    Args:
        images: uint8, shape (N, H, W).
        probability: share of the images that are erased, 0 to 1.
        area: smallest and largest erased share of an image.
        rng: where the choices come from.
    """
    inside = _rectangles(images.shape, probability, area, rng)
    result = images.copy()
    result[inside] = rng.integers(0, 256, int(inside.sum()), dtype=np.uint8)
    return result


def _rectangles(
    shape: tuple[int, ...], probability: float, area: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """Return bool masks for images of shape (N, H, W), with a random rectangle in a share of them, else empty."""
    count, height, width = shape
    pixels = rng.uniform(*area, count) * height * width
    ratio = np.exp(rng.uniform(np.log(0.3), np.log(3.3), count))
    rows = np.clip(np.sqrt(pixels * ratio).round(), 1, height).astype(int)
    columns = np.clip(np.sqrt(pixels / ratio).round(), 1, width).astype(int)
    rows[rng.random(count) >= probability] = 0
    top = rng.integers(0, height - rows + 1)
    left = rng.integers(0, width - columns + 1)
    y, x = np.arange(height), np.arange(width)
    in_rows = (y >= top[:, None]) & (y < (top + rows)[:, None])
    in_columns = (x >= left[:, None]) & (x < (left + columns)[:, None])
    inside: np.ndarray = in_rows[:, :, None] & in_columns[:, None, :]
    return inside


def cover(
    images: np.ndarray, probability: float, area: tuple[float, float], values: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """Return the images with a random rectangle of one grey value in a share of them.

    The rectangles are those of :func:`erase`; the grey value is drawn for each image.

    Args:
        images: uint8, shape (N, H, W).
        probability: share of the images that are covered, 0 to 1.
        area: smallest and largest covered share of an image.
        values: smallest and largest grey value, 0 to 255.
        rng: where the choices come from.
    """
    inside = _rectangles(images.shape, probability, area, rng)
    greys = rng.integers(values[0], values[1] + 1, len(images), dtype=np.uint8)
    return np.where(inside, greys[:, None, None], images)


def mixup(
    images: np.ndarray, targets: np.ndarray, alpha: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return images and targets blended with those of another image of the batch.

    Mixup, Zhang et al. 2017, arXiv:1710.09412, with one weight for each image.

    Args:
        images: float32, shape (N, H, W).
        targets: float32 class probabilities, shape (N, classes).
        alpha: both parameters of the Beta distribution the weights come from.
        rng: where weights and partners come from.
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
    """Return images with a rectangle of another image of the batch, and targets blended by its share of the image.

    CutMix, Yun et al. 2019, arXiv:1905.04899, with a rectangle for each image:
    of the image's form, its centre anywhere, so that an edge may cut it off.
    Targets follow the pixels that were in fact replaced.

    Args:
        images: float32, shape (N, H, W).
        targets: float32 class probabilities, shape (N, classes).
        alpha: both parameters of the Beta distribution that the shares of the images' own pixels come from.
        rng: where rectangles and partners come from.
    """
    count, height, width = images.shape
    partner = rng.permutation(count)
    side = np.sqrt(1 - rng.beta(alpha, alpha, count))
    in_rows = _span(height, side, rng)
    in_columns = _span(width, side, rng)
    inside = in_rows[:, :, None] & in_columns[:, None, :]
    weight = 1 - inside.mean(axis=(1, 2), dtype=np.float32)[:, None]
    return np.where(inside, images[partner], images), targets * weight + targets[partner] * (1 - weight)


def _span(length: int, share: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return bool (N, length): for each share (N,) an interval that long around a random centre, cut off at the ends.

    Sizes are rounded down to whole pixels, as in the authors' code.
    """
    size = (length * share).astype(int)
    start = rng.integers(0, length, len(share)) - size // 2
    place = np.arange(length)
    inside: np.ndarray = (place >= start[:, None]) & (place < (start + size)[:, None])
    return inside


def mix(
    images: np.ndarray, targets: np.ndarray, settings: Augmentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return a batch mixed by mixup or by CutMix, by either with probability 1/2 where both are on.

    Args:
        images: float32, shape (N, H, W).
        targets: float32, shape (N, any): rows of probabilities, which are all blended alike.
        settings: which of the two; with neither, nothing changes and nothing is drawn.
        rng: where all randomness comes from.
    """
    if settings.mixup and (not settings.cutmix or rng.random() < 0.5):
        return mixup(images, targets, settings.mixup, rng)
    if settings.cutmix:
        return cutmix(images, targets, settings.cutmix, rng)
    return images, targets


def vary(images: np.ndarray, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Return the images (uint8, (N, 28, 28)) varied in all ways but mixup and CutMix, which need the targets."""
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
    """Return an augmented batch as a network takes it.

    Args:
        images: uint8, shape (N, 28, 28).
        targets: float32 class probabilities, shape (N, 10).
        settings: which augmentations, and how strong.
        rng: where all randomness comes from.

    Returns:
        Images as float32 (N, 28, 28, 1), values 0 to 1, and the targets.
    """
    result = vary(images, settings, rng).astype(np.float32) / np.float32(255)
    result, targets = mix(result, targets, settings, rng)
    return result[..., None], targets
