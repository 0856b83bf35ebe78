"""Rotating, mirroring and cropping frames."""

from __future__ import annotations

import numpy as np
import pytest

from edge_fmnist.errors import UsageError
from edge_fmnist.sources.adjust import Adjustment, parse_roi

# Two rows of three pixels, told apart by their blue.
PICTURE = np.zeros((2, 3, 3), np.uint8)
PICTURE[..., 0] = [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("adjustment", "expected"),
    [
        (Adjustment(), [[1, 2, 3], [4, 5, 6]]),
        (Adjustment(rotate=90), [[4, 1], [5, 2], [6, 3]]),
        (Adjustment(rotate=180), [[6, 5, 4], [3, 2, 1]]),
        (Adjustment(rotate=270), [[3, 6], [2, 5], [1, 4]]),
        (Adjustment(mirror=True), [[3, 2, 1], [6, 5, 4]]),
        (Adjustment(roi=parse_roi("1,0,2,1")), [[2, 3]]),
        (Adjustment(rotate=90, mirror=True, roi=parse_roi("0,2,1,1")), [[3]]),
    ],
)
def test_rotated_then_mirrored_then_cropped(adjustment: Adjustment, expected: list[list[int]]) -> None:
    adjusted = adjustment.apply(PICTURE)
    assert adjusted[..., 0].tolist() == expected
    assert adjusted.flags.c_contiguous


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("10,20,30,40", (10, 20, 30, 40)),
        (" 5 , 10% , 50%, 7 ", (5, 10, 100, 7)),
        ("-50,-50,100,100", (0, 0, 50, 50)),
        ("150,80,1000,1000", (150, 80, 50, 20)),
        ("0,0,100%,100%", (0, 0, 200, 100)),
    ],
)
def test_a_region_in_pixels_and_percent_is_clipped(text: str, box: tuple[int, int, int, int]) -> None:
    rows, columns = np.mgrid[:100, :200]
    part = parse_roi(text).crop(np.dstack([rows, columns, rows]).astype(np.uint8))
    assert (int(part[0, 0, 1]), int(part[0, 0, 0]), part.shape[1], part.shape[0]) == box


@pytest.mark.parametrize("text", ["200,0,10,10", "0,100,10,10", "-20,0,10,10", "0,0,0.1,0.1"])
def test_a_region_outside_the_frame(text: str) -> None:
    with pytest.raises(UsageError, match=r"roi: .* lies outside a frame of 200x100 pixels"):
        parse_roi(text).crop(np.zeros((100, 200, 3), np.uint8))


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1,2,inf,4", "%,1,1,1", "0,0,0,10", "0,0,10,-1"])
def test_text_that_is_not_a_region(text: str) -> None:
    with pytest.raises(UsageError, match=r"roi: expected (X,Y,WIDTH,HEIGHT in pixels or percent|a width and height)"):
        parse_roi(text)
