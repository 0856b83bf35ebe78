"""Photographs of real garments: a folder for each kind, the labels that are right for it, and evaluation on them.

::

    photos/
    ├── train/         t-shirt/*.jpg, pants/*.jpg, …
    └── validation/    t-shirt/*.jpg, pants/*.jpg, …

The names are those of the public clothing-dataset-small
(https://github.com/alexeygrigorev/clothing-dataset-small, CC0).
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_fmnist.data.labels import LABELS, NONE
from edge_fmnist.errors import DataError, DataNotFoundError, EdgeFmnistError
from edge_fmnist.model.metadata import HASH_DIGITS
from edge_fmnist.vision.picture_files import SUFFIXES, Warn, list_pictures, log_warning
from edge_fmnist.vision.read_image import read_image

if TYPE_CHECKING:
    from edge_fmnist.model.classifier import Classifier
    from edge_fmnist.model.predictions import Prediction
    from edge_fmnist.vision.detection import Garment

# Folder name: the labels that are right for it. None is right for garments that Fashion-MNIST does not have.
GARMENTS: dict[str, tuple[str, ...]] = {
    "t-shirt": ("T-shirt/top",),
    "pants": ("Trouser",),
    "longsleeve": ("Pullover",),
    "dress": ("Dress",),
    "outwear": ("Coat",),
    "shirt": ("Shirt",),
    "shoes": ("Sandal", "Sneaker", "Ankle boot"),
    "hat": (),
    "shorts": (),
    "skirt": (),
}
# What a path or a file system such as FAT gives a meaning.
SPECIAL = re.compile(r'[/\\:*?"<>|]+')
# The folder in which ``live --collect`` stores what is not in a class yet.
UNSORTED = "unsorted"
GROUND = "no garment"
DEFAULT_SPLIT = "validation"
# A strip of background narrower than this, in pixels, shows nothing.
MIN_STRIP = 24


@dataclass(frozen=True)
class Photo:
    """A photograph and its garment.

    Attributes:
        path: the file.
        garment: the name of its folder.
        labels: the labels that are right for it; empty where "unknown" is right.
    """

    path: Path
    garment: str
    labels: tuple[str, ...]


def find_photos(
    folder: Path, split: str | None = None, warn: Warn = log_warning, labels: Sequence[str] = LABELS
) -> list[Photo]:
    """Return the photographs of a split, sorted by garment and file name.

    Args:
        folder: has a folder for each split.
        split: its name, such as ``validation``; None where the folders of the garments are in ``folder`` itself.
        warn: called with the count of skipped files.
        labels: those of the model. A folder named like one of them (see :func:`class_key`) has photographs for which
            it is right; in others, garments that the model does not have are unknown.

    Raises:
        DataNotFoundError: no such folder, no such split, or no photographs in it.
        DataError: a folder whose garment is not known.
    """
    if not folder.is_dir():
        raise DataNotFoundError(f"{folder}: no such folder of photographs")
    place = folder
    if split is not None:
        splits = subfolders(folder)
        if split not in splits:
            raise DataNotFoundError(
                f"{folder}: expected a folder named {split!r} with photographs in it, got {', '.join(splits) or 'none'}"
            )
        place = splits[split]
    kinds = subfolders(place)
    known = {class_key(name) for name in (*GARMENTS, *LABELS, *labels, NONE)}
    if strange := [name for name in kinds if class_key(name) not in known]:
        raise DataError(
            f"{place}: expected folders named {', '.join(GARMENTS)}, or like a label; got {', '.join(strange)}"
        )
    photos = [
        Photo(path, name, right_labels(name, labels))
        for name, paths in pictures_of_classes(place, kinds, warn).items()
        for path in paths
    ]
    if not photos:
        raise DataNotFoundError(f"{place}: expected photographs in folders such as {place / 't-shirt'}, got none")
    return photos


def folder_form(label: str) -> str:
    """Return a label as the name of a folder: with ``-`` for what has a meaning in a path, one space between words."""
    words = " ".join(unicodedata.normalize("NFC", label).split())
    # A name that starts with a dot is hidden, and one that ends with a dot is not allowed on every system.
    return SPECIAL.sub("-", words).strip(" .")


def class_key(name: str) -> str:
    """Return what a label and the name of its folder have in common: ``t-shirt-top`` for ``T-shirt/top``."""
    return folder_form(name).casefold()


def right_labels(folder: str, labels: Sequence[str]) -> tuple[str, ...]:
    """Return which labels of a model are right for the photographs of a folder; none where "unknown" is right."""
    if class_key(folder) == NONE:
        return ()
    named = tuple(label for label in labels if class_key(label) == class_key(folder))
    return named or tuple(label for label in GARMENTS.get(class_key(folder), ()) if label in labels)


def subfolders(place: Path) -> dict[str, Path]:
    """Return the folders in a place by name, sorted, without hidden ones and :data:`UNSORTED`."""
    paths = [path for path in sorted(place.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    return {path.name: path for path in paths if path.name != UNSORTED}


def pictures_of_classes(place: Path, folders: dict[str, Path], warn: Warn) -> dict[str, list[Path]]:
    """Return the pictures in each of the :func:`subfolders` of a place.

    Those beside these folders and in folders directly below them are counted in a warning, by their suffixes.
    """
    # First, since it raises for a folder that cannot be read.
    pictures = {name: list_pictures(folder, warn) for name, folder in folders.items()}
    if beside := _count_pictures(place):
        warn(f"{place}: {beside} pictures skipped; expected them in the folder of a class")
    for folder in folders.values():
        if below := sum(map(_count_pictures, subfolders(folder).values())):
            warn(f"{folder}: {below} pictures in folders below it skipped; expected them in the folder itself")
    return pictures


def _count_pictures(folder: Path) -> int:
    try:
        paths = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
    except OSError:
        return 0
    return sum(path.is_file() for path in paths)


def ground(picture: np.ndarray, garment: Garment) -> np.ndarray | None:
    """Return the largest strip of background beside the garment: an empty scene, as the camera sees it.

    Args:
        picture: uint8, shape (H, W, 3), BGR.
        garment: the detection in it.

    Returns:
        A view of the picture; None without a garment, or if every strip is too narrow.
    """
    if not garment.found:
        return None
    height, width = picture.shape[:2]
    left, top, wide, high = garment.box
    strips = [picture[:top], picture[top + high :], picture[:, :left], picture[:, left + wide :]]
    largest = max(strips, key=lambda strip: strip.shape[0] * strip.shape[1])
    return None if min(largest.shape[:2]) < min(MIN_STRIP, height, width) else largest


@dataclass(frozen=True)
class GarmentMetrics:
    """Results for one kind of garment.

    Attributes:
        garment: the name of the folder, or ``"no garment"`` for strips of background.
        labels: the labels that are right; empty where "unknown" is.
        images: number of photographs.
        right: how many got a right label; where no label is right, how many were rejected.
        answered: how many got a label rather than "unknown" or "no garment".
    """

    garment: str
    labels: tuple[str, ...]
    images: int
    right: int
    answered: int


@dataclass(frozen=True)
class PhotoEvaluation:
    """Results of a model on photographs.

    Attributes:
        top1: share of known garments whose most probable label is right, whatever the threshold.
        images: number of photographs of known garments.
        garments: metrics for each kind.
        auroc: area under the ROC curve of the score, known garments against unknown ones and background: 1 separates
            them, 0.5 does not.
        false_reject_rate: share of correct predictions that the threshold turns into "unknown".
        threshold: the threshold of the model.
        unreadable: why each photograph that could not be read was skipped.
    """

    top1: float
    images: int
    garments: tuple[GarmentMetrics, ...]
    auroc: float | None
    false_reject_rate: float
    threshold: float
    unreadable: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class PhotoResult:
    """The prediction for one photograph, or for the background beside its garment.

    Attributes:
        garment: the name of the folder of the photograph, or ``"no garment"``.
        labels: the labels that are right; empty where "unknown" is.
        prediction: the prediction; None if no garment was detected.
    """

    garment: str
    labels: tuple[str, ...]
    prediction: Prediction | None

    @property
    def score(self) -> float:
        """Score of the most probable label; 0 without a garment, or where the label is "none"."""
        return 0.0 if self.prediction is None or self.prediction.label == NONE else self.prediction.score

    @property
    def answered(self) -> bool:
        """Whether the answer is a label."""
        return self.prediction is not None and self.prediction.known

    @property
    def hit(self) -> bool:
        """Whether the most probable label is right, whatever its score."""
        return self.prediction is not None and self.prediction.label in self.labels


def auroc(positive: np.ndarray, negative: np.ndarray) -> float | None:
    """Return the area under the ROC curve: how often a positive score exceeds a negative one, ties counting half.

    The Mann-Whitney statistic (Hanley and McNeil 1982).

    Args:
        positive: scores that should be high, shape (N,).
        negative: scores that should be low, shape (M,).

    Returns:
        0 to 1; None if one of the two is empty.
    """
    if not len(positive) or not len(negative):
        return None
    order = np.sort(negative)
    below, up_to = np.searchsorted(order, positive, "left"), np.searchsorted(order, positive, "right")
    return float((below + up_to).sum() / (2 * len(positive) * len(negative)))


def summarize(answers: Sequence[PhotoResult], threshold: float, unreadable: Sequence[str] = ()) -> PhotoEvaluation:
    """Return the metrics of answers.

    Args:
        answers: at least one of them for a garment with a label.
        threshold: the threshold by which they were given.
        unreadable: why photographs were skipped.

    Raises:
        DataError: none of the answers is for a garment with a label.
    """
    known = [answer for answer in answers if answer.labels]
    if not known:
        reason = f"; the first of {len(unreadable)} unreadable ones: {unreadable[0]}" if unreadable else ""
        raise DataError(f"expected photographs of garments that the model knows, got none{reason}")
    hits = [answer for answer in known if answer.hit]
    unknown = np.array([answer.score for answer in answers if not answer.labels])
    return PhotoEvaluation(
        top1=len(hits) / len(known),
        images=len(known),
        garments=tuple(_metrics(kind, answers) for kind in dict.fromkeys(answer.garment for answer in answers)),
        auroc=auroc(np.array([answer.score for answer in known]), unknown),
        false_reject_rate=sum(not answer.answered for answer in hits) / max(1, len(hits)),
        threshold=threshold,
        unreadable=tuple(unreadable),
    )


def _metrics(kind: str, answers: Sequence[PhotoResult]) -> GarmentMetrics:
    ours = [answer for answer in answers if answer.garment == kind]
    labels = ours[0].labels
    right = sum(answer.hit if labels else not answer.answered for answer in ours)
    return GarmentMetrics(kind, labels, len(ours), right, sum(answer.answered for answer in ours))


def pixels_hash(picture: np.ndarray) -> str:
    """Return the SHA-256 of the pixels of a picture and its shape, as hexadecimal digits."""
    return hashlib.sha256(repr(picture.shape).encode() + picture.tobytes()).hexdigest()


def evaluate_photos(classifier: Classifier, photos: Sequence[Photo], warn: Warn = log_warning) -> PhotoEvaluation:
    """Evaluate a classifier on photographs, and on the background beside their garments.

    A photograph counts as right if its most probable label is one of those of its folder; what the threshold rejects
    is reported separately. A photograph that cannot be read is skipped and reported. A warning tells how many of them
    the model was taught from.

    Raises:
        DataError: no readable photograph of a garment with a label, or one of a garment that the model does not know.
    """
    from edge_fmnist.vision.preprocess import preprocess, to_bgr

    if strange := {photo.garment for photo in photos if photo.labels and not {*photo.labels} & {*classifier.labels}}:
        raise DataError(
            f"expected a model with labels for {', '.join(sorted(strange))}, got {', '.join(classifier.labels)}"
        )

    def predicted(garment: Garment) -> Prediction | None:
        return classifier.predict(garment.image) if garment.found else None

    answers, background, unreadable, seen = [], [], [], 0
    taught_from = frozenset(classifier.metadata.taught_from if classifier.metadata else ())
    for photo in photos:
        try:
            picture = read_image(photo.path)
        except EdgeFmnistError as error:
            unreadable.append(str(error))
            continue
        # Hashing takes time.
        seen += bool(taught_from) and pixels_hash(picture)[:HASH_DIGITS] in taught_from
        garment = preprocess(picture)
        answers.append(PhotoResult(photo.garment, photo.labels, predicted(garment)))
        strip = ground(to_bgr(picture), garment)
        if strip is not None:
            background.append(PhotoResult(GROUND, (), predicted(preprocess(strip))))
    if seen:
        warn(
            f"{classifier.source} was taught from {seen} of these {len(answers)} photographs: new ones are recognized "
            "less often; edge-fmnist teach states the accuracy on those that were held out"
        )
    return summarize(answers + background, classifier.threshold, unreadable)
