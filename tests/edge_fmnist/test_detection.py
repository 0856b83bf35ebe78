"""The detected garment and its outline in the frame."""

from __future__ import annotations

import numpy as np
import pytest

from edge_fmnist import Box, Garment


def garment(mask: np.ndarray, frame_shape: tuple[int, int]) -> Garment:
    return Garment(
        found=bool(mask.any()),
        image=np.zeros((28, 28), np.uint8),
        mask=mask,
        box=Box(0, 0, 0, 0),
        confidence=0.5,
        frame_shape=frame_shape,
    )


def rectangle(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros((48, 64), np.uint8)
    mask[top:bottom, left:right] = 255
    return mask


def bounds(contour: np.ndarray) -> tuple[int, ...]:
    """Return the least and largest x, then y."""
    x, y = contour[:, 0, 0], contour[:, 0, 1]
    return int(x.min()), int(x.max()), int(y.min()), int(y.max())


def test_the_outline_is_in_pixels_of_the_frame() -> None:
    # Ten times as wide and twice as high; each point is the middle of its rectangle of pixels.
    (contour,) = garment(rectangle(10, 20, 30, 50), (96, 640)).outline()
    assert contour.dtype == np.int32
    assert contour.shape[1:] == (1, 2)
    assert bounds(contour) == (305, 495, 21, 39)


@pytest.mark.parametrize("frame_shape", [(48, 64), (480, 640), (4320, 7680), (37, 51)])
def test_the_outline_stays_inside_the_frame(frame_shape: tuple[int, int]) -> None:
    (contour,) = garment(rectangle(0, 48, 0, 64), frame_shape).outline()
    left, right, top, bottom = bounds(contour)
    assert 0 <= left < right < frame_shape[1]
    assert 0 <= top < bottom < frame_shape[0]


def test_each_part_has_an_outline_and_holes_have_none() -> None:
    mask = rectangle(5, 25, 5, 25) | rectangle(30, 45, 40, 60)
    mask[10:15, 10:15] = 0
    assert len(garment(mask, (480, 640)).outline()) == 2


def test_without_a_garment_there_is_no_outline() -> None:
    assert garment(rectangle(0, 0, 0, 0), (480, 640)).outline() == []
