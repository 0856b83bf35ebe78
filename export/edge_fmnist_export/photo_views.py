"""Photographs as training images: many views of each, put through the runtime's own preprocessing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from edge_fmnist.errors import DataError
from edge_fmnist.labels import LABELS
from edge_fmnist.photos import GARMENTS, Photo, find_photos, ground
from edge_fmnist.pictures import read_picture
from edge_fmnist.preprocess import preprocess, to_bgr
from edge_fmnist_export.batches import FOOTWEAR, UNKNOWN, Subset

# How far a view strays from its photograph: degrees, logarithm of the scale, shares of an edge, logarithms of light.
ROTATION, ZOOM, SHIFT, STRETCH = 12.0, (-0.1, 0.25), 0.05, 0.08
GAMMA, GAIN = 0.35, (-0.2, 0.1)
BLURRED, BLUR = 0.3, (0.5, 1.5)

Advance = Callable[[int, int], None]


def target(photo: Photo) -> int:
    """Return the training target of a photograph: a class, FOOTWEAR or UNKNOWN."""
    if not photo.labels:
        return UNKNOWN
    return FOOTWEAR if photo.labels == GARMENTS["shoes"] else LABELS.index(photo.labels[0])


def vary(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a photograph as another hand, lens and light might have taken it.

    Args:
        picture: uint8, shape (H, W, 3), BGR.
        rng: where the choices come from.
    """
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D(
        (width / 2, height / 2), rng.uniform(-ROTATION, ROTATION), float(np.exp(rng.uniform(*ZOOM)))
    )
    matrix[:, 2] += rng.uniform(-SHIFT, SHIFT, 2) * (width, height)
    matrix[0] *= 1 + rng.uniform(-STRETCH, STRETCH)
    varied = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    if rng.random() < 0.5:
        varied = np.ascontiguousarray(varied[:, ::-1])
    gamma, gain = np.exp(rng.uniform(-GAMMA, GAMMA)), np.exp(rng.uniform(*GAIN))
    varied = cv2.LUT(varied, np.clip(255 * gain * (np.arange(256) / 255) ** gamma, 0, 255).astype(np.uint8))
    if rng.random() < BLURRED:
        varied = cv2.GaussianBlur(varied, (0, 0), rng.uniform(*BLUR))
    return np.asarray(varied)


def training_views(folder: Path, views: int, seed: int, advance: Advance) -> Subset:
    """Return the views of the training photographs, and of the ground beside their garments.

    The first view of a photograph is itself. A view in which no garment was
    found trains nothing. Ground is a target UNKNOWN.

    Args:
        folder: the folder of photographs, with a folder ``train``.
        views: how many views of each photograph.
        seed: decides all chance.
        advance: called with the number of photographs done and of all.

    Raises:
        DataNotFoundError: no photographs there.
        DataError: an unknown garment, or nothing was found in any photograph.
        ImageError: a photograph that cannot be read.
    """
    photos = find_photos(folder, "train")
    images, targets = [], []
    for index, photo in enumerate(photos):
        advance(index, len(photos))
        for image, wanted in _views(photo, views, np.random.default_rng((seed, index))):
            images.append(image)
            targets.append(wanted)
    if not images:
        raise DataError(f"{folder}: preprocessing found no garment in any of {len(photos)} photographs")
    return Subset(np.stack(images), np.array(targets, np.uint8))


def _views(photo: Photo, views: int, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, int]]:
    picture = to_bgr(read_picture(str(photo.path)))
    for view in range(views):
        garment = preprocess(vary(picture, rng) if view else picture)
        if garment.found:
            yield garment.image, target(photo)
        strip = ground(picture, garment) if view == 0 else None
        bare = preprocess(strip) if strip is not None else None
        if bare is not None and bare.found:
            yield bare.image, UNKNOWN


def validation_images(folder: Path) -> Subset:
    """Return the validation photographs as preprocessing gives them, all black where no garment was found.

    Raises:
        DataNotFoundError: no photographs there.
        DataError: an unknown garment.
        ImageError: a photograph that cannot be read.
    """
    photos = find_photos(folder, "validation")
    images = [preprocess(to_bgr(read_picture(str(photo.path)))).image for photo in photos]
    return Subset(np.stack(images), np.array([target(photo) for photo in photos], np.uint8))
