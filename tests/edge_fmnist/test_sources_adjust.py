"""Turning, mirroring and cropping frames."""

from __future__ import annotations

import numpy as np
import pytest

from edge_fmnist.errors import UsageError
from edge_fmnist.sources.adjust import Adjusted, Adjustment, parse_roi
from edge_fmnist.sources.base import Source

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
        (Adjustment(rotate=90, mirror=True), [[1, 4], [2, 5], [3, 6]]),
        (Adjustment(roi=parse_roi("1,0,2,1")), [[2, 3]]),
        (Adjustment(rotate=90, mirror=True, roi=parse_roi("0,2,1,1")), [[3]]),
    ],
)
def test_turned_then_mirrored_then_cropped(adjustment: Adjustment, expected: list[list[int]]) -> None:
    adjusted = adjustment.apply(PICTURE)
    assert adjusted[..., 0].tolist() == expected
    assert adjusted.flags.c_contiguous


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("10,20,30,40", (10, 20, 30, 40)),
        ("10%,10%,80%,80%", (20, 10, 160, 80)),
        (" 5 , 10% , 50%, 7 ", (5, 10, 100, 7)),
        ("-50,-50,100,100", (0, 0, 50, 50)),
        ("150,80,1000,1000", (150, 80, 50, 20)),
        ("0,0,100%,100%", (0, 0, 200, 100)),
    ],
)
def test_region_in_pixels_and_percent_is_clipped(text: str, box: tuple[int, int, int, int]) -> None:
    rows, columns = np.mgrid[:100, :200]
    picture = np.dstack([rows, columns, rows]).astype(np.uint8)
    part = parse_roi(text).crop(picture)
    assert (int(part[0, 0, 1]), int(part[0, 0, 0]), part.shape[1], part.shape[0]) == box


@pytest.mark.parametrize("text", ["200,0,10,10", "0,100,10,10", "-20,0,10,10", "0,0,0.1,0.1", "0,-10,5,10"])
def test_region_beside_the_frame(text: str) -> None:
    with pytest.raises(UsageError, match=r"--roi: .* holds nothing of a frame of 200x100 pixels"):
        parse_roi(text).crop(np.zeros((100, 200, 3), np.uint8))


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1,2,3,nan", "1,2,inf,4", "%,1,1,1", "1;2;3;4"])
def test_text_that_is_no_region(text: str) -> None:
    with pytest.raises(UsageError, match="--roi: expected X,Y,WIDTH,HEIGHT in pixels or percent"):
        parse_roi(text)


@pytest.mark.parametrize("text", ["0,0,0,10", "0,0,10,-1", "0,0,0%,10%"])
def test_region_without_an_extent(text: str) -> None:
    with pytest.raises(UsageError, match="--roi: expected a width and height above zero"):
        parse_roi(text)


def test_other_rotations_are_refused() -> None:
    with pytest.raises(UsageError, match="--rotate: expected 0, 90, 180 or 270 degrees, got 45"):
        Adjustment(rotate=45)


class OnePicture(Source):
    """Gives one picture; its name and rate are known once it is open."""

    name = "closed"
    realtime = False

    def __init__(self) -> None:
        self._pictures: list[np.ndarray] = []

    def open(self) -> None:
        self.name, self.fps = "open", 12.0
        self._pictures = [PICTURE]

    def read(self) -> np.ndarray | None:
        return self._pictures.pop() if self._pictures else None

    def close(self) -> None:
        self.name = "closed again"

    @property
    def frame_name(self) -> str:
        return "picture.png"


def test_adjusted_source_is_otherwise_the_source() -> None:
    inner = OnePicture()
    source = Adjusted(inner, Adjustment(rotate=180))
    assert (source.name, source.realtime, source.fps) == ("closed", False, None)
    source.open()
    assert (source.name, source.fps, source.frame_name) == ("open", 12.0, "picture.png")
    picture = source.read()
    assert picture is not None
    assert picture[..., 0].tolist() == [[6, 5, 4], [3, 2, 1]]
    assert source.read() is None
    source.close()
    assert inner.name == "closed again"


def test_adjusted_source_skips_as_the_source_does() -> None:
    source = Adjusted(OnePicture(), Adjustment(roi=parse_roi("9,9,1,1")))
    source.open()
    # Beside the frame: an error when read, nothing when passed over.
    assert source.skip() is True
    assert source.skip() is False
