from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_fmnist_export.training.augment import DROPPED, LEAKED, augment, cover, cutmix, erase, flip, mix, mixup, shift
from edge_fmnist_export.training.recipe import Augmentation

COUNT = 400


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def images() -> np.ndarray:
    """Return seeded images without a black pixel, so that pixels filled with 0 are visible."""
    return rng(5).integers(1, 256, (COUNT, 28, 28), dtype=np.uint8)


@pytest.fixture
def targets() -> np.ndarray:
    return np.eye(10, dtype=np.float32)[np.arange(COUNT) % 10]


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


def test_mixup_blends_images_and_targets_alike(targets: np.ndarray) -> None:
    # Each image shows its target's probabilities as brightness, so both have to be blended alike.
    shown = np.tile(targets[:, :, None], (1, 1, 3))
    blended, mixed = mixup(shown, targets, 0.4, rng())
    np.testing.assert_allclose(mixed.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(blended, np.tile(mixed[:, :, None], (1, 1, 3)), atol=1e-6)
    assert ((mixed > 0).sum(axis=1) == 2).mean() > 0.5
    assert blended.dtype == mixed.dtype == np.float32


@pytest.mark.parametrize("size", [(28, 28), (20, 12)])
def test_cutmix_puts_one_rectangle_of_another_image_in_and_targets_count_its_pixels(size: tuple[int, int]) -> None:
    # Each image is one number all over, and has a target of its own, so that every pixel identifies its image.
    shown = np.broadcast_to(np.arange(COUNT, dtype=np.float32)[:, None, None], (COUNT, *size))
    cut, rows = cutmix(shown, np.eye(COUNT, dtype=np.float32), 1.0, rng())
    replaced = 0
    for index, (image, row) in enumerate(zip(cut, rows, strict=True)):
        inside = image != index
        assert row[index] == pytest.approx(1 - inside.mean(), abs=1e-6)
        if inside.any():
            replaced += 1
            rectangle(inside)
            (partner,) = np.unique(image[inside])
            assert row[int(partner)] == pytest.approx(inside.mean(), abs=1e-6)
    assert replaced > 0.9 * COUNT
    assert cut.dtype == rows.dtype == np.float32


def test_each_batch_uses_mixup_or_cutmix_at_random(images: np.ndarray, targets: np.ndarray) -> None:
    shown, kinds = images[:20].astype(np.float32), []
    for seed in range(60):
        mixed, _ = mix(shown, targets[:20], Augmentation(mixup=1.0, cutmix=1.0), rng(seed))
        # CutMix makes no grey value that is not in one of the images.
        kinds.append(bool((mixed != mixed.round()).any()))
    assert 0.3 < np.mean(kinds) < 0.7


@pytest.mark.parametrize(
    ("settings", "alters_targets"),
    [
        ({"shift": 2}, False),
        ({"flip": True}, False),
        ({"erasing": 0.5}, False),
        ({"dropping": 0.5}, False),
        ({"leaking": 0.5}, False),
        ({"mixup": 0.2}, True),
        ({"cutmix": 1.0}, True),
    ],
)
def test_each_setting_alone_has_an_effect(
    images: np.ndarray, targets: np.ndarray, settings: dict[str, Any], alters_targets: bool
) -> None:
    plain, _ = augment(images, targets, Augmentation(), rng())
    batch, mixed = augment(images, targets, Augmentation(**settings), rng())
    assert (plain != batch).any()
    assert bool((mixed != targets).any()) is alters_targets
