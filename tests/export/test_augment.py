from __future__ import annotations

import numpy as np
import pytest

from edge_fmnist_export.training.augment import DROPPED, LEAKED, augment, cover, erase, flip, shift
from edge_fmnist_export.training.recipe import Augmentation

COUNT = 400


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def images() -> np.ndarray:
    """Return seeded images without a black pixel, so that pixels filled with 0 are visible."""
    return rng(5).integers(1, 256, (COUNT, 28, 28), dtype=np.uint8)


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return for each image whether any pixel changed."""
    return np.asarray((before != after).any(axis=(1, 2)))


def test_shift_moves_within_the_limit_and_fills_with_background(images: np.ndarray) -> None:
    limit = 2
    moves = set()
    for before, after in zip(images, shift(images, limit, rng()), strict=True):
        rows, columns = np.flatnonzero(after.any(axis=1)), np.flatnonzero(after.any(axis=0))
        height, width = len(rows), len(columns)
        assert min(height, width) >= 28 - limit
        # No pixel of the source is 0, so the other pixels are the visible part of it, at one end of each axis.
        top, left = (0 if rows[0] else 28 - height), (0 if columns[0] else 28 - width)
        visible = after[rows[0] : rows[0] + height, columns[0] : columns[0] + width]
        np.testing.assert_array_equal(visible, before[top : top + height, left : left + width])
        moves.add((int(rows[0]) - top, int(columns[0]) - left))
    assert {row for row, _ in moves} == {column for _, column in moves} == set(range(-limit, limit + 1))


def test_flip_mirrors_about_half(images: np.ndarray) -> None:
    flipped = flip(images, rng())
    mirrored = changed(images, flipped)
    np.testing.assert_array_equal(flipped[mirrored], images[mirrored][:, :, ::-1])
    assert 0.4 < mirrored.mean() < 0.6


def rectangle(inside: np.ndarray) -> tuple[int, int]:
    """Return height and width of what a mask covers, after checking that it is a filled rectangle."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    assert inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    return len(rows), len(columns)


def test_erase_fills_one_rectangle_in_its_share_of_the_images() -> None:
    # Noise equals the old pixel in one of 256 cases, so two runs on different backgrounds show the whole rectangle.
    black, white = np.zeros((COUNT, 28, 28), np.uint8), np.full((COUNT, 28, 28), 255, np.uint8)
    least, most = 0.1, 0.25
    inside = (erase(black, 1, (least, most), rng()) != black) | (erase(white, 1, (least, most), rng()) != white)
    sizes = [height * width for height, width in map(rectangle, inside)]
    # Sides are rounded to whole pixels: half a pixel each way on each side.
    assert least * 784 - 2 * np.sqrt(least * 784) - 1 < min(sizes)
    assert max(sizes) < most * 784 + 2 * np.sqrt(most * 784) + 1
    assert least < np.mean(sizes) / 784 < most
    for share in (0.0, 0.3):
        assert abs(changed(black, erase(black, share, (0.1, 0.2), rng())).mean() - share) < 0.07


@pytest.mark.parametrize("values", [DROPPED, LEAKED, (7, 9)])
def test_cover_fills_one_rectangle_with_one_grey_value(values: tuple[int, int]) -> None:
    # No image has a value that covers, so the whole rectangle shows.
    ground = 5
    covered = cover(np.full((COUNT, 28, 28), ground, np.uint8), 1, (0.1, 0.2), values, rng())
    greys, sizes = set(), []
    for image in covered:
        height, width = rectangle(image != ground)
        sizes.append(height * width)
        (grey,) = np.unique(image[image != ground])
        greys.add(int(grey))
    assert values[0] <= min(greys) <= max(greys) <= values[1]
    assert len(greys) > min(100, values[1] - values[0]) * 0.7
    assert 0.1 < np.mean(sizes) / 784 < 0.2
    assert covered.dtype == np.uint8


def test_each_setting_alone_has_an_effect(images: np.ndarray) -> None:
    np.testing.assert_array_equal(augment(images, Augmentation(), rng()), images)
    for setting, value in {"shift": 2, "flip": True, "erasing": 0.5, "dropping": 0.5, "leaking": 0.5}.items():
        settings = Augmentation.model_validate({setting: value})
        assert (augment(images, settings, rng()) != images).any(), setting
