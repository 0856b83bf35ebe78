"""What is drawn on a frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest

from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.annotate import ABSENT, KNOWN, UNKNOWN, accent, annotate, caption, outline

MakeResult = Callable[..., LiveResult]
SIZES = [(1, 1), (1, 500), (500, 1), (28, 28), (96, 72), (97, 73), (480, 640), (4000, 100)]


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return where two pictures differ, bool, shape (H, W)."""
    result: np.ndarray = (before != after).any(axis=2)
    return result


def plate(result: LiveResult) -> np.ndarray:
    """Return the top left part of the annotated picture, which holds the plate and nothing of the garment."""
    return annotate(result)[12:40, 12:100]


@pytest.mark.parametrize("size", SIZES)
def test_any_size(make_result: MakeResult, size: tuple[int, int]) -> None:
    result = make_result(label="T-shirt/top", size=size)
    before = result.frame.picture.copy()
    drawn = annotate(result)
    assert drawn.shape == (size[1], size[0], 3)
    assert drawn.dtype == np.uint8
    assert (result.frame.picture == before).all()
    assert not np.shares_memory(drawn, result.frame.picture)


@pytest.mark.parametrize(
    ("settings", "text", "colour"),
    [
        ({"label": "Coat", "score": 0.934}, "Coat 93 %", KNOWN),
        ({"label": "T-shirt/top", "score": 1.0}, "T-shirt/top 100 %", KNOWN),
        ({"label": "unknown", "score": 0.3}, "unknown", UNKNOWN),
        ({"label": None}, "no garment", ABSENT),
        ({"label": "\x1b]0;title\x07"}, r"\x1b]0;title\x07", UNKNOWN),
    ],
)
def test_caption_and_its_colour(
    make_result: MakeResult, settings: dict[str, object], text: str, colour: tuple[int, int, int]
) -> None:
    result = make_result(**settings)
    assert caption(result) == text
    assert accent(result) == colour


def test_opencv_4_has_no_letters_beyond_ascii(make_result: MakeResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "__version__", "4.11.0")
    drawn, plain = (annotate(replace(make_result(), label=label, labels=(label,))) for label in ("Mütze", "Mutze"))
    assert np.array_equal(drawn, plain)


@pytest.mark.parametrize("ground", [0, 255])
def test_the_label_can_be_read_on_any_ground(make_result: MakeResult, ground: int) -> None:
    picture = np.full((480, 640, 3), ground, np.uint8)
    area = plate(make_result(picture=picture)).max(axis=2)
    assert area.max() > 230
    assert np.median(area) < 90


def test_the_bar_is_as_long_as_the_score_is_high(make_result: MakeResult) -> None:
    def coloured(score: float) -> int:
        drawn = annotate(make_result(score=score))[:60, :200]
        return int((drawn == KNOWN).all(axis=2).sum())

    # Wide captions have longer bars, so these are as wide as one another.
    assert coloured(0.88) / coloured(0.28) == pytest.approx(0.88 / 0.28, rel=0.1)


def test_the_inset_is_the_image_that_the_model_sees(make_result: MakeResult) -> None:
    result = make_result()
    image = np.random.default_rng(3).integers(0, 256, (28, 28), dtype=np.uint8)
    result = replace(result, garment=replace(result.garment, image=image))
    drawn = annotate(result)
    enlarged = cv2.merge([np.repeat(np.repeat(image, 3, 0), 3, 1)] * 3)
    corner = drawn[-100:, -100:]
    # matchTemplate computes in float32, so its minimum says where to compare, not whether it is equal.
    _, _, (x, y), _ = cv2.minMaxLoc(cv2.matchTemplate(corner, enlarged, cv2.TM_SQDIFF))
    np.testing.assert_array_equal(corner[y : y + 84, x : x + 84], enlarged)


def test_no_garment_leaves_all_but_the_label(make_result: MakeResult) -> None:
    result = make_result(label=None)
    rows, columns = np.nonzero(changed(result.frame.picture, annotate(result)))
    assert rows.max() < 80
    assert columns.max() < 200


def test_a_frame_too_small_for_text_has_the_outline_alone(make_result: MakeResult) -> None:
    result = make_result(size=(80, 60))
    assert (annotate(result) == outline(result.frame.picture, result.garment)).all()


def test_outline_follows_the_mask(make_result: MakeResult) -> None:
    result = make_result()
    before = result.frame.picture.copy()
    touched = changed(before, outline(result.frame.picture, result.garment))
    mask = cv2.resize(result.garment.mask, (640, 480), interpolation=cv2.INTER_NEAREST)
    edge = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    near = cv2.dilate(edge, np.ones((33, 33), np.uint8)) > 0
    assert touched.any()
    assert not (touched & ~near).any()
    assert (cv2.dilate(touched.astype(np.uint8), np.ones((25, 25), np.uint8))[edge > 0] > 0).mean() > 0.97
    assert (result.frame.picture == before).all()


def test_outline_on_a_reduced_copy_of_the_frame(make_result: MakeResult) -> None:
    result = make_result()
    large = changed(result.frame.picture, outline(result.frame.picture, result.garment))
    reduced = cv2.resize(result.frame.picture, (320, 240))
    small = changed(reduced, outline(reduced, result.garment))
    assert np.abs(np.argwhere(large).mean(axis=0) / 2 - np.argwhere(small).mean(axis=0)).max() < 2


@pytest.mark.parametrize("pixels", [0, 1, 3])
def test_outline_of_next_to_nothing(make_result: MakeResult, pixels: int) -> None:
    result = make_result()
    mask = np.zeros_like(result.garment.mask)
    mask[50, 60 : 60 + pixels] = 255
    drawn = outline(result.frame.picture, replace(result.garment, mask=mask))
    assert bool(pixels) <= changed(result.frame.picture, drawn).sum() <= 200 * pixels
