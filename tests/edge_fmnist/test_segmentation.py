"""Segmentation: drawn scenes whose mask is known."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from edge_fmnist.sources.demo import Scene
from edge_fmnist.vision import segmentation
from edge_fmnist.vision.preprocess import MIN_SEPARATION
from edge_fmnist.vision.segmentation import BINS, CLEAR, bgr_to_lab, segment

SIZE = (96, 72)
SHIRT = (
    (0.3, 0.05),
    (0.7, 0.05),
    (1, 0.3),
    (0.88, 0.42),
    (0.74, 0.34),
    (0.74, 0.95),
    (0.26, 0.95),
    (0.26, 0.34),
    (0.12, 0.42),
    (0, 0.3),
)
RED, BLUE, GREEN, BLACK = (50, 40, 190), (120, 60, 40), (60, 140, 50), (25, 25, 25)
# The mask is softened by a few of its pixels, on purpose, and so is larger than the garment.
MIN_OVERLAP = 0.65


def shirt(x: float = 0.5, y: float = 0.5, scale: float = 0.75, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Return the mask of a shirt, 0 or 255; middle and scale in shares of the picture's edges."""
    width, height = size
    mask = np.zeros((height, width), np.uint8)
    corners = (np.array(SHIRT) - 0.5) * min(size) * scale + (x * width, y * height)
    cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 255)
    return mask


def noise(spread: float, seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Return noise around 0, float, shape (H, W, 3)."""
    return np.asarray(np.random.default_rng(seed).normal(0, spread, (size[1], size[0], 3)))


def as_pixels(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(values, 0, 255), np.uint8)


def plain(size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.full((size[1], size[0], 3), (200, 205, 210), np.uint8)


def gradient(size: tuple[int, int] = SIZE) -> np.ndarray:
    row = np.linspace(150, 220, size[0]).astype(np.uint8)
    return np.repeat(np.tile(row, (size[1], 1))[..., None], 3, axis=2)


def noisy(size: tuple[int, int] = SIZE) -> np.ndarray:
    return as_pixels(150 + noise(25, 3, size))


def checked(size: tuple[int, int] = SIZE) -> np.ndarray:
    rows, columns = np.mgrid[: size[1], : size[0]]
    return np.repeat(((rows // 6 + columns // 6) % 2 * 60 + 140)[..., None], 3, axis=2).astype(np.uint8)


def planks(size: tuple[int, int] = SIZE) -> np.ndarray:
    shade = np.arange(size[1]) // 9 * 37 % 50
    column = np.stack([shade + 90, shade + 120, shade + 160], axis=1).astype(np.uint8)
    return np.repeat(column[:, None], size[0], axis=1)


GROUNDS = [plain, gradient, noisy, checked, planks]


def dressed(ground: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int], spread: float = 3) -> np.ndarray:
    """Return a picture of the ground with cloth where the mask is, and a camera's noise on all of it."""
    picture = ground.copy()
    picture[mask > 0] = colour
    size = (mask.shape[1], mask.shape[0])
    return as_pixels(picture + noise(spread, 1, size))


def overlap(found: np.ndarray, wanted: np.ndarray) -> float:
    """Return the intersection over union of two masks."""
    return float(((found > 0) & (wanted > 0)).sum() / ((found > 0) | (wanted > 0)).sum())


def covered(found: np.ndarray, wanted: np.ndarray) -> float:
    """Return the share of the wanted mask that was found."""
    return float((found[wanted > 0] > 0).mean())


@pytest.mark.parametrize("colour", [RED, BLACK], ids=["red", "black"])
@pytest.mark.parametrize("ground", GROUNDS)
def test_a_coloured_garment(ground: Callable[[], np.ndarray], colour: tuple[int, int, int]) -> None:
    mask = shirt()
    found = segment(dressed(ground(), mask, colour))
    assert found.mask.shape == mask.shape
    assert found.mask.dtype == np.uint8
    assert set(np.unique(found.mask)) == {0, 255}
    assert overlap(found.mask, mask) > MIN_OVERLAP
    assert covered(found.mask, mask) > 0.95
    assert found.separation > 3 * MIN_SEPARATION


@pytest.mark.parametrize("contrast", [60, -90])
def test_grey_on_grey(contrast: int) -> None:
    mask = shirt()
    level = 128 + contrast
    found = segment(dressed(np.full((72, 96, 3), 128, np.uint8), mask, (level, level, level)))
    assert overlap(found.mask, mask) > MIN_OVERLAP
    assert found.separation > MIN_SEPARATION


def test_a_garment_of_the_grounds_own_colour_is_not_told_apart() -> None:
    same = dressed(np.full((72, 96, 3), 128, np.uint8), shirt(), (132, 132, 132))
    assert segment(same).separation < MIN_SEPARATION


@pytest.mark.parametrize("ground", [plain, noisy, checked, planks])
def test_empty_ground_has_no_separation(ground: Callable[[], np.ndarray]) -> None:
    empty = as_pixels(ground() + noise(3))
    assert segment(empty).separation < MIN_SEPARATION


@pytest.mark.parametrize("value", [0, 128, 255])
def test_one_colour_has_no_separation(value: int) -> None:
    assert segment(np.full((72, 96, 3), value, np.uint8)).separation < MIN_SEPARATION / 10


@pytest.mark.parametrize("colour", [(152, 152, 152), (122, 122, 134), (136, 126, 120)])
def test_faint_contrast_is_looked_at_again(colour: tuple[int, int, int]) -> None:
    ground, mask = np.full((72, 96, 3), 128, np.uint8), shirt()
    faint = segment(dressed(ground, mask, colour))
    assert overlap(faint.mask, mask) > MIN_OVERLAP
    assert faint.separation >= CLEAR
    assert segment(dressed(ground, mask, (129, 129, 129))).separation < MIN_SEPARATION


def test_two_garments_are_both_found() -> None:
    left, right = shirt(0.28, scale=0.6), shirt(0.74, scale=0.6)
    picture = dressed(dressed(planks(), left, RED), right, BLUE)
    found = segment(picture)
    assert covered(found.mask, left) > 0.95
    assert covered(found.mask, right) > 0.95
    assert overlap(found.mask, left | right) > 0.5


def test_a_speck_far_off_is_left_out() -> None:
    speck = np.zeros((72, 96), np.uint8)
    cv2.circle(speck, (8, 8), 3, 255, -1)
    found = segment(dressed(dressed(plain(), shirt(0.55, 0.55), RED), speck, RED))
    assert covered(found.mask, shirt(0.55, 0.55)) > 0.95
    assert covered(found.mask, speck) == 0


@pytest.mark.parametrize(("radius", "filled"), [(2, True), (3, True), (12, False)])
def test_a_small_hole_is_filled_and_a_large_one_kept(radius: int, filled: bool) -> None:
    ring = np.zeros((72, 96), np.uint8)
    cv2.circle(ring, (48, 36), 26, 255, -1)
    cv2.circle(ring, (48, 36), radius, 0, -1)
    found = segment(dressed(plain(), ring, BLUE))
    assert bool(found.mask[36, 48]) is filled
    assert overlap(found.mask, ring) > MIN_OVERLAP


def test_a_bay_at_the_border_is_no_hole() -> None:
    mask = np.zeros((72, 96), np.uint8)
    mask[10:62, :70] = 255
    mask[30:42, :11] = 0
    found = segment(dressed(plain(), mask, BLUE), mask)
    # Garment above and below the bay, so that only the border keeps it from being enclosed.
    assert found.mask[12:25, 0].all()
    assert found.mask[48:60, 0].all()
    assert not found.mask[35:37, 0].any()


def test_it_is_followed_while_it_moves() -> None:
    previous = segment(dressed(planks(), shirt(0.35), RED)).mask
    for step in range(1, 25):
        mask = shirt(0.35 + 0.012 * step, 0.5 + 0.05 * np.sin(step / 4))
        found = segment(dressed(planks(), mask, RED), previous)
        assert overlap(found.mask, mask) > 0.7, step
        assert covered(found.mask, mask) > 0.95, step
        assert found.separation > MIN_SEPARATION
        previous = found.mask


def test_following_keeps_to_the_garment_at_the_edge() -> None:
    """The middle alone would not find it; the frame before does."""
    at_the_edge = dressed(plain(), shirt(0.05, scale=0.6), RED)
    previous = segment(dressed(plain(), shirt(0.3, scale=0.6), RED)).mask
    for x in (0.25, 0.2, 0.15, 0.1):
        previous = segment(dressed(plain(), shirt(x, scale=0.6), RED), previous).mask
    mask = shirt(0.05, scale=0.6)
    assert overlap(segment(at_the_edge, previous).mask, mask) > MIN_OVERLAP > overlap(segment(at_the_edge).mask, mask)


@pytest.mark.parametrize("size", [(48, 36), (640, 480)])
def test_the_mask_before_may_have_any_size(size: tuple[int, int]) -> None:
    previous = cv2.resize(shirt(), size, interpolation=cv2.INTER_NEAREST)
    assert overlap(segment(dressed(plain(), shirt(), BLUE), previous).mask, shirt()) > MIN_OVERLAP


def test_the_same_picture_gives_the_same_mask() -> None:
    picture = dressed(noisy(), shirt(), GREEN)
    first = segment(picture)
    # Between the two, another size and a mask that is followed: nothing of them is kept.
    segment(dressed(plain((40, 60)), shirt(size=(40, 60)), RED), first.mask)
    second = segment(picture)
    assert np.array_equal(first.mask, second.mask)
    assert first.separation == second.separation


@pytest.mark.parametrize("shape", [(1, 1), (1, 96), (96, 1), (2, 2), (8, 8)])
def test_tiny_pictures(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(2).integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = segment(picture)
    assert found.mask.shape == shape
    assert 0 <= found.separation <= 1


def smoothed(histogram: np.ndarray) -> np.ndarray:
    """Return the whole histogram, shape ``BINS``, with a margin of one bin, smoothed along each axis."""
    histogram = np.pad(histogram, 1)
    for axis in range(3):
        padded = np.pad(histogram, [(int(axis == other),) * 2 for other in range(3)])
        weighted = zip((0.25, 0.5, 0.25), range(3), strict=True)
        size = histogram.shape[axis]
        histogram = np.sum([part * padded.take(range(at, at + size), axis) for part, at in weighted], axis=0)
    result: np.ndarray = histogram / histogram.sum()
    return result


def separated_by_whole_histograms(picture: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the mask before cleaning, bool, and the separation, by the method's plain form in float64."""
    height, width = picture.shape[:2]
    lab = cv2.cvtColor(cv2.GaussianBlur(picture, (0, 0), 1.0), cv2.COLOR_BGR2LAB).astype(int)
    bins = tuple((lab * BINS >> 8).reshape(-1, 3).T)
    rows, columns = (np.abs(np.arange(n) - (n - 1) / 2) / (n / 2) for n in (height, width))
    distance = np.maximum(rows[:, None], columns)
    share = 1 / (1 + np.exp((distance - segmentation.PRIOR_EDGE) / segmentation.PRIOR_SOFTNESS))
    inside = segmentation.PRIOR_LOW + (segmentation.PRIOR_HIGH - segmentation.PRIOR_LOW) * share
    prior = segmentation.PRIOR_WEIGHT * np.log(inside / (1 - inside))
    for _ in range(segmentation.ROUNDS):
        garment, ground = np.zeros(BINS), np.zeros(BINS)
        np.add.at(garment, bins, inside.ravel())
        np.add.at(ground, bins, 1 - inside.ravel())
        garment, ground = smoothed(garment), smoothed(ground)
        evidence = np.log((garment + segmentation.TINY) / (ground + segmentation.TINY))
        evidence = evidence[1:-1, 1:-1, 1:-1].clip(-segmentation.MAX_EVIDENCE, segmentation.MAX_EVIDENCE)
        limited = evidence[bins].reshape(height, width)
        inside = 1 / (1 + np.exp(-segmentation.EVIDENCE_WEIGHT * cv2.blur(limited, segmentation.NEIGHBOURHOOD) - prior))
    return inside > 0.5, float(1 - np.sqrt(garment * ground).sum())


@pytest.mark.parametrize("seconds", [1.0, 3.0, 7.0, 12.0])
@pytest.mark.parametrize("extreme", [False, True], ids=["scene", "darkest and lightest bins"])
def test_occupied_bins_give_the_same_as_the_whole_histogram(seconds: float, extreme: bool) -> None:
    picture = Scene(*SIZE).draw(seconds)
    if extreme:
        picture = as_pixels((picture.astype(int) - 128) * 6 + 128)
    mask, separation = separated_by_whole_histograms(picture)
    found = segment(picture)
    assert found.separation == pytest.approx(separation, abs=0.01)
    both = np.count_nonzero(mask & (found.mask > 0))
    # The rest are specks, which cleaning removes.
    assert both >= 0.95 * np.count_nonzero(mask | (found.mask > 0))


def test_lab_colours_are_those_of_opencv() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (2048, 1024, 3), dtype=np.uint8)
    np.testing.assert_array_equal(bgr_to_lab(picture), cv2.cvtColor(picture, cv2.COLOR_BGR2LAB))


def test_what_is_around_a_small_mask_with_a_hole_is_no_hole() -> None:
    mask = np.zeros((96, 96), np.uint8)
    cv2.circle(mask, (48, 48), 8, 255, cv2.FILLED)
    whole = segmentation._cleaned(mask)
    mask[47:50, 47:50] = 0
    np.testing.assert_array_equal(segmentation._cleaned(mask), whole)


def test_a_part_in_the_middle_is_kept_beside_a_large_one_at_the_edge() -> None:
    mask = np.zeros((96, 120), np.uint8)
    mask[38:58, 94:114] = 255
    mask[44:53, 58:67] = 255
    found = segmentation._cleaned(mask)
    assert found[48, 104]
    assert found[48, 62]
    # The same parts, with the small one in a corner.
    mask[44:53, 58:67] = 0
    mask[2:11, 2:11] = 255
    found = segmentation._cleaned(mask)
    assert found[48, 104]
    assert not found[6, 6]
