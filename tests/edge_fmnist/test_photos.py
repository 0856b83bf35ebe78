"""Folders of photographs, and what a model's answers on them are worth."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_fmnist import LABELS, Box, Classifier, Garment, Prediction
from edge_fmnist.data.labels import NONE
from edge_fmnist.errors import DataError, DataNotFoundError
from edge_fmnist.model.photos import (
    GARMENTS,
    GROUND,
    Photo,
    PhotoResult,
    auroc,
    evaluate_photos,
    find_photos,
    ground,
    right_labels,
    summarize,
)

PHOTOS_VARIABLE = "EDGE_FMNIST_PHOTOS"
FLOOR, CLOTH = (200, 205, 210), (120, 60, 40)
# What the project promises of the camera model on the public photographs.
MIN_TOP1, MIN_AUROC, MAX_REJECTED = 0.85, 0.80, 0.08

Picture = Callable[..., Path]


def tall() -> np.ndarray:
    """Return a photograph of a tall narrow garment, BGR."""
    picture = np.full((160, 120, 3), FLOOR, np.uint8)
    picture[30:130, 45:75] = CLOTH
    return picture


def wide() -> np.ndarray:
    """Return a photograph of a wide garment, BGR."""
    return np.ascontiguousarray(tall().transpose(1, 0, 2))


def empty() -> np.ndarray:
    """Return a photograph of a bare floor."""
    return np.full((160, 120, 3), FLOOR, np.uint8)


class ByShape(Classifier):
    """Takes what is tall for trousers and all else for a bag."""

    def __init__(self, score: float = 0.9, threshold: float = 0.5, labels: tuple[str, ...] = LABELS) -> None:
        self.score, self.threshold, self.labels, self.metadata = score, threshold, labels, None

    def predict(self, image: np.ndarray) -> Prediction:
        tall = np.count_nonzero(image.any(axis=1)) > np.count_nonzero(image.any(axis=0))
        return said("Trouser" if tall else "Bag", self.score, self.threshold)


def said(label: str, score: float, threshold: float = 0.5) -> Prediction:
    scores = np.full(len(LABELS), (1 - score) / 9, np.float32)
    index = LABELS.index(label)
    scores[index] = score
    return Prediction(label, index, score, scores, 0.1, LABELS, threshold)


def answer(garment: str, label: str | None, score: float = 0.9, threshold: float = 0.5) -> PhotoResult:
    prediction = None if label is None else said(label, score, threshold)
    return PhotoResult(garment, GARMENTS.get(garment, ()), prediction)


@pytest.fixture
def folder(picture: Picture, tmp_path: Path) -> Path:
    """Return a folder of two splits; each garment of ``validation`` has its name's shape but one."""
    picture("photos/train/dress/a.jpg", tall())
    for name, pixels in {
        "pants/b.png": tall(),
        "pants/a.JPG": tall(),
        "pants/c.png": wide(),
        "hat/a.png": wide(),
        "Bag/a.png": wide(),
        "shoes/a.png": empty(),
    }.items():
        picture(f"photos/validation/{name}", pixels)
    return tmp_path / "photos"


def test_photographs_are_sorted_and_know_what_is_right(folder: Path) -> None:
    place = folder / "validation"
    assert find_photos(folder, "validation") == [
        Photo(place / "Bag" / "a.png", "Bag", ("Bag",)),
        Photo(place / "hat" / "a.png", "hat", ()),
        Photo(place / "pants" / "a.JPG", "pants", ("Trouser",)),
        Photo(place / "pants" / "b.png", "pants", ("Trouser",)),
        Photo(place / "pants" / "c.png", "pants", ("Trouser",)),
        Photo(place / "shoes" / "a.png", "shoes", ("Sandal", "Sneaker", "Ankle boot")),
    ]


def test_a_folder_named_like_a_label_or_a_garment(picture: Picture, tmp_path: Path) -> None:
    for name in ("Pants", "ankle boot", "t-shirt-top"):
        picture(f"photos/{name}/a.png", wide())
    assert [photo.labels for photo in find_photos(tmp_path / "photos")] == [
        ("Trouser",),
        ("Ankle boot",),
        ("T-shirt/top",),
    ]


def test_other_files_and_hidden_folders_are_passed_over(folder: Path) -> None:
    before = find_photos(folder, "validation")
    place = folder / "validation"
    (place / "validation.csv").write_text("file,garment", "utf-8")
    (place / ".thumbnails").mkdir()
    # Of live --collect.
    (place / "unsorted").mkdir()
    (place / "pants" / "._a.jpg").write_bytes(b"x")
    (place / "pants" / "old.jpg").mkdir()
    (place / "dress").mkdir()
    assert find_photos(folder, "validation") == before


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"nowhere: no such folder of photographs"):
        find_photos(tmp_path / "nowhere", "validation")


@pytest.mark.parametrize("split", ["test", "", "..", "train/dress"])
def test_a_split_that_is_not_there(folder: Path, split: str) -> None:
    with pytest.raises(DataNotFoundError, match=rf"expected a folder named '{split}' .* got train, validation$"):
        find_photos(folder, split)


def test_an_unknown_garment(folder: Path) -> None:
    (folder / "train" / "socks").mkdir()
    with pytest.raises(DataError, match=r"train: expected folders named t-shirt, pants, .* got socks$"):
        find_photos(folder, "train")


@pytest.mark.parametrize("name", ["train", "train/pants"])
def test_no_photographs(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir(parents=True)
    with pytest.raises(DataNotFoundError, match=r"train: expected photographs in folders such as .*t-shirt, got none$"):
        find_photos(tmp_path, "train")


def found_at(box: Box, shape: tuple[int, int]) -> Garment:
    pixels = np.zeros((28, 28), np.uint8)
    return Garment(found=any(box), image=pixels, mask=pixels, box=box, confidence=0.5, frame_shape=shape)


@pytest.mark.parametrize(
    ("box", "strip"),
    [
        (Box(10, 40, 80, 50), np.s_[:40]),
        (Box(10, 10, 80, 50), np.s_[60:]),
        (Box(60, 10, 40, 80), np.s_[:, :60]),
        (Box(0, 10, 40, 80), np.s_[:, 40:]),
    ],
    ids=["above", "below", "left", "right"],
)
def test_the_ground_is_the_largest_strip_beside_the_garment(box: Box, strip: tuple[slice, ...]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    shown = ground(picture, found_at(box, (100, 100)))
    assert shown is not None
    assert np.array_equal(shown, picture[strip])


@pytest.mark.parametrize("box", [Box(0, 0, 100, 100), Box(20, 23, 57, 54), Box(0, 0, 0, 0)])
def test_no_ground_where_it_is_too_narrow_or_nothing_was_found(box: Box) -> None:
    assert ground(np.zeros((100, 100, 3), np.uint8), found_at(box, (100, 100))) is None


@pytest.mark.parametrize(
    ("positive", "negative", "area"),
    [
        ([0.9, 0.8], [0.1, 0.2], 1.0),
        ([0.1, 0.2], [0.9, 0.8], 0.0),
        ([0.5], [0.5], 0.5),
        ([0.5, 0.5], [0.5, 0.2], 0.75),
        ([0.3, 0.7], [0.5], 0.5),
        ([0.3], [], None),
        ([], [0.3], None),
    ],
)
def test_auroc(positive: list[float], negative: list[float], area: float | None) -> None:
    assert auroc(np.array(positive), np.array(negative)) == area


def test_a_garment_counts_as_right_by_its_label_alone() -> None:
    assert answer("pants", "Trouser", 0.3).hit
    assert not answer("pants", "Bag", 0.9).hit
    assert not answer("pants", None).hit
    assert all(answer("shoes", label).hit for label in ("Sandal", "Sneaker", "Ankle boot"))
    assert not answer("hat", "Bag").hit


GIVEN = [
    answer("pants", "Trouser", 0.9),
    answer("pants", "Trouser", 0.4),
    answer("pants", "Bag", 0.8),
    answer("pants", None),
    answer("shoes", "Sneaker", 0.7),
    answer("hat", "Bag", 0.6),
    answer("hat", "Bag", 0.3),
    answer(GROUND, None),
    answer(GROUND, "Coat", 0.2),
]


def test_summary() -> None:
    result = summarize(GIVEN, 0.5)
    assert (result.top1, result.images, result.threshold) == (3 / 5, 5, 0.5)
    # One of the three right answers is below the threshold.
    assert result.false_reject_rate == pytest.approx(1 / 3)
    counts = {kind.garment: (kind.images, kind.right, kind.answered) for kind in result.garments}
    assert counts == {"pants": (4, 2, 2), "shoes": (1, 1, 1), "hat": (2, 1, 1), GROUND: (2, 2, 0)}
    known, unknown = [0.9, 0.4, 0.8, 0, 0.7], [0.6, 0.3, 0, 0.2]
    assert result.auroc == auroc(np.array(known), np.array(unknown))


def test_nothing_right_loses_nothing() -> None:
    result = summarize([answer("pants", "Bag", 0.1)], 0.5)
    assert (result.top1, result.false_reject_rate) == (0, 0)


def test_a_summary_needs_a_known_garment() -> None:
    with pytest.raises(DataError, match="expected photographs of garments that the model knows, got none"):
        summarize(GIVEN[5:], 0.5)


def test_a_summary_in_json() -> None:
    read: dict[str, Any] = json.loads(json.dumps(summarize(GIVEN, 0.5).as_dict()))
    assert (read["top1"], read["images"], read["false_reject_rate"], read["threshold"]) == (0.6, 5, 0.333333, 0.5)
    assert read["garments"][1] == {
        "garment": "shoes",
        "labels": ["Sandal", "Sneaker", "Ankle boot"],
        "images": 1,
        "right": 1,
        "answered": 1,
    }
    assert json.loads(json.dumps(summarize(GIVEN[:5], 0.5).as_dict()))["auroc"] is None


def test_evaluation(folder: Path) -> None:
    result = evaluate_photos(ByShape(), find_photos(folder, "validation"))
    assert (result.images, result.top1, result.false_reject_rate) == (5, 3 / 5, 0)
    assert evaluate_photos(ByShape(score=0.4), find_photos(folder, "validation")).false_reject_rate == 1


def test_no_photograph_can_be_read(folder: Path) -> None:
    for path in (folder / "train").rglob("*.jpg"):
        path.write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"got none; the first of 1 unreadable ones: .*a\.jpg: not a picture"):
        evaluate_photos(ByShape(), find_photos(folder, "train"))


def test_photographs_of_any_format_and_the_rest_is_counted(folder: Path) -> None:
    place, warnings = folder / "train" / "dress", list[str]()
    (place / "a.jpg").rename(place / "a")
    (place / "b.jpg").write_bytes(b"%PDF-1.7")
    (place / "c.txt").write_text("x", "utf-8")
    assert [photo.path.name for photo in find_photos(folder, "train", warnings.append)] == ["a"]
    assert warnings == [f"{place}: 2 files skipped: 1 PDF, 1 .txt"]


def test_a_model_that_cannot_know_a_garment(folder: Path) -> None:
    with pytest.raises(DataError, match="expected a model with labels for Bag, pants, got Sandal, Coat"):
        evaluate_photos(ByShape(labels=("Sandal", "Coat")), find_photos(folder, "validation"))


@pytest.mark.skipif(
    PHOTOS_VARIABLE not in os.environ, reason=f"{PHOTOS_VARIABLE} does not name a folder of the public photographs"
)
def test_the_camera_model_on_real_photographs() -> None:
    photos = find_photos(Path(os.environ[PHOTOS_VARIABLE]), "validation")
    result = evaluate_photos(Classifier.load("camera"), photos)
    assert result.images >= 100
    assert result.top1 >= MIN_TOP1
    assert result.auroc is not None
    assert result.auroc >= MIN_AUROC
    assert 0 < result.false_reject_rate <= MAX_REJECTED


def test_none_is_no_score_of_a_garment() -> None:
    labels = (NONE, "jeans")
    scores = np.array([0.9, 0.1], np.float32)
    rejected = Prediction(NONE, 0, 0.9, scores, 0.1, labels, 0.5)
    known = Prediction("jeans", 1, 0.9, scores[::-1], 0.1, labels, 0.5)
    assert [PhotoResult(NONE, (), prediction).score for prediction in (rejected, known, None)] == [0.0, 0.9, 0.0]


def test_unknown_is_right_for_a_folder_of_rejects_of_a_model_that_has_them(picture: Picture, tmp_path: Path) -> None:
    picture("photos/none/a.png", wide())
    picture("photos/Bag/a.png", wide())
    found = find_photos(tmp_path / "photos", labels=("Bag", NONE))
    assert [(photo.garment, photo.labels) for photo in found] == [("Bag", ("Bag",)), (NONE, ())]


@pytest.mark.parametrize("folder", ["none", "None", "NONE"])
def test_nothing_is_right_for_rejects(folder: str) -> None:
    assert right_labels(folder, (folder, "Coat")) == ()


def test_a_garment_that_the_model_does_not_have_is_unknown() -> None:
    assert right_labels("pants", ("Coat", "Bag")) == ()
    assert right_labels("shoes", ("Coat", "Sandal")) == ("Sandal",)
