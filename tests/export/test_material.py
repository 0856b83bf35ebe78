from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_fmnist.data.dataset import FASHION_MNIST_SHA256, IMAGES, TARGETS, Split, SplitName, load_split
from edge_fmnist.errors import UsageError
from edge_fmnist_export.training import training_data as materials
from edge_fmnist_export.training.batches import FOOTWEAR, UNKNOWN
from edge_fmnist_export.training.photo_views import fingerprint, training_views, validation_images
from edge_fmnist_export.training.recipe import Recipe, load_recipe
from edge_fmnist_export.training.run import Run
from edge_fmnist_export.training.training_data import check_photos, gather, of_another_set, sources, subsets


def silent(done: int, of: int) -> None:
    """Hear nothing."""


@pytest.fixture(scope="module")
def data(tiny_data: Path) -> Split:
    return load_split(tiny_data, "train")


@pytest.fixture
def plain(tiny_recipe: Path) -> Recipe:
    return load_recipe(str(tiny_recipe))


@pytest.fixture
def pictured(photo_recipe: Path) -> Recipe:
    return load_recipe(str(photo_recipe))


def test_without_photographs_it_is_the_data_set(plain: Recipe, data: Split) -> None:
    material = gather(plain, data, None, silent)
    for found, expected in zip((material.train, material.validation), subsets(plain, data), strict=True):
        np.testing.assert_array_equal(found.images, expected.images)
        np.testing.assert_array_equal(found.targets, expected.targets)
    assert material.photos is None


def test_what_is_held_out_does_not_depend_on_the_seed_of_training(plain: Recipe, data: Split) -> None:
    for found, expected in zip(
        materials.split(plain.model_copy(update={"seed": plain.seed + 1}), data), subsets(plain, data), strict=True
    ):
        np.testing.assert_array_equal(found.images, expected.images)


def hashes(name: SplitName) -> tuple[str, str]:
    return FASHION_MNIST_SHA256[IMAGES[name]], FASHION_MNIST_SHA256[TARGETS[name]]


@pytest.mark.parametrize(
    ("recorded", "name", "given", "another"),
    [
        (None, "train", ("a", "b"), False),
        (("a", "b"), "train", ("a", "b"), False),
        (("a", "b"), "train", ("c", "d"), True),
        (hashes("train"), "test", hashes("test"), False),
        (hashes("train"), "test", ("c", "d"), True),
        (("a", "b"), "test", hashes("test"), True),
        # Of two sets that are both not Fashion-MNIST, nothing is known.
        (("a", "b"), "test", ("c", "d"), False),
    ],
)
def test_data_of_another_set_than_the_run(
    tmp_path: Path,
    plain: Recipe,
    recorded: tuple[str, str] | None,
    name: SplitName,
    given: tuple[str, str],
    another: bool,
) -> None:
    run = Run(tmp_path, plain)
    run.write_json("run.json", {} if recorded is None else {"data_sha256": list(recorded)})
    images, targets = np.zeros((1, 28, 28), np.uint8), np.zeros(1, np.uint8)
    assert of_another_set(run, name, Split(images, targets, given)) is another


def test_views_join_the_training_images(pictured: Recipe, data: Split, tiny_photos: Path) -> None:
    material = gather(pictured, data, tiny_photos, silent)
    images, _ = subsets(pictured, data)
    views = training_views(tiny_photos, pictured.photos.views, pictured.seed, silent)
    assert len(material.train) == len(images) + len(views)
    np.testing.assert_array_equal(material.train.images[: len(images)], images.images)
    np.testing.assert_array_equal(material.train.images[len(images) :], views.images)
    np.testing.assert_array_equal(material.train.targets[len(images) :], views.targets)


def test_photographs_validate_as_much_as_images(pictured: Recipe, data: Split, tiny_photos: Path) -> None:
    material = gather(pictured, data, tiny_photos, silent)
    # 100 images, and 9 photographs of known garments 11 times.
    assert len(material.validation) == 100 + 99
    assert UNKNOWN not in material.validation.targets
    assert np.bincount(material.validation.targets)[FOOTWEAR] == 33
    assert material.validation.one_hot().any(axis=1).all()


def test_each_validation_photograph_calibrates_once(pictured: Recipe, data: Split, tiny_photos: Path) -> None:
    photos = gather(pictured, data, tiny_photos, silent).photos
    assert photos is not None
    np.testing.assert_array_equal(photos.images, validation_images(tiny_photos).images)
    assert np.bincount(photos.targets)[[0, 1, FOOTWEAR, UNKNOWN]].tolist() == [3, 3, 3, 3]


def test_photographs_come_with_the_recipe_that_wants_them(plain: Recipe, pictured: Recipe, tiny_photos: Path) -> None:
    check_photos(plain, None)
    check_photos(pictured, tiny_photos)
    with pytest.raises(UsageError, match="pictured trains on photographs too; name their folder with --photos"):
        check_photos(pictured, None)
    with pytest.raises(UsageError, match="tiny trains without photographs; leave --photos out"):
        check_photos(plain, tiny_photos)


def test_sources_identify_images_and_photographs(data: Split, tiny_photos: Path) -> None:
    assert sources(data, None) == {"data_sha256": list(data.sha256), "labels": list(data.labels)}
    assert sources(data, tiny_photos) == {**sources(data, None), "photos_sha256": fingerprint(tiny_photos)}
