"""From photographs to 28x28 images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_fmnist.errors import ImageError
from edge_fmnist.preprocess import MAX_EDGE, WORKING_EDGE, as_image, preprocess, to_grey


def photo(
    background: int = 255, garment: int = 40, *, height: int = 120, width: int = 160, box: tuple[int, ...] = ()
) -> np.ndarray:
    """Return a grey photograph of a rectangle with a brighter stripe across it; ``box`` is top, bottom, left, right."""
    top, bottom, left, right = box or (20, 100, 50, 90)
    image = np.full((height, width), background, np.uint8)
    image[top:bottom, left:right] = garment
    middle = (top + bottom) // 2
    image[middle : middle + 10, left:right] = (garment + background) // 2
    return image


def as_bgr(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


def as_bgra(grey: np.ndarray) -> np.ndarray:
    return np.dstack([as_bgr(grey), np.full(grey.shape, 255, np.uint8)])


def extent(image: np.ndarray) -> tuple[int, int, int, int]:
    """Return the first and last row and the first and last column that are not black."""
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


def test_grey_stays_grey() -> None:
    assert np.array_equal(to_grey(photo()), photo())
    assert np.array_equal(to_grey(photo()[..., None]), photo())


@pytest.mark.parametrize("convert", [as_bgr, as_bgra])
def test_colour_of_grey_values_gives_the_grey_values(convert: Any) -> None:
    assert np.array_equal(to_grey(convert(photo())), photo())


@pytest.mark.parametrize(("channel", "grey"), [(0, 29), (1, 150), (2, 76)])
def test_colours_are_in_bgr_order(channel: int, grey: int) -> None:
    image = np.zeros((4, 5, 3), np.uint8)
    image[..., channel] = 255
    assert (to_grey(image) == grey).all()


def test_16_bits_keep_the_upper_8() -> None:
    image = np.array([[0, 255, 256, 0x1234, 65535]], np.uint16)
    assert to_grey(image).tolist() == [[0, 0, 1, 0x12, 255]]


def test_16_bit_colour() -> None:
    assert np.array_equal(to_grey(as_bgra(photo()).astype(np.uint16) << 8 | 0xFF), photo())


@pytest.mark.parametrize(("alpha", "grey"), [(0, 255), (255, 0), (51, 204)])
def test_transparent_pixels_become_white(alpha: int, grey: int) -> None:
    image = np.zeros((4, 5, 4), np.uint8)
    image[..., 3] = alpha
    assert (to_grey(image) == grey).all()


@pytest.mark.parametrize("convert", [np.asarray, as_bgr, as_bgra, lambda grey: grey.astype(np.uint16) * 257])
def test_all_kinds_of_input_give_the_same_image(convert: Any) -> None:
    image = preprocess(convert(photo()))
    assert image.dtype == np.uint8
    assert image.shape == (28, 28)
    assert np.array_equal(image, preprocess(photo()))


@pytest.mark.parametrize("contrast", [60, 120, 255])
def test_both_polarities_give_the_same_image(contrast: int) -> None:
    dark_on_white = preprocess(photo(255, 255 - contrast)).astype(int)
    bright_on_black = preprocess(photo(0, contrast)).astype(int)
    assert np.abs(dark_on_white - bright_on_black).max() <= 4
    assert dark_on_white.max() == 255


def test_contrast_is_stretched_from_a_background_that_is_not_black() -> None:
    image = preprocess(photo(60, 120)).astype(int)
    assert (image.min(), image.max()) == (0, 255)
    assert np.abs(image - preprocess(photo(0, 60))).max() <= 4


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        pytest.param((20, 100, 50, 90), (0, 27, 7, 20), id="tall"),
        pytest.param((40, 80, 10, 90), (7, 20, 0, 27), id="wide"),
        pytest.param((5, 45, 3, 43), (0, 27, 0, 27), id="square in a corner"),
        pytest.param((70, 118, 140, 148), (0, 27, 11, 15), id="narrow at the edge"),
    ],
)
def test_longest_edge_fills_28_pixels_and_the_garment_is_centred(
    box: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert extent(preprocess(photo(box=box))) == expected


@pytest.mark.parametrize("scale", [2, 5])
def test_size_of_the_photograph_does_not_matter(scale: int) -> None:
    large = np.kron(photo(), np.ones((scale, scale), np.uint8))
    assert max(large.shape) > WORKING_EDGE
    assert np.abs(preprocess(large).astype(int) - preprocess(photo())).mean() < 6


def test_place_of_the_garment_does_not_matter() -> None:
    assert np.array_equal(preprocess(photo(box=(10, 90, 20, 60))), preprocess(photo(box=(30, 110, 110, 150))))


@pytest.mark.parametrize("value", [0, 127, 128, 255])
def test_blank_photograph_is_black(value: int) -> None:
    assert not preprocess(np.full((60, 80), value, np.uint8)).any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (2000, 3), (29, 28)])
def test_odd_sizes(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert preprocess(image).shape == (28, 28)


def test_view_with_negative_strides() -> None:
    assert np.array_equal(preprocess(as_bgr(photo())[::-1, ::-1, ::-1]), preprocess(photo()[::-1, ::-1].copy()))


def test_argument_is_not_changed() -> None:
    given = photo()
    preprocess(given)
    assert np.array_equal(given, photo())


@pytest.mark.parametrize("function", [to_grey, preprocess, as_image])
@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((40, 40), np.float32), "expected an image of uint8 or uint16, got float32"),
        (np.zeros((28, 28), np.int8), "got int8"),
        (np.zeros((40, 40), bool), "got bool"),
        ([[0, 1], [2, 3]], "got list"),
        (None, "got NoneType"),
        (np.zeros(784, np.uint8), r"expected an image of shape .* got \(784,\)"),
        (np.zeros((), np.uint8), r"got \(\)"),
        (np.zeros((28, 28, 2), np.uint8), r"got \(28, 28, 2\)"),
        (np.zeros((1, 28, 28, 3), np.uint8), r"got \(1, 28, 28, 3\)"),
        (np.zeros((0, 10), np.uint8), r"got \(0, 10\)"),
        (np.zeros((10, 10, 0), np.uint8), r"got \(10, 10, 0\)"),
        (np.zeros((1, MAX_EDGE + 1), np.uint8), f"at most {MAX_EDGE} pixels an edge, got {MAX_EDGE + 1} x 1"),
    ],
)
def test_wrong_images(function: Any, image: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        function(image)


@pytest.mark.parametrize("convert", [np.asarray, as_bgr, as_bgra])
def test_28x28_is_taken_as_it_is(convert: Any) -> None:
    image = np.random.default_rng(1).integers(0, 256, (28, 28), dtype=np.uint8)
    assert np.array_equal(as_image(convert(image)), image)


def test_any_other_size_is_preprocessed() -> None:
    assert np.array_equal(as_image(photo()), preprocess(photo()))
