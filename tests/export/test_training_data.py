from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_fmnist.data.dataset import Split, load_split
from edge_fmnist_export.training.batches import FOOTWEAR, UNKNOWN
from edge_fmnist_export.training.photo_views import training_views
from edge_fmnist_export.training.recipe import Recipe, load_recipe
from edge_fmnist_export.training.training_data import gather, subsets


def silent(done: int, of: int) -> None:
    """Ignore progress."""


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
