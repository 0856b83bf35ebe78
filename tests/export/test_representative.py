from __future__ import annotations

import numpy as np
import pytest

from edge_fmnist.errors import DataError
from edge_fmnist_export.quantize.convert import representative_dataset, representative_images
from edge_fmnist_export.training.batches import Subset


@pytest.fixture
def train() -> Subset:
    """Return 500 different images, of class 0 most and of class 9 least."""
    rng = np.random.default_rng(0)
    targets = rng.choice(10, 500, p=np.arange(10, 0, -1) / 55).astype(np.uint8)
    return Subset(rng.integers(0, 256, (500, 28, 28), dtype=np.uint8), targets)


def places(train: Subset, images: np.ndarray) -> list[int]:
    """Return where in the training images each image stands."""
    known = {image.tobytes(): place for place, image in enumerate(train.images)}
    return [known[image.tobytes()] for image in images]


@pytest.mark.parametrize(("count", "each"), [(10, 1), (50, 5), (59, 5)])
def test_as_many_of_each_class_and_none_twice(train: Subset, count: int, each: int) -> None:
    chosen = places(train, representative_dataset(train, count, 1).images)
    assert len(set(chosen)) == len(chosen)
    assert np.bincount(train.targets[chosen]).tolist() == [each] * 10


def test_the_seed_alone_decides(train: Subset) -> None:
    first, again, other = (representative_dataset(train, 50, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.images, again.images)
    assert first.sha256 == again.sha256 != other.sha256
    assert (first.seed, other.seed) == (1, 2)


@pytest.mark.parametrize(("low", "high", "changed"), [(10, 90, 2), (0, 90, 1), (10, 256, 1), (0, 256, 0)])
def test_images_of_few_values_give_the_input_the_whole_range(low: int, high: int, changed: int) -> None:
    images = np.random.default_rng(0).integers(low, high, (20, 28, 28), dtype=np.uint8)
    chosen = representative_images(images, 0).images
    assert (chosen.min(), chosen.max(), (chosen != images).sum()) == (0, 255, changed)


def test_images_of_one_value_give_the_input_the_whole_range() -> None:
    chosen = representative_images(np.full((2, 28, 28), 80, np.uint8), 0).images
    assert (chosen.min(), chosen.max()) == (0, 255)


def test_too_few_images(train: Subset) -> None:
    with pytest.raises(DataError, match="expected 10 representative images or more, one of each class, got 9"):
        representative_dataset(train, 9, 1)
    fewer = train.targets < 6
    assert len(representative_dataset(Subset(train.images[fewer], train.targets[fewer]), 60, 1).images) == 60
    kept = train.targets != 4
    assert len(representative_dataset(Subset(train.images[kept], train.targets[kept]), 50, 1).images) == 45
    rare = np.flatnonzero(train.targets == 7)[2:]
    few = Subset(np.delete(train.images, rare, axis=0), np.delete(train.targets, rare))
    assert len(representative_dataset(few, 50, 1).images) == 47
