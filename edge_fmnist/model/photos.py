"""Photographs of real garments: a folder for each kind, and what counts as right for it.

::

    photos/
    ├── train/         t-shirt/*.jpg, pants/*.jpg, …
    └── validation/    t-shirt/*.jpg, pants/*.jpg, …

The names are those of the public clothing-dataset-small
(https://github.com/alexeygrigorev/clothing-dataset-small, CC0).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_fmnist.data.labels import LABELS
from edge_fmnist.errors import DataError, DataNotFoundError
from edge_fmnist.vision.read_image import SUFFIXES

if TYPE_CHECKING:
    from edge_fmnist.model.classifier import Classifier
    from edge_fmnist.model.predictions import Prediction
    from edge_fmnist.vision.detection import Garment

# Folder name: the labels that are right for it. None is right for what Fashion-MNIST does not know.
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
GROUND = "no garment"
DEFAULT_SPLIT = "validation"
# A strip of ground thinner than this, in pixels, shows nothing.
LEAST_STRIP = 24


@dataclass(frozen=True)
class Photo:
    """A photograph and what is on it.

    Attributes:
        path: the file.
        garment: the name of its folder.
        labels: the labels that are right for it; empty where "unknown" is.
    """

    path: Path
    garment: str
    labels: tuple[str, ...]


def find_photos(folder: Path, split: str | None = None) -> list[Photo]:
    """Return the photographs of a split, sorted by garment and file name.

    Args:
        folder: holds a folder for each split.
        split: its name, such as ``validation``; None where the garments' folders lie in ``folder`` itself.

    Raises:
        DataNotFoundError: no such folder, no such split, or no photographs in it.
        DataError: a folder whose garment is not known.
    """
    if not folder.is_dir():
        raise DataNotFoundError(f"{folder}: no such folder of photographs")
    place = folder if split is None else _split(folder, split)
    kinds = _folders(place)
    if strange := [name for name in kinds if name not in GARMENTS and name not in LABELS]:
        raise DataError(
            f"{place}: expected folders named {', '.join(GARMENTS)}, or like a label; got {', '.join(strange)}"
        )
    photos = [
        Photo(path, name, GARMENTS.get(name, (name,)))
        for name, kind in kinds.items()
        for path in sorted(kind.iterdir())
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    if not photos:
        raise DataNotFoundError(f"{place}: expected photographs in folders such as {place / 't-shirt'}, got none")
    return photos


def _split(folder: Path, split: str) -> Path:
    splits = _folders(folder)
    if split not in splits:
        raise DataNotFoundError(
            f"{folder}: expected a folder named {split!r} with photographs in it, got {', '.join(splits) or 'none'}"
        )
    return splits[split]


def _folders(place: Path) -> dict[str, Path]:
    """Return the folders in a place by name, sorted, without those that file managers and editors hide."""
    return {path.name: path for path in sorted(place.iterdir()) if path.is_dir() and not path.name.startswith(".")}


def ground(picture: np.ndarray, garment: Garment) -> np.ndarray | None:
    """Return the largest strip of a photograph beside its garment: what an empty scene looks like to the camera.

    Args:
        picture: uint8, shape (H, W, 3), BGR.
        garment: what preprocessing found in it.

    Returns:
        A view of the picture; None without a garment, or where no strip is wide enough to show anything.
    """
    if not garment.found:
        return None
    height, width = picture.shape[:2]
    left, top, wide, high = garment.box
    strips = [picture[:top], picture[top + high :], picture[:, :left], picture[:, left + wide :]]
    largest = max(strips, key=lambda strip: strip.shape[0] * strip.shape[1])
    return None if min(largest.shape[:2]) < min(LEAST_STRIP, height, width) else largest


@dataclass(frozen=True)
class GarmentMetrics:
    """What a model answered for one kind of garment.

    Attributes:
        garment: the folder's name, or ``"no garment"`` for strips of bare ground.
        labels: the labels that are right for it; empty where "unknown" is.
        images: how many photographs.
        right: how many got a right label; where no label is right, how many were left unanswered.
        answered: how many got a label rather than "unknown" or "no garment".
    """

    garment: str
    labels: tuple[str, ...]
    images: int
    right: int
    answered: int


@dataclass(frozen=True)
class PhotoEvaluation:
    """What evaluating a model on photographs gave.

    Attributes:
        top1: share of known garments with a right label, whether the score reached the threshold or not.
        images: how many photographs of known garments.
        garments: metrics for each kind.
        auroc: area under the ROC curve of the score, known garments against
            unknown ones and bare ground: 1 tells them apart, 0.5 does not.
        lost: share of right answers that the threshold turns into "unknown".
        threshold: the model's.
    """

    top1: float
    images: int
    garments: tuple[GarmentMetrics, ...]
    auroc: float | None
    lost: float
    threshold: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "top1": round(self.top1, 6),
            "images": self.images,
            "auroc": None if self.auroc is None else round(self.auroc, 6),
            "lost": round(self.lost, 6),
            "threshold": round(self.threshold, 6),
            "garments": [
                {
                    "garment": metrics.garment,
                    "labels": list(metrics.labels),
                    "images": metrics.images,
                    "right": metrics.right,
                    "answered": metrics.answered,
                }
                for metrics in self.garments
            ],
        }


@dataclass(frozen=True)
class Answer:
    """What a model said of one photograph, or of the ground beside its garment.

    Attributes:
        garment: the name of the photograph's folder, or ``"no garment"``.
        labels: the labels that are right; empty where "unknown" is.
        prediction: what the model said; None where preprocessing found no garment.
    """

    garment: str
    labels: tuple[str, ...]
    prediction: Prediction | None

    @property
    def score(self) -> float:
        """The score of the most probable label; 0 without a garment."""
        return self.prediction.score if self.prediction else 0.0

    @property
    def answered(self) -> bool:
        """Whether the answer is a label."""
        return self.prediction is not None and self.prediction.known

    @property
    def hit(self) -> bool:
        """Whether the most probable label is right, whatever its score."""
        return self.prediction is not None and self.prediction.label in self.labels


def answers(classifier: Classifier, photos: Iterable[Photo]) -> list[Answer]:
    """Classify photographs, and the ground beside their garments, which comes last.

    Raises:
        ImageError: a photograph that cannot be read.
    """
    from edge_fmnist.vision.preprocess import preprocess, to_bgr
    from edge_fmnist.vision.read_image import read_picture

    garments, bare = [], []
    for photo in photos:
        picture = to_bgr(read_picture(str(photo.path)))
        garment = preprocess(picture)
        garments.append(Answer(photo.garment, photo.labels, _predicted(classifier, garment)))
        strip = ground(picture, garment)
        if strip is not None:
            bare.append(Answer(GROUND, (), _predicted(classifier, preprocess(strip))))
    return garments + bare


def _predicted(classifier: Classifier, garment: Garment) -> Prediction | None:
    return classifier.predict(garment.image) if garment.found else None


def auroc(positive: np.ndarray, negative: np.ndarray) -> float | None:
    """Return the area under the ROC curve: how often a positive score exceeds a negative one, ties counting half.

    The Mann-Whitney statistic (Hanley and McNeil 1982).

    Args:
        positive: scores that should be high, shape (N,).
        negative: scores that should be low, shape (M,).

    Returns:
        0 to 1; None where one of the two is empty.
    """
    if not len(positive) or not len(negative):
        return None
    order = np.sort(negative)
    below, up_to = np.searchsorted(order, positive, "left"), np.searchsorted(order, positive, "right")
    return float((below + up_to).sum() / (2 * len(positive) * len(negative)))


def summarize(given: list[Answer], threshold: float) -> PhotoEvaluation:
    """Return the metrics that follow from answers.

    Args:
        given: the answers, at least one of them about a garment with a label.
        threshold: the model's, for the record; the answers were given by it.

    Raises:
        DataError: not one of them is about a garment with a label.
    """
    known = [answer for answer in given if answer.labels]
    if not known:
        raise DataError("expected photographs of garments that Fashion-MNIST knows, got none")
    hits = [answer for answer in known if answer.hit]
    unknown = np.array([answer.score for answer in given if not answer.labels])
    return PhotoEvaluation(
        top1=len(hits) / len(known),
        images=len(known),
        garments=tuple(_metrics(kind, given) for kind in dict.fromkeys(answer.garment for answer in given)),
        auroc=auroc(np.array([answer.score for answer in known]), unknown),
        lost=sum(not answer.answered for answer in hits) / max(1, len(hits)),
        threshold=threshold,
    )


def _metrics(kind: str, given: list[Answer]) -> GarmentMetrics:
    ours = [answer for answer in given if answer.garment == kind]
    labels = ours[0].labels
    right = sum(answer.hit if labels else not answer.answered for answer in ours)
    return GarmentMetrics(kind, labels, len(ours), right, sum(answer.answered for answer in ours))


def evaluate_photos(classifier: Classifier, photos: Sequence[Photo]) -> PhotoEvaluation:
    """Evaluate a classifier on photographs.

    A garment counts as right when its most probable label is one of those that
    its folder stands for; what the threshold does to the answers is reported apart.

    Raises:
        ImageError: a photograph that cannot be read.
        DataError: no photograph of a garment with a label, or of one that the model does not know.
    """
    if strange := {photo.garment for photo in photos if photo.labels and not {*photo.labels} & {*classifier.labels}}:
        raise DataError(
            f"expected a model with labels for {', '.join(sorted(strange))}, got {', '.join(classifier.labels)}"
        )
    return summarize(answers(classifier, photos), classifier.threshold)
