"""Photographs as training images: many views of each, put through the runtime's own preprocessing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from edge_fmnist.data.labels import LABELS
from edge_fmnist.errors import DataError, ImageError
from edge_fmnist.model.photos import GARMENTS, Photo, find_photos, ground
from edge_fmnist.vision.preprocess import preprocess, to_bgr
from edge_fmnist.vision.read_image import read_picture
from edge_fmnist_export.training.batches import FOOTWEAR, UNKNOWN, Subset

TRAIN, VALIDATION = "train", "validation"

# How far a view strays from its photograph: degrees, logarithm of the scale, shares of an edge, logarithms of light.
ROTATION, ZOOM, SHIFT, STRETCH = 12.0, (-0.1, 0.25), 0.05, 0.08
GAMMA, GAIN = 0.35, (-0.2, 0.1)
# How often a view is blurred, and by how many pixels.
BLURRED, BLUR = 0.3, (0.5, 1.5)

# Is told how many photographs are done, and of how many.
Advance = Callable[[int, int], None]


def check_folder(folder: Path) -> None:
    """Check, without opening a picture, that a folder has photographs to train and to validate on.

    Raises:
        DataNotFoundError: it lacks a folder ``train`` or ``validation``, or one of them has no photographs.
        DataError: a garment that is not known, or none of a known kind to validate on.
    """
    find_photos(folder, TRAIN)
    if not any(photo.labels for photo in find_photos(folder, VALIDATION)):
        raise DataError(
            f"{folder / VALIDATION}: expected photographs of garments that Fashion-MNIST knows, got none; "
            f"fill at least one of {', '.join(name for name, labels in GARMENTS.items() if labels)}"
        )


def fingerprint(folder: Path) -> str:
    """Return the SHA-256 of all photographs, their names and their splits, in hexadecimal.

    Raises:
        DataNotFoundError: no photographs there.
        DataError: a garment that is not known.
        ImageError: a photograph that cannot be read.
    """
    digest = hashlib.sha256()
    for photo in find_photos(folder, TRAIN) + find_photos(folder, VALIDATION):
        try:
            content = hashlib.sha256(photo.path.read_bytes()).hexdigest()
        except OSError as error:
            raise ImageError(f"{photo.path}: cannot be read ({error.strerror or error})") from error
        digest.update(f"{content} {photo.path.relative_to(folder).as_posix()}\n".encode())
    return digest.hexdigest()


def target(photo: Photo) -> int:
    """Return the training target of a photograph: a class's index, FOOTWEAR or UNKNOWN."""
    if not photo.labels:
        return UNKNOWN
    return FOOTWEAR if photo.labels == GARMENTS["shoes"] else LABELS.index(photo.labels[0])


def vary(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a photograph as another hand, lens and light might have taken it.

    Args:
        picture: uint8, shape (H, W, 3), BGR.
        rng: where the choices come from.

    Returns:
        uint8, shape (H, W, 3), BGR.
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
    found trains nothing. Ground in which preprocessing finds a garment all the
    same has the target UNKNOWN.

    Args:
        folder: the folder of photographs, with a folder ``train``.
        views: how many views of each photograph, at least 1.
        seed: decides all chance, together with a photograph's place in the order of names.
        advance: told how many photographs are done, and of how many.

    Raises:
        DataNotFoundError: no photographs there.
        DataError: a garment that is not known, or nothing was found in any photograph.
        ImageError: a photograph that cannot be read.
    """
    photos = find_photos(folder, TRAIN)
    images, targets = [], []
    for index, photo in enumerate(photos):
        for image, wanted in _views(photo, views, np.random.default_rng((seed, index))):
            images.append(image)
            targets.append(wanted)
        advance(index + 1, len(photos))
    if not images:
        raise DataError(f"{folder}: preprocessing found no garment in any of {len(photos)} photographs")
    return Subset(np.stack(images), np.array(targets, np.uint8))


def _views(photo: Photo, views: int, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, int]]:
    """Yield the images and targets that one photograph gives."""
    picture = _read(photo)
    garment = preprocess(picture)
    if garment.found:
        yield garment.image, target(photo)
    strip = ground(picture, garment)
    bare = preprocess(strip) if strip is not None else None
    if bare is not None and bare.found:
        yield bare.image, UNKNOWN
    for _ in range(views - 1):
        garment = preprocess(vary(picture, rng))
        if garment.found:
            yield garment.image, target(photo)


def validation_images(folder: Path) -> Subset:
    """Return the validation photographs as preprocessing gives them, all black where no garment was found.

    Raises:
        DataNotFoundError: no photographs there.
        DataError: a garment that is not known.
        ImageError: a photograph that cannot be read.
    """
    photos = find_photos(folder, VALIDATION)
    images = [preprocess(_read(photo)).image for photo in photos]
    return Subset(np.stack(images), np.array([target(photo) for photo in photos], np.uint8))


def _read(photo: Photo) -> np.ndarray:
    """Return a photograph, uint8, shape (H, W, 3), BGR."""
    try:
        return to_bgr(read_picture(str(photo.path)))
    except ImageError as error:
        message = str(error) if str(photo.path) in str(error) else f"{photo.path}: {error}"
        raise ImageError(f"{message}; replace it or take it out of the folder") from error
