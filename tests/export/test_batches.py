from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_fmnist.data.dataset import Split
from edge_fmnist.data.labels import LABELS
from edge_fmnist.errors import DataError
from edge_fmnist_export.training import backend
from edge_fmnist_export.training.batches import FOOTWEAR, TARGET_ROWS, UNKNOWN, Subset, epoch_batches, split_validation
from edge_fmnist_export.training.feeding import fed, outputs
from edge_fmnist_export.training.recipe import Augmentation

AUGMENTED = Augmentation(shift=2, flip=True, erasing=0.5)


def numbered(count: int) -> np.ndarray:
    """Return images that carry their own number in their first two pixels."""
    images = np.zeros((count, 28, 28), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.arange(count) // 256, np.arange(count) % 256
    return images


def numbers(images: np.ndarray) -> list[int]:
    """Return the numbers that images carry."""
    return [int(number) for number in images[:, 0, 0].astype(int) * 256 + images[:, 0, 1]]


@pytest.fixture
def split() -> Split:
    """Return 500 numbered images whose classes are not equally frequent."""
    targets = np.random.default_rng(3).choice(10, 500, p=np.arange(1, 11) / 55).astype(np.uint8)
    targets[:50] = np.arange(50) % 10
    return Split(numbered(500), targets, ("a", "b"))


@pytest.fixture
def subset() -> Subset:
    return Subset(numbered(100), (np.arange(100) % 10).astype(np.uint8))


def test_the_validation_split(split: Split) -> None:
    parts = split_validation(split, 100, 1)
    for part in parts:
        chosen = numbers(part.images)
        assert chosen == sorted(chosen)
        np.testing.assert_array_equal(part.targets, split.targets[chosen])
    stratified = np.bincount(split.targets, minlength=10) / 5
    assert np.abs(np.bincount(parts[1].targets, minlength=10) - stratified).max() <= 1
    again, other = (numbers(split_validation(split, 100, seed)[1].images) for seed in (1, 2))
    assert numbers(parts[1].images) == again != other


@pytest.mark.parametrize("count", [500, 600, 495, 5])
def test_split_that_cannot_be_made(split: Split, count: int) -> None:
    with pytest.raises(DataError, match=f"cannot hold out {count} of 500 training images"):
        split_validation(split, count, 0)


def test_footwear_is_right_for_three_classes_and_unknown_for_none() -> None:
    footwear, unknown = TARGET_ROWS[[FOOTWEAR, UNKNOWN]]
    assert [LABELS[index] for index in footwear.nonzero()[0]] == ["Sandal", "Sneaker", "Ankle boot"]
    assert set(footwear[footwear > 0]) == {1}
    assert not unknown.any()


def test_an_epoch_shows_each_image_at_most_once_with_its_target(subset: Subset) -> None:
    seen = []
    for images, targets in epoch_batches(subset, 25, Augmentation(), (1,)):
        chosen = numbers((images[..., 0] * 255).round())
        np.testing.assert_array_equal(targets, subset.one_hot()[chosen])
        seen += chosen
    assert sorted(seen) == list(range(100))
    assert seen != sorted(seen)


@pytest.mark.parametrize("settings", [Augmentation(), AUGMENTED])
def test_an_epoch_depends_on_the_seed_alone(subset: Subset, settings: Augmentation) -> None:
    first, again, other = (list(epoch_batches(subset, 20, settings, (4, 0, epoch))) for epoch in (1, 1, 2))
    for (images, targets), (images_again, targets_again) in zip(first, again, strict=True):
        np.testing.assert_array_equal(images, images_again)
        np.testing.assert_array_equal(targets, targets_again)
    assert any((one[0] != two[0]).any() for one, two in zip(first, other, strict=True))


def test_fewer_images_than_one_batch(subset: Subset) -> None:
    with pytest.raises(DataError, match="100 training images are fewer than one batch of 101"):
        next(epoch_batches(subset, 101, Augmentation(), (1,)))


def test_batches_reach_the_model_unchanged_and_without_autotuning(each_keras: Any) -> None:
    keras = each_keras
    rng = np.random.default_rng(1)
    batches = [(rng.random((4, 28, 28, 1), np.float32), rng.random((4, 20), np.float32)) for _ in range(3)]
    pipeline = fed(keras, batches)
    assert pipeline.options().autotune.enabled is False
    for found, given in zip(pipeline, batches, strict=True):
        np.testing.assert_array_equal(found[0], given[0])
        np.testing.assert_array_equal(found[1], given[1])
    inputs = keras.layers.Input((28, 28, 1))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
    images = rng.random((7, 28, 28, 1), np.float32)
    kernel, bias = (np.asarray(variable) for variable in model.weights)
    np.testing.assert_allclose(outputs(model, images, 3), images.reshape(7, -1) @ kernel + bias, atol=1e-5)


def test_outputs_of_layers_in_bfloat16_are_float32() -> None:
    keras = backend.keras_module()
    inputs = keras.layers.Input((28, 28, 1))
    features = keras.layers.Flatten()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3, dtype="mixed_bfloat16")(features))
    found = outputs(model, np.ones((2, 28, 28, 1), np.float32))
    assert found.dtype == np.float32
    assert found.shape == (2, 3)
