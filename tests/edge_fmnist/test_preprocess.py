"""From photographs and frames to 28x28 images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from edge_fmnist import Garment
from edge_fmnist.data.samples import SAMPLES
from edge_fmnist.errors import ImageError
from edge_fmnist.sources.demo import Scene
from edge_fmnist.vision.detection import Box
from edge_fmnist.vision.preprocess import (
    MAX_EDGE,
    SIZE,
    WORKING_EDGE,
    convention_warning,
    is_image,
    preprocess,
    to_bgr,
    to_grey,
)
from edge_fmnist.vision.resize import area_resized, area_sums, area_weights
from edge_fmnist.vision.segmentation import Segmentation

FLOOR, CLOTH, STRIPE = (200, 205, 210), (120, 60, 40), (160, 110, 100)


def photo(
    *,
    width: int = 160,
    height: int = 120,
    box: tuple[int, int, int, int] = (50, 20, 60, 80),
    floor: tuple[int, int, int] = FLOOR,
    cloth: tuple[int, int, int] = CLOTH,
) -> np.ndarray:
    """Return a photograph of a rectangular garment, BGR, with a stripe across it; ``box`` is x, y, width, height."""
    picture = np.full((height, width, 3), floor, np.uint8)
    left, top, wide, high = box
    picture[top : top + high, left : left + wide] = cloth
    middle = top + high // 2
    picture[middle : middle + high // 8, left : left + wide] = STRIPE
    return picture


def grey_photo() -> np.ndarray:
    return photo()[..., 1].copy()


def as_bgr(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


def as_bgra(picture: np.ndarray) -> np.ndarray:
    colour = as_bgr(picture) if picture.ndim == 2 else picture
    return np.dstack([colour, np.full(colour.shape[:2], 255, np.uint8)])


def extent(image: np.ndarray) -> tuple[int, int, int, int]:
    """Return the first and last row and the first and last column that are not black."""
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


def same(one: Garment, other: Garment) -> bool:
    return (
        (one.found, one.box, one.confidence, one.frame_shape)
        == (other.found, other.box, other.confidence, other.frame_shape)
        and np.array_equal(one.image, other.image)
        and np.array_equal(one.mask, other.mask)
    )


def nothing_found(garment: Garment) -> bool:
    """Tell whether a garment is the documented answer for none."""
    return not (garment.found or garment.image.any() or garment.mask.any() or any(garment.box))


@pytest.mark.parametrize("convert", [as_bgr, as_bgra])
def test_colour_of_grey_values_gives_the_grey_values(convert: Callable[[np.ndarray], np.ndarray]) -> None:
    assert np.array_equal(to_grey(convert(grey_photo())), grey_photo())


@pytest.mark.parametrize(("channel", "grey"), [(0, 29), (1, 150), (2, 76)])
def test_colours_are_in_bgr_order(channel: int, grey: int) -> None:
    picture = np.zeros((4, 5, 3), np.uint8)
    picture[..., channel] = 255
    assert (to_grey(picture) == grey).all()


def test_a_colour_picture_is_handed_back_as_it_is() -> None:
    picture = photo()
    assert to_bgr(picture) is picture


def test_16_bits_are_scaled_unless_all_values_fit_8() -> None:
    assert to_grey(np.array([[0, 255, 256, 0x1234, 65535]], np.uint16)).tolist() == [[0, 0, 1, 0x12, 255]]
    assert to_grey(np.array([[0, 7, 255]], np.uint16)).tolist() == [[0, 7, 255]]


@pytest.mark.parametrize(("alpha", "grey"), [(0, 255), (255, 0), (51, 204)])
def test_transparent_pixels_become_white(alpha: int, grey: int) -> None:
    picture = np.zeros((4, 5, 4), np.uint8)
    picture[..., 3] = alpha
    assert (to_bgr(picture) == grey).all()


def test_every_colour_and_alpha_is_mixed_and_rounded_to_the_nearest() -> None:
    colour, alpha = np.mgrid[:256, :256]
    mixed = to_bgr(np.dstack([colour, colour, colour, alpha]).astype(np.uint8))[..., 0]
    assert np.abs(mixed - (colour * alpha + 255.0 * (255 - alpha)) / 255).max() <= 0.5


def test_what_is_found_is_as_documented() -> None:
    garment = preprocess(photo())
    assert garment.found
    assert garment.image.shape == (SIZE, SIZE)
    assert garment.mask.shape == (72, WORKING_EDGE)
    assert garment.image.dtype == garment.mask.dtype == np.uint8
    assert set(np.unique(garment.mask)) == {0, 255}
    assert 0 < garment.confidence <= 1
    assert garment.frame_shape == (120, 160)


@pytest.mark.parametrize("size", [(160, 120), (480, 640), (1000, 250)])
def test_the_box_holds_the_garment_and_lies_in_the_frame(size: tuple[int, int]) -> None:
    width, height = size
    box = (width // 3, height // 4, width // 3, height // 2)
    found = preprocess(photo(width=width, height=height, box=box)).box
    left, top, wide, high = box
    # Not further out than the softness of the mask, four of its pixels.
    slack = 4 * max(size) / WORKING_EDGE + 1
    assert left - slack <= found.left <= left
    assert top - slack <= found.top <= top
    assert left + wide <= found.left + found.width <= left + wide + slack
    assert top + high <= found.top + found.height <= top + high + slack


@pytest.mark.parametrize("size", [(100, 75), (144, 108), (240, 180), (107, 191)])
def test_no_rounding_leads_out_of_the_frame(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    width, height = size
    for share in np.linspace(0.4, 0.9, 40):

        def to_the_corner(
            picture: np.ndarray, previous: np.ndarray | None = None, share: float = share
        ) -> Segmentation:
            rows, columns = picture.shape[:2]
            mask = np.zeros((rows, columns), np.uint8)
            mask[int(share * rows) :, int(share * columns) :] = 255
            return Segmentation(mask, 1.0)

        monkeypatch.setattr("edge_fmnist.vision.preprocess.segment", to_the_corner)
        box = preprocess(np.zeros((height, width, 3), np.uint8)).box
        assert width - 1 <= box.left + box.width <= width
        assert height - 1 <= box.top + box.height <= height


@pytest.mark.parametrize("name", SAMPLES)
def test_the_samples_have_a_garment(name: str) -> None:
    garment = preprocess(SAMPLES[name][0]())
    assert garment.found
    assert garment.confidence > 0.2


@pytest.mark.parametrize(("box", "tall"), [((50, 20, 60, 80), True), ((30, 40, 100, 40), False)])
def test_longest_edge_fills_28_pixels_and_the_other_is_centred(box: tuple[int, int, int, int], tall: bool) -> None:
    top, bottom, left, right = extent(preprocess(photo(box=box)).image)
    longer, shorter = ((top, bottom), (left, right)) if tall else ((left, right), (top, bottom))
    assert longer == (0, 27)
    assert shorter[1] - shorter[0] < 24
    assert abs(shorter[0] - (27 - shorter[1])) <= 1


def test_black_outside_and_never_below_the_darkest_grey_inside() -> None:
    image = preprocess(photo()).image
    top, bottom, left, right = extent(image)
    inside = image[top + 2 : bottom - 1, left + 2 : right - 1]
    assert inside.min() >= 90
    assert image.max() == 255
    assert not image[:, :left].any()
    assert not image[:, right + 1 :].any()


def test_negated_so_that_dark_cloth_is_bright() -> None:
    image = preprocess(photo()).image
    middle = image[:, 14].astype(int)
    # The stripe is lighter than the cloth, and so darker in the image.
    assert middle[16] < middle[8] - 40
    assert middle[8] == pytest.approx(middle[24], abs=25)


@pytest.fixture
def disc(monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Let a disc be found in every picture of 96 by 72, and return where it is, bool."""
    mask = np.zeros((72, 96), np.uint8)
    cv2.circle(mask, (48, 36), 31, 255, -1)
    monkeypatch.setattr("edge_fmnist.vision.preprocess.segment", lambda picture, previous=None: Segmentation(mask, 1.0))
    return mask > 0


@pytest.mark.usefixtures("disc")
def test_a_patterned_cloth_is_stretched_to_all_grey_values() -> None:
    picture = np.full((72, 96, 3), 80, np.uint8)
    picture[36:] = 160
    inside = preprocess(picture).image[6:22, 6:22]
    assert (inside.min(), inside.max()) == (90, 255)
    assert inside[0, 0] == 255


@pytest.mark.usefixtures("disc")
def test_noise_of_plain_cloth_is_not_stretched_to_a_pattern() -> None:
    picture = np.random.default_rng(2).normal(120, 4, (72, 96, 3)).astype(np.uint8)
    assert preprocess(picture).image[6:22, 6:22].std() < 12


def test_no_ground_bleeds_in_where_the_mask_ends(disc: np.ndarray) -> None:
    images = []
    for floor in (FLOOR, (0, 0, 0)):
        picture = np.full((72, 96, 3), floor, np.uint8)
        picture[disc] = np.random.default_rng(1).integers(40, 200, (np.count_nonzero(disc), 3))
        images.append(preprocess(picture).image)
    assert np.array_equal(images[0], images[1])


@pytest.mark.parametrize("scale", [2, 5])
def test_size_of_the_photograph_does_not_matter(scale: int) -> None:
    large = np.repeat(np.repeat(photo(), scale, axis=0), scale, axis=1)
    assert np.abs(preprocess(large).image.astype(int) - preprocess(photo()).image).mean() < 8


@pytest.mark.parametrize("gain", [0.75, 1.15])
def test_light_hardly_matters(gain: float) -> None:
    lit = np.clip(photo() * gain, 0, 255).astype(np.uint8)
    lit_image, image = preprocess(lit).image.astype(int), preprocess(photo()).image
    assert np.abs(lit_image - image)[6:22, 8:20].mean() < 10


def ground(kind: str, strength: int) -> np.ndarray:
    """Return a picture without a garment; ``strength`` is a grey value, a deviation, or a width in pixels."""
    rows, columns = np.mgrid[:240, :320]
    if kind == "noise":
        noise = np.random.default_rng(3).normal(130, strength, (240, 320, 3))
        return np.clip(noise, 0, 255).astype(np.uint8)
    if kind == "plain":
        return np.full((240, 320, 3), strength, np.uint8)
    pattern = columns // strength + (rows // strength if kind == "checks" else 0)
    return as_bgr((pattern % 2 * 80 + 90).astype(np.uint8))


@pytest.mark.parametrize(
    ("kind", "strengths"),
    [("plain", (0, 128, 255)), ("noise", (2, 8, 40)), ("stripes", (5, 12, 30)), ("checks", (5, 12, 30))],
)
def test_ground_is_no_garment(kind: str, strengths: tuple[int, ...]) -> None:
    for strength in strengths:
        assert nothing_found(preprocess(ground(kind, strength)))
        assert not preprocess(ground(kind, strength)[..., 0]).image.any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (2000, 3), (7, 7), (200, MAX_EDGE)])
def test_pictures_too_thin_to_show_anything_have_no_garment(shape: tuple[int, int]) -> None:
    picture = np.zeros(shape, np.uint8)
    picture[shape[0] // 4 : shape[0] * 3 // 4, shape[1] // 4 : shape[1] * 3 // 4] = 255
    garment = preprocess(picture)
    assert nothing_found(garment)
    assert garment.frame_shape == shape


@pytest.mark.parametrize("shape", [(8, 8), (8, 96), (29, 28), (20, 40)])
def test_small_pictures_are_looked_at(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    garment = preprocess(picture)
    assert garment.image.shape == (SIZE, SIZE)
    assert garment.mask.shape == shape


def test_the_frame_before_steadies() -> None:
    garment = preprocess(photo(box=(30, 20, 60, 80)))
    for left in range(32, 70, 2):
        garment = preprocess(photo(box=(left, 20, 60, 80)), garment)
        assert garment.found
        assert garment.box.left == pytest.approx(left, abs=8)


def test_a_garment_is_followed_to_where_it_would_not_be_found() -> None:
    garment = preprocess(photo(box=(50, 20, 60, 80)))
    for left in range(40, -30, -10):
        last = photo(box=(max(0, left), 20, 60 + min(0, left), 80))
        garment = preprocess(last, garment)
    assert garment.found
    assert garment.box.left == 0
    assert garment.box.width == pytest.approx(40, abs=10)
    assert not same(garment, preprocess(last))


def test_a_garment_that_vanished() -> None:
    empty = photo(box=(0, 0, 0, 0))
    gone = preprocess(empty, preprocess(photo()))
    assert nothing_found(gone)
    assert nothing_found(preprocess(empty, gone))


def test_a_mask_that_leads_nowhere_is_left_behind() -> None:
    lost = preprocess(photo())
    lost.mask[:] = 0
    lost.mask[:3, :3] = 255
    assert same(preprocess(photo(), lost), preprocess(photo()))


def test_the_frame_before_may_be_of_another_size() -> None:
    large = photo(width=640, height=480, box=(200, 80, 240, 320))
    assert preprocess(photo(), preprocess(large)).box.left == pytest.approx(50, abs=8)


@pytest.mark.parametrize(
    "convert",
    [
        as_bgra,
        np.asfortranarray,
        lambda picture: picture.astype(np.uint16) * 257,
        lambda picture: as_bgra(picture).astype(np.uint16) * 257,
    ],
    ids=["BGRA", "columns first", "16 bits", "16-bit BGRA"],
)
def test_all_kinds_of_colour_give_the_same(convert: Callable[[np.ndarray], np.ndarray]) -> None:
    assert same(preprocess(convert(photo())), preprocess(photo()))


@pytest.mark.parametrize(
    "convert", [np.asarray, as_bgra, lambda grey: grey[..., None], lambda grey: grey.astype(np.uint16) * 257]
)
def test_grey_is_like_colour_of_grey_values(convert: Callable[[np.ndarray], np.ndarray]) -> None:
    garment = preprocess(convert(grey_photo()))
    assert garment.found
    assert same(garment, preprocess(as_bgr(grey_photo())))


@pytest.mark.parametrize("scale", [1, 4])
def test_views_with_negative_strides(scale: int) -> None:
    picture = cv2.resize(photo(width=90, height=80, box=(20, 15, 45, 50)), None, fx=scale, fy=scale)
    for view in (picture[::-1], picture[:, ::-1], picture[..., ::-1], picture[::-1, ::-1, 0]):
        assert min(view.strides) < 0
        assert same(preprocess(view), preprocess(view.copy()))


@pytest.mark.parametrize("convert", [np.asarray, as_bgra, lambda picture: picture[..., 1].copy()])
def test_argument_is_not_changed(convert: Callable[[np.ndarray], np.ndarray]) -> None:
    given = convert(photo(width=90, height=80, box=(20, 15, 45, 50)))
    given.setflags(write=False)
    kept = given.copy()
    preprocess(given)
    assert np.array_equal(given, kept)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_frames_of_4k(depth: Any) -> None:
    picture = photo(width=3840, height=2160, box=(1200, 400, 1440, 1440)).astype(depth)
    garment = preprocess(picture * depth(257 if depth is np.uint16 else 1))
    assert garment.found
    assert garment.frame_shape == (2160, 3840)
    assert garment.box.left == pytest.approx(1200, abs=4 * 40)


@pytest.mark.parametrize("function", [to_grey, to_bgr, preprocess])
@pytest.mark.parametrize(
    ("picture", "message"),
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
def test_wrong_pictures(function: Any, picture: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        function(picture)


@pytest.mark.parametrize("convert", [np.asarray, as_bgr, as_bgra])
def test_28x28_is_taken_as_it_is(convert: Callable[[np.ndarray], np.ndarray]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (28, 28), dtype=np.uint8)
    assert is_image(convert(image))
    assert np.array_equal(preprocess(convert(image)).image, image)
    garment = preprocess(convert(image), preprocess(photo()))
    assert (garment.found, garment.box, garment.confidence, garment.frame_shape) == (True, (0, 0, 28, 28), 1, (28, 28))
    assert np.array_equal(garment.mask > 0, image > 0)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((28, 28), 255, np.uint8), "bright border"),
        (np.pad(np.zeros((20, 20), np.uint8), 4, constant_values=200), "bright border"),
        (np.zeros((28, 28), np.uint8), "nearly empty"),
        (np.full((28, 28), 3, np.uint8), "nearly empty"),
        (np.pad(np.full((4, 4), 255, np.uint8), 12), "nearly empty"),
        (np.pad(np.full((14, 10), 90, np.uint8), ((7, 7), (9, 9))), None),
        (np.full((29, 28), 255, np.uint8), None),
    ],
)
def test_what_is_unusual_about_a_28x28_image(image: np.ndarray, message: str | None) -> None:
    warning = convention_warning(image)
    assert (warning is None) if message is None else (warning is not None and warning.startswith(message))


def cut_out(ground: int) -> np.ndarray:
    """Return a photograph of a disc with a transparent background of a hidden grey."""
    alpha = np.zeros((120, 160), np.uint8)
    cv2.circle(alpha, (60, 60), 40, 255, -1)
    colours = np.full((120, 160, 3), ground, np.uint8)
    colours[alpha > 0] = 250
    return np.dstack([colours, alpha])


def test_transparency_is_the_mask_whatever_its_hidden_colour() -> None:
    black, white = preprocess(cut_out(0)), preprocess(cut_out(255))
    assert black.found
    assert black.confidence == 1
    left, top, width, height = black.box
    assert (left, top, left + width, top + height) == pytest.approx((20, 20, 101, 101), abs=2)
    assert np.abs(black.image.astype(int) - white.image).max() <= 2


def test_what_is_transparent_around_a_cut_out_garment_does_not_matter() -> None:
    picture = cut_out(0)
    trimmed = picture[20:101, 20:101]
    alone = preprocess(trimmed)
    assert alone.found
    for top, left in ((0, 0), (7, 300), (1500, 40)):
        large = np.zeros((1600, 1200, 4), np.uint8)
        large[top : top + 81, left : left + 81] = trimmed
        found = preprocess(large)
        assert np.array_equal(found.image, alone.image)
        assert found.box == Box(left, top, 81, 81)
        assert found.mask.shape == (96, 72)


def test_specks_are_no_garment() -> None:
    picture = np.full((480, 640, 4), 255, np.uint8)
    picture[..., 3] = 0
    picture[10:13, 10:13] = picture[400:403, 600:603] = (0, 0, 0, 255)
    assert not preprocess(picture).found


def test_an_alpha_channel_without_an_outline_lets_white_through() -> None:
    picture = np.dstack([Scene(320, 240).draw(2.0), np.full((240, 320), 200, np.uint8)])
    translucent, mixed = preprocess(picture), preprocess(to_bgr(picture))
    assert translucent.found
    np.testing.assert_array_equal(translucent.image, mixed.image)
    np.testing.assert_array_equal(translucent.mask, mixed.mask)


def test_a_transparent_frame_is_not_an_outline() -> None:
    framed = as_bgra(photo())
    framed[:5, :, 3] = framed[-5:, :, 3] = framed[:, :5, 3] = framed[:, -5:, 3] = 0
    assert preprocess(framed).box == pytest.approx(preprocess(photo()).box, abs=4)


def test_an_invisible_picture_has_no_garment() -> None:
    assert nothing_found(preprocess(np.dstack([photo(), np.zeros((120, 160), np.uint8)])))


@pytest.mark.parametrize("shape", [(28, 27), (29, 28), (280, 280, 3), (784,), ()])
def test_other_shapes_are_not_taken_for_images(shape: tuple[int, ...]) -> None:
    assert not is_image(np.zeros(shape, np.uint8))


def test_a_mask_along_the_border_is_the_ground(monkeypatch: pytest.MonkeyPatch) -> None:
    def ground(picture: np.ndarray, previous: np.ndarray | None = None) -> Segmentation:
        mask = np.full(picture.shape[:2], 255, np.uint8)
        mask[10:-10, 10:-10] = 0
        return Segmentation(mask, 1.0)

    monkeypatch.setattr("edge_fmnist.vision.preprocess.segment", ground)
    assert not preprocess(np.zeros((72, 96, 3), np.uint8)).found


@pytest.mark.parametrize("size", [(640, 480), (1280, 720), (480, 640), (383, 287), (100, 75), (20, 5000)])
@pytest.mark.parametrize("target", [(96, 72), (64, 48), (20, 5)])
def test_each_pixel_of_a_smaller_picture_is_the_mean(size: tuple[int, int], target: tuple[int, int]) -> None:
    target = (min(size[0], target[0]), min(size[1], target[1]))
    scene = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    for picture in (scene, scene[..., 0], scene[::-1, ::-1]):
        means = cv2.resize(picture.astype(float), target, interpolation=cv2.INTER_AREA)
        assert np.abs(area_resized(picture, target) - means).max() < 0.51


def test_sums_of_pixels_are_exact() -> None:
    # Too large for 32-bit floats.
    picture = np.random.default_rng(0).integers(200, 256, (287, 383), dtype=np.uint8)
    rows, columns = area_weights(287, 71).astype(int), area_weights(383, 95).astype(int)
    sums, area = area_sums(picture, (95, 71), 255)
    assert area == 287 * 383
    np.testing.assert_array_equal(sums, rows @ picture.astype(int) @ columns.T)


def test_a_faint_shadow_is_not_part_of_a_cut_out_garment() -> None:
    picture = cut_out(0)
    shadow = picture.copy()
    shadow[100:118, 20:150, 3] = np.maximum(shadow[100:118, 20:150, 3], 60)
    assert preprocess(shadow).box == pytest.approx(preprocess(picture).box, abs=3)


def test_transparent_pixels_of_a_28x28_image_are_black_and_those_of_a_photograph_white() -> None:
    assert to_bgr(np.zeros((28, 28, 4), np.uint8)).max() == 0
    assert to_bgr(np.zeros((29, 28, 4), np.uint8)).min() == 255
