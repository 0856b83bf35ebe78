"""Draw a result on its frame: the mask's outline, the label, and what the model sees."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.vision.detection import Garment

# BGR. Each colour is drawn over or beside INK, so that it shows on any ground.
INK = (24, 20, 18)
PAPER = (250, 248, 246)
KNOWN = (170, 205, 60)
UNKNOWN = (60, 175, 245)
ABSENT = (160, 155, 150)

# Sizes are shares of the frame's unit: its height, or three quarters of its width where it is narrow.
TEXT_HEIGHT = 0.038
MIN_TEXT_HEIGHT = 8
MARGIN = 0.025
INSET = 0.2
LINE = 0.0045

PLATE_OPACITY = 0.78
MIN_UNIT_WITH_PLATE = 72
SMOOTHING = 7
SHIFT = 4


def annotate(result: LiveResult) -> np.ndarray:
    """Draw the mask's outline, a plate with the label and its score, and the 28x28 image enlarged.

    A frame that is too small to read anything in is returned with the outline alone.

    Returns:
        uint8, shape (H, W, 3), BGR: a copy of the frame's picture, drawn upon.
    """
    picture = result.frame.picture.copy()
    _draw_outline(picture, result.garment, accent(result))
    unit = _unit(picture)
    if unit >= MIN_UNIT_WITH_PLATE:
        _draw_plate(picture, result, unit)
        if result.garment.found:
            _draw_inset(picture, result.garment.image, unit)
    return picture


def outline(picture: np.ndarray, garment: Garment, colour: tuple[int, int, int] = KNOWN) -> np.ndarray:
    """Draw the garment's outline.

    Args:
        picture: uint8, shape (H, W, 3), BGR: the garment's frame, or the same enlarged or reduced.
        garment: what was found in it; without a garment nothing is drawn.
        colour: of the line, BGR.

    Returns:
        uint8, shape (H, W, 3), BGR: a copy, drawn upon.
    """
    drawn = picture.copy()
    _draw_outline(drawn, garment, colour)
    return drawn


def caption(result: LiveResult) -> str:
    """Return the label and its score in words: ``"Coat 93 %"``, ``"unknown"`` or ``"no garment"``."""
    if result.label is None:
        return "no garment"
    if result.label not in result.labels:
        return result.label
    return f"{result.label} {result.score:.0%}".replace("%", " %")


def accent(result: LiveResult) -> tuple[int, int, int]:
    """Return the colour that stands for the kind of answer, BGR."""
    if result.label is None:
        return ABSENT
    return KNOWN if result.label in result.labels else UNKNOWN


def _unit(picture: np.ndarray) -> float:
    height, width = picture.shape[:2]
    return float(min(height, 0.75 * width))


def _draw_outline(picture: np.ndarray, garment: Garment, colour: tuple[int, int, int]) -> None:
    if not garment.found:
        return
    height, width = picture.shape[:2]
    step = max(garment.frame_shape) / max(garment.mask.shape)
    scale = np.array([width / garment.frame_shape[1], height / garment.frame_shape[0]])
    lines = [
        np.rint(_smooth(contour[:, 0], step) * scale * (1 << SHIFT)).astype(np.int32) for contour in garment.outline()
    ]
    thickness = max(1, round(LINE * _unit(picture)))
    halo = thickness + min(2, thickness)
    cv2.polylines(picture, lines, True, INK, halo, cv2.LINE_AA, SHIFT)
    cv2.polylines(picture, lines, True, colour, thickness, cv2.LINE_AA, SHIFT)


def _smooth(corners: np.ndarray, step: float) -> np.ndarray:
    """Round off the stairs that a small mask's contour has in a large frame.

    Args:
        corners: shape (N, 2), of a closed contour.
        step: size of one pixel of the mask in the frame.

    Returns:
        float64, shape (M, 2): points about ``step`` apart, each the mean of its neighbours.
    """
    closed = np.vstack([corners, corners[:1]])
    travelled = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    count = int(travelled[-1] / step)
    if count < 2 * SMOOTHING:
        return corners.astype(np.float64)
    places = np.linspace(0, travelled[-1], count, endpoint=False)
    points = np.stack([np.interp(places, travelled, axis) for axis in closed.T], axis=1)
    half = SMOOTHING // 2
    sums = np.cumsum(np.vstack([np.zeros((1, 2)), points[-half:], points, points[:half]]), axis=0)
    means: np.ndarray = (sums[SMOOTHING:] - sums[:-SMOOTHING]) / SMOOTHING
    return means


def _draw_plate(picture: np.ndarray, result: LiveResult, unit: float) -> None:
    """Write the caption on a dark plate at the top left; a bar below it is as long as the score is high."""
    text = caption(result)
    scale, thickness, (width, height) = _fit_text(text, unit, picture.shape[1])
    pad = _pad(height)
    bar = max(2, round(0.18 * height))
    gap = round(0.4 * height)
    margin = _margin(unit)
    _shade(picture, margin, margin, (width + 2 * pad, height + gap + bar + 2 * pad))
    left, baseline = margin + pad, margin + pad + height
    cv2.putText(picture, text, (left, baseline), cv2.FONT_HERSHEY_SIMPLEX, scale, PAPER, thickness, cv2.LINE_AA)
    top = baseline + gap
    score = result.score if result.label in result.labels else 1.0
    cv2.rectangle(picture, (left, top, width, bar), (90, 86, 84), cv2.FILLED)
    cv2.rectangle(picture, (left, top, max(1, round(width * score)), bar), accent(result), cv2.FILLED)


def _fit_text(text: str, unit: float, room: int) -> tuple[float, int, tuple[int, int]]:
    """Return the font's scale and thickness for which the text is as tall as wished and no wider than the frame."""
    height = max(MIN_TEXT_HEIGHT, TEXT_HEIGHT * unit)
    (full_width, full_height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 1)
    free = room - 2 * _margin(unit) - 2 * _pad(height)
    scale = min(height / full_height, free / full_width)
    thickness = max(1, int(0.6 * scale))
    size, _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    return scale, thickness, size


def _draw_inset(picture: np.ndarray, image: np.ndarray, unit: float) -> None:
    """Put the model's image, each pixel a square, into the bottom right corner, framed."""
    factor = max(1, round(INSET * unit / image.shape[0]))
    border = max(1, round(LINE * unit))
    side = factor * image.shape[0]
    margin = _margin(unit)
    left = picture.shape[1] - margin - border - side
    top = picture.shape[0] - margin - border - side
    enlarged = cv2.resize(image, (side, side), interpolation=cv2.INTER_NEAREST)
    cv2.rectangle(picture, (left - border, top - border, side + 2 * border, side + 2 * border), PAPER, cv2.FILLED)
    picture[top : top + side, left : left + side] = enlarged[..., None]


def _margin(unit: float) -> int:
    return max(2, round(MARGIN * unit))


def _pad(text_height: float) -> int:
    return round(0.6 * text_height)


def _shade(picture: np.ndarray, left: int, top: int, size: tuple[int, int]) -> None:
    """Darken a rectangle with round corners."""
    ground = picture[top : top + size[1], left : left + size[0]]
    keep, ink = _plate(ground.shape[1], ground.shape[0])
    ground[:] = cv2.blendLinear(ground, ink, keep, 1 - keep)


@lru_cache(maxsize=32)
def _plate(width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how much of the ground shows through, float32, and a plate of ink, both of this size."""
    radius = min(width, height) // 5
    cover = np.zeros((height, width), np.uint8)
    right, bottom = width - 1 - radius, height - 1 - radius
    cv2.rectangle(cover, (radius, 0), (right, height - 1), 255, cv2.FILLED)
    cv2.rectangle(cover, (0, radius), (width - 1, bottom), 255, cv2.FILLED)
    for centre in ((radius, radius), (right, radius), (radius, bottom), (right, bottom)):
        cv2.circle(cover, centre, radius, 255, cv2.FILLED, cv2.LINE_AA)
    keep = 1 - PLATE_OPACITY * cover.astype(np.float32) / 255
    return keep, np.full((height, width, 3), INK, np.uint8)
