"""Photographs as training images: augmented views of each, preprocessed as at inference."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from edge_fmnist.data.labels import LABELS
from edge_fmnist.errors import DataError, ImageError
from edge_fmnist.model.photos import GARMENTS, Photo, find_photos, ground
from edge_fmnist.vision.preprocess import preprocess, to_bgr, to_frame
from edge_fmnist.vision.read_image import read_image
from edge_fmnist_export.training.batches import FOOTWEAR, UNKNOWN, Subset

TRAIN, VALIDATION = "train", "validation"

# Ranges of a view's augmentation: degrees, logarithm of the scale, shares of an edge, logarithms of gamma and gain.
ROTATION, ZOOM, SHIFT, STRETCH = 12.0, (-0.1, 0.25), 0.05, 0.08
GAMMA, GAIN = 0.35, (-0.2, 0.1)
# Probability and standard deviation, in pixels, of Gaussian blur.
BLURRED, BLUR = 0.3, (0.5, 1.5)

# Called with the number of finished photographs and of all.
Advance = Callable[[int, int], None]


def check_folder(folder: Path) -> None:
    """Check, without opening a picture, that a folder has photographs to train and to validate on.

    Raises:
        DataNotFoundError: it has no folder ``train`` or ``validation``, or one without photographs.
        DataError: an unknown garment, or no known one to validate on.
    """
    find_photos(folder, TRAIN)
    if not any(photo.labels for photo in find_photos(folder, VALIDATION)):
        raise DataError(
            f"{folder / VALIDATION}: expected photographs of garments that Fashion-MNIST has, got none; "
            f"fill at least one of {', '.join(name for name, labels in GARMENTS.items() if labels)}"
        )


def fingerprint(folder: Path, paths: Iterable[Path] | None = None) -> str:
    """Return the SHA-256, in hexadecimal, of the photographs in a folder, their names and their folders.

    ``paths`` are the photographs; by default, those of both splits.

    Raises:
        DataNotFoundError: no photographs.
        DataError: an unknown garment.
        ImageError: an unreadable photograph.
    """
    digest = hashlib.sha256()
    if paths is None:
        paths = [photo.path for photo in find_photos(folder, TRAIN) + find_photos(folder, VALIDATION)]
    for path in paths:
        try:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise ImageError(f"{path}: cannot be read ({error.strerror or error})") from error
        digest.update(f"{content} {path.relative_to(folder).as_posix()}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def target(photo: Photo) -> int:
    """Return the training target of a photograph: a class index, FOOTWEAR or UNKNOWN."""
    if not photo.labels:
        return UNKNOWN
    return FOOTWEAR if photo.labels == GARMENTS["shoes"] else LABELS.index(photo.labels[0])


def vary(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an augmented photograph: rotation, scale, shift, flip, brightness, contrast, blur.

    It is uint8, shape (H, W, 3) BGR or (H, W, 4) BGRA, whose alpha channel keeps its values; so is the result.
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
    table = np.clip(255 * gain * (np.arange(256) / 255) ** gamma, 0, 255).astype(np.uint8)
    varied = np.dstack([cv2.LUT(varied[..., :3], table), varied[..., 3:]])
    if rng.random() < BLURRED:
        varied = cv2.GaussianBlur(varied, (0, 0), rng.uniform(*BLUR))
    return np.asarray(varied)


def training_views(folder: Path, views: int, seed: int, advance: Advance) -> Subset:
    """Return the views of the training photographs, and of the background beside their garments.

    The first view of a photograph is the photograph itself. Views without a detected garment are dropped. Background
    in which preprocessing still detects a garment has the target UNKNOWN.

    The random seed is combined with the position of the photograph in the order of names.

    Raises:
        DataNotFoundError: no photographs.
        DataError: an unknown garment, or no garment found in any photograph.
        ImageError: an unreadable photograph.
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
    """Yield the images and targets of one photograph."""
    picture = _read(photo)
    garment = preprocess(picture)
    if garment.found:
        yield garment.image, target(photo)
    strip = ground(to_bgr(picture), garment)
    bare = preprocess(strip) if strip is not None else None
    if bare is not None and bare.found:
        yield bare.image, UNKNOWN
    for image in varied(picture, views - 1, rng):
        yield image, target(photo)


def varied(picture: np.ndarray, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield augmented views of a photograph, preprocessed: uint8 (28, 28); those without a garment are dropped."""
    for _ in range(count):
        garment = preprocess(vary(picture, rng))
        if garment.found:
            yield garment.image


def validation_images(folder: Path) -> Subset:
    """Return the preprocessed validation photographs; all black without a detected garment.

    Raises:
        DataNotFoundError: no photographs.
        DataError: an unknown garment.
        ImageError: an unreadable photograph.
    """
    photos = find_photos(folder, VALIDATION)
    images = [preprocess(_read(photo)).image for photo in photos]
    return Subset(np.stack(images), np.array([target(photo) for photo in photos], np.uint8))


def _read(photo: Photo) -> np.ndarray:
    try:
        return to_frame(read_image(photo.path))
    except ImageError as error:
        message = str(error) if str(photo.path) in str(error) else f"{photo.path}: {error}"
        raise ImageError(f"{message}; replace or remove it") from error
