"""Photographs as training images, and beside those of a data set."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_fmnist.data.dataset import Split, load_split
from edge_fmnist.errors import DataError, ImageError
from edge_fmnist.model.photos import GARMENTS, Photo, find_photos
from edge_fmnist.vision.preprocess import preprocess
from edge_fmnist.vision.read_image import read_image
from edge_fmnist_export.training.batches import FOOTWEAR, UNKNOWN, Subset
from edge_fmnist_export.training.photo_views import check_folder, fingerprint, target, training_views, validation_images
from edge_fmnist_export.training.recipe import Recipe, load_recipe
from edge_fmnist_export.training.training_data import gather, subsets

TARGETS = {"t-shirt": 0, "pants": 1, "shoes": FOOTWEAR, "hat": UNKNOWN}


def silent(done: int, of: int) -> None:
    """Ignore progress."""


def image_of(photo: Photo) -> np.ndarray:
    return preprocess(read_image(str(photo.path))).image


def views_of(folder: Path, views: int, seed: int = 0) -> Subset:
    return training_views(folder, views, seed, silent)


@pytest.fixture
def own_photos(tiny_photos: Path, tmp_path: Path) -> Path:
    """Return a copy of the drawn photographs that a test may change."""
    return Path(shutil.copytree(tiny_photos, tmp_path / "photos"))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[np.ndarray], Path]:
    """Return a function that makes a folder with one training photograph, a T-shirt's."""

    def make(picture: np.ndarray) -> Path:
        (tmp_path / "train" / "t-shirt").mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "train" / "t-shirt" / "one.png"), picture)
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("garment", "expected"),
    [("t-shirt", 0), ("pants", 1), ("longsleeve", 2), ("dress", 3), ("outwear", 4), ("shirt", 6), ("shoes", FOOTWEAR)]
    + [(name, UNKNOWN) for name in ("hat", "shorts", "skirt")],
)
def test_target_of_a_folder(garment: str, expected: int) -> None:
    assert target(Photo(Path("x.jpg"), garment, GARMENTS[garment])) == expected


def test_first_view_is_the_photograph_itself(tiny_photos: Path) -> None:
    photos = find_photos(tiny_photos, "train")
    views = views_of(tiny_photos, 1)
    assert views.targets.tolist() == [TARGETS[photo.garment] for photo in photos]
    for photo, image in zip(photos, views.images, strict=True):
        np.testing.assert_array_equal(image, image_of(photo))


def test_views_of_a_photograph_depend_on_the_seed(tiny_photos: Path) -> None:
    first, again, other = (views_of(tiny_photos, 5, seed) for seed in (1, 1, 2))
    counts = np.bincount(first.targets, minlength=UNKNOWN + 1)
    # Strong augmentation may hide a garment, but most views show one.
    assert all(4 * 4 <= counts[number] <= 4 * 5 for number in TARGETS.values())
    assert first.images.shape[1:] == (28, 28)
    assert first.images.dtype == first.targets.dtype == np.uint8
    assert len(np.unique(first.images, axis=0)) == len(first)
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.targets, again.targets)
    assert first.images.shape != other.images.shape or (first.images != other.images).any()


def test_background_beside_a_garment_is_unknown(write: Callable[[np.ndarray], Path]) -> None:
    # A shirt on a sheet; below it a strip of another cloth with a dark object on it.
    picture = np.empty((240, 200, 3), np.uint8)
    picture[:195], picture[195:], picture[205:230, 60:140] = (200, 190, 180), (120, 160, 190), (30, 30, 30)
    picture[60:150, 60:140] = (60, 20, 20)
    noisy = np.clip(picture + np.random.default_rng(0).normal(0, 6, picture.shape), 0, 255).astype(np.uint8)
    views = views_of(write(noisy), 3)
    # One background view, after the photograph itself.
    assert views.targets.tolist() == [0, UNKNOWN, 0, 0]


def test_validation_images_are_the_photographs_themselves(tiny_photos: Path) -> None:
    photos = find_photos(tiny_photos, "validation")
    images = validation_images(tiny_photos)
    assert images.targets.tolist() == [TARGETS[photo.garment] for photo in photos]
    for photo, image in zip(photos, images.images, strict=True):
        np.testing.assert_array_equal(image, image_of(photo))


def test_validation_keeps_a_photograph_without_a_garment_as_black(own_photos: Path) -> None:
    path = own_photos / "validation" / "pants" / "0.png"
    cv2.imwrite(str(path), np.full((100, 100, 3), 128, np.uint8))
    images = validation_images(own_photos)
    index = [photo.path for photo in find_photos(own_photos, "validation")].index(path)
    assert len(images) == 12
    assert not images.images[index].any()
    assert images.targets[index] == 1


def test_photographs_without_a_garment_are_refused(write: Callable[[np.ndarray], Path]) -> None:
    folder = write(np.full((100, 100, 3), 128, np.uint8))
    with pytest.raises(DataError, match="preprocessing found no garment in any of 1 photographs"):
        views_of(folder, 3)


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_a_photograph_that_cannot_be_read_is_named(own_photos: Path, content: bytes) -> None:
    for split in ("train", "validation"):
        (own_photos / split / "shoes" / "1.png").write_bytes(content)
    with pytest.raises(ImageError, match=r"train/shoes/1\.png: .*replace or remove it"):
        views_of(own_photos, 1)
    with pytest.raises(ImageError, match=r"validation/shoes/1\.png: .*replace or remove it"):
        validation_images(own_photos)


def test_folder_without_known_garments_to_validate_on(own_photos: Path) -> None:
    for garment in ("t-shirt", "pants", "shoes"):
        shutil.rmtree(own_photos / "validation" / garment)
    with pytest.raises(DataError, match=r"validation: expected photographs of garments .*fill at least one of t-shirt"):
        check_folder(own_photos)


def test_fingerprint_is_that_of_names_and_contents(tiny_photos: Path, own_photos: Path) -> None:
    original = fingerprint(tiny_photos)
    assert len(original) == 64
    assert fingerprint(own_photos) == original
    (own_photos / "notes.txt").write_text("no photograph", "utf-8")
    assert fingerprint(own_photos) == original
    photo = own_photos / "train" / "hat" / "0.png"
    content = photo.read_bytes()
    photo.write_bytes(content + b"\0")
    changed = fingerprint(own_photos)
    photo.rename(photo.with_name("9.png"))
    renamed = fingerprint(own_photos)
    photo.with_name("9.png").unlink()
    assert len({original, changed, renamed, fingerprint(own_photos)}) == 4
    # A name that is not UTF-8.
    Path(os.fsdecode(os.fsencode(photo.parent) + b"/caf\xe9.png")).write_bytes(content)
    assert fingerprint(own_photos) not in {original, changed, renamed}


def test_the_alpha_channel_is_the_mask_of_every_view(write: Callable[[np.ndarray], Path]) -> None:
    cut_out = np.full((120, 120, 4), 245, np.uint8)
    cut_out[..., 3] = 0
    cv2.ellipse(cut_out, (60, 60), (30, 40), 0, 0, 360, (245, 245, 245, 255), -1)
    folder = write(cut_out)
    views = views_of(folder, 8)
    garments = views.images[views.targets == 0]
    assert len(garments) == 8
    # An ellipse of 21 x 28 pixels: white on white, no mask could be found without the channel.
    assert (garments > 0).mean() == pytest.approx(0.59, abs=0.1)


@pytest.fixture(scope="module")
def data(tiny_data: Path) -> Split:
    return load_split(tiny_data, "train")


@pytest.fixture
def pictured(photo_recipe: Path) -> Recipe:
    return load_recipe(str(photo_recipe))


def test_views_join_the_training_images(pictured: Recipe, data: Split, tiny_photos: Path) -> None:
    gathered = gather(pictured, data, tiny_photos, silent)
    images, _ = subsets(pictured, data)
    views = training_views(tiny_photos, pictured.photos.views, pictured.seed, silent)
    assert len(gathered.train) == len(images) + len(views)
    np.testing.assert_array_equal(gathered.train.images[: len(images)], images.images)
    np.testing.assert_array_equal(gathered.train.images[len(images) :], views.images)
    np.testing.assert_array_equal(gathered.train.targets[len(images) :], views.targets)


def test_photographs_validate_as_much_as_images(pictured: Recipe, data: Split, tiny_photos: Path) -> None:
    gathered = gather(pictured, data, tiny_photos, silent)
    # 100 images, and 9 photographs of known garments 11 times.
    assert len(gathered.validation) == 100 + 99
    assert UNKNOWN not in gathered.validation.targets
    assert np.bincount(gathered.validation.targets)[FOOTWEAR] == 33
    assert gathered.validation.one_hot().any(axis=1).all()
