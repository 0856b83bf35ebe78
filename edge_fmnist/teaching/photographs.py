"""Photographs to teach from: a folder for each class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from edge_fmnist.data.labels import LABELS, MAX_LABEL_LENGTH, NONE, UNKNOWN, is_unused
from edge_fmnist.errors import DataError, DataNotFoundError, EdgeFmnistError
from edge_fmnist.model.photos import class_key, pictures_of_classes, pixels_hash, subfolders
from edge_fmnist.model.quantization import mirror
from edge_fmnist.vision.picture_files import Warn
from edge_fmnist.vision.read_image import read_image

MIN_PHOTOGRAPHS = 3
# Two images show nearly the same below this root mean square difference. Different garments hardly ever do, frames of
# one garment that nobody moves do.
SAME = 20.0
# The images of Fashion-MNIST's training split that keep its classes from being forgotten (MIT licence, Zalando SE): a
# row for each class, 50 images of 28x28 in it, 16 shades of grey.
REHEARSAL = Path(__file__).with_name("fashion_mnist.png")
MAX_CLASSES = 100


@dataclass(frozen=True, eq=False)
class Photographs:
    """What a model is taught from.

    Attributes:
        labels: the classes, sorted.
        images: uint8, shape (N, 28, 28), the garment bright on black.
        targets: class of each image, int, shape (N,).
        groups: number that photographs which show nearly the same have in common, int, shape (N,).
        missed: number of photographs of each class in which no garment was found.
        hashes: SHA-256 of each photograph's pixels, as hexadecimal digits.
        paths: the file of each image.
    """

    labels: tuple[str, ...]
    images: np.ndarray
    targets: np.ndarray
    groups: np.ndarray
    missed: tuple[int, ...]
    hashes: tuple[str, ...]
    paths: tuple[Path, ...]

    def chosen(self, which: np.ndarray) -> Photographs:
        """Return some of the photographs; ``which`` is bool, shape (N,)."""
        hashes, paths = (tuple(np.array(each)[which]) for each in (self.hashes, self.paths))
        arrays = {name: getattr(self, name)[which] for name in ("images", "targets", "groups")}
        return replace(self, **arrays, hashes=hashes, paths=paths)


def read_photographs(folder: Path, least_classes: int, step: Callable[[int, int], object], warn: Warn) -> Photographs:
    """Read the photographs of a folder with a folder for each class, and check that they can be taught.

    ``step`` is called with the number of photographs read and their total. Raises as :func:`edge_fmnist.teach`.
    """
    files = photograph_files(folder, least_classes, warn)
    labels, total, done, all_missed = tuple(files), sum(map(len, files.values())), 0, []
    if not total:
        raise DataNotFoundError(
            f"{folder}: no photographs in its folders {', '.join(labels)}; expected them in the folder of each class, "
            "not in folders below it"
        )
    seen: dict[str, tuple[Path, int, np.ndarray | None]] = {}
    for target, (label, paths) in enumerate(files.items()):
        missed, repeated, different = 0, 0, 0
        for path in paths:
            done += 1
            try:
                digest, image = _read(path)
            except EdgeFmnistError as error:
                warn(f"skipped {error}")
            else:
                if image is None:
                    # An empty picture may be in several classes.
                    digest = f"{digest} {label}"
                elif digest in seen and seen[digest][1] != target:
                    raise DataError(
                        f"{path}: the same photograph as {seen[digest][0]}, in another class; keep it in the class "
                        "that is right"
                    )
                if digest in seen:
                    repeated += 1
                else:
                    seen[digest] = (path, target, image)
                    different += 1
                    missed += image is None
            step(done, total)
        all_missed.append(missed)
        if missed:
            warn(f"{label}: no garment found in {missed} of {different} photographs")
        if repeated:
            warn(f"{label}: {repeated} photographs are copies of others and were skipped")
    found = {digest: (*place, image) for digest, (*place, image) in seen.items() if image is not None}
    if not found:
        raise DataError(
            f"{folder}: no garment found in any of its {total} photographs; expected one thing at a time, whole, "
            "on ground of another colour"
        )
    paths_found, found_targets, found_images = zip(*found.values(), strict=True)
    images, targets = np.array(found_images), np.array(found_targets)
    counts = np.bincount(targets, minlength=len(labels))
    if few := [f"{label} has {count}" for label, count in zip(labels, counts, strict=True) if count < MIN_PHOTOGRAPHS]:
        raise DataError(
            f"{folder}: expected at least {MIN_PHOTOGRAPHS} different photographs of each class in which a garment "
            f"is found; {', '.join(few)}"
        )
    groups = _groups(labels, images, targets, warn)
    return Photographs(labels, images, targets, groups, tuple(all_missed), tuple(found), paths_found)


def rehearsal(labels: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return images of the classes of Fashion-MNIST among labels: uint8, shape (N, 28, 28), and their indexes, (N,).

    Empty if no label is a class of Fashion-MNIST.
    """
    sheet = np.asarray(cv2.imread(str(REHEARSAL), cv2.IMREAD_GRAYSCALE))
    rows = sheet.reshape(len(LABELS), 28, -1, 28).transpose(0, 2, 1, 3)
    kept = [(rows[place], labels.index(label)) for place, label in enumerate(LABELS) if label in labels]
    images = np.concatenate([rows[:0].reshape(-1, 28, 28), *(images for images, _ in kept)])
    return images, np.repeat(np.array([index for _, index in kept], np.intp), rows.shape[1])


def photograph_files(folder: Path, least_classes: int, warn: Warn) -> dict[str, list[Path]]:
    """Return the files of each class, sorted by name; arguments and errors as for :func:`read_photographs`."""
    if not folder.is_dir():
        raise DataNotFoundError(
            f"{folder}: expected a folder that has a folder of photographs for each class, got no folder"
        )
    folders = subfolders(folder)
    if not folders:
        raise DataNotFoundError(f"{folder}: expected a folder of photographs for each class in it, got none")
    if not least_classes <= len(folders) <= MAX_CLASSES:
        raise DataError(
            f"{folder}: expected folders for {least_classes} to {MAX_CLASSES} classes, got {len(folders)}"
            + (f" ({next(iter(folders))})" if len(folders) == 1 else "")
        )
    names: dict[str, str] = {}
    for name in folders:
        if (same := names.setdefault(class_key(name), name)) != name:
            raise DataError(f"{folder}: {same!r} and {name!r} are one class; put their photographs in one folder")
        strange = len(name) > MAX_LABEL_LENGTH or not name.isprintable() or name != name.strip()
        plain = name.casefold()
        if strange or plain == UNKNOWN or is_unused(plain) or plain == NONE != name:
            raise DataError(
                f"{folder}: the folder {name!r} cannot be the name of a class; expected at most {MAX_LABEL_LENGTH} "
                "printable characters without spaces at either end; 'unknown' and 'unused NUMBER' have another meaning,"
                f" the folder of things to reject is {NONE!r}"
            )
    return pictures_of_classes(folder, folders, warn)


def _read(path: Path) -> tuple[str, np.ndarray | None]:
    """Return the hash of a photograph, and its 28x28 image; None if no garment was found."""
    from edge_fmnist.vision.preprocess import preprocess

    picture = read_image(path)
    garment = preprocess(picture)
    return pixels_hash(picture), garment.image if garment.found else None


def _groups(labels: tuple[str, ...], images: np.ndarray, targets: np.ndarray, warn: Warn) -> np.ndarray:
    """Return the group of each image: images of a class that show nearly the same have one in common.

    Mirrored images count as the same, since a parent with flip averaging sees no difference. Rounding may have put the
    garment of one a pixel beside that of the other.
    """
    groups = np.arange(len(images))
    flipped = mirror(images)
    views = (images, flipped, np.roll(flipped, 1, axis=2), np.roll(flipped, -1, axis=2))
    pixels, *others = (view.reshape(len(images), -1).astype(np.float32) for view in views)
    squares = (pixels**2).sum(axis=1)
    for target, label in enumerate(labels):
        ours = np.flatnonzero(targets == target)
        for count, index in enumerate(ours):
            before = ours[:count]
            alike = np.max([pixels[before] @ view[index] for view in (pixels, *others)], axis=0)
            distances = squares[before] + squares[index] - 2 * alike
            near = groups[before[distances < SAME**2 * pixels.shape[1]]]
            groups[before[np.isin(groups[before], near)]] = index
        if len(np.unique(groups[ours])) < MIN_PHOTOGRAPHS:
            warn(
                f"{label}: its photographs show nearly the same, so the accuracy of others may be far lower; "
                "photograph it in other positions and light"
            )
            groups[ours] = ours
    return groups
