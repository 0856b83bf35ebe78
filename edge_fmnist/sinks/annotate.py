"""Annotate frames: outline of the garment, label with score, and the model input as an inset."""

from __future__ import annotations

import unicodedata

import cv2
import numpy as np

from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.formatting import printable
from edge_fmnist.vision.detection import Garment

# BGR. Each colour is drawn over or next to INK, so that it is visible on any background.
INK = (24, 20, 18)
PAPER = (250, 248, 246)
KNOWN = (170, 205, 60)
UNKNOWN = (60, 175, 245)
ABSENT = (160, 155, 150)
TRACK = (90, 86, 84)

# Sizes are fractions of the frame's unit: its height, or three quarters of its width if that is less.
TEXT_HEIGHT = 0.038
MIN_TEXT_HEIGHT = 8
MARGIN = 0.025
INSET = 0.2
LINE = 0.0045

PLATE_OPACITY = 0.78
MIN_UNIT_FOR_TEXT = 72
SMOOTHING_POINTS = 7
# Fractional bits of OpenCV's fixed-point coordinates.
SHIFT = 4


def annotate(result: LiveResult) -> np.ndarray:
    """Draw the outline of the garment, a plate with label and score, and the enlarged 28x28 model input.

    A frame too small for readable text gets the outline only.

    Returns:
        uint8, shape (H, W, 3), BGR: an annotated copy of the frame.
    """
    picture = result.frame.picture.copy()
    _draw_outline(picture, result.garment, accent(result))
    unit = _unit(picture)
    if unit >= MIN_UNIT_FOR_TEXT:
        _draw_plate(picture, result, unit)
        if result.garment.found:
            _draw_inset(picture, result.garment.image, unit)
    return picture


def outline(picture: np.ndarray, garment: Garment, colour: tuple[int, int, int] = KNOWN) -> np.ndarray:
    """Draw the outline of a garment.

    Args:
        picture: uint8, shape (H, W, 3), BGR: the garment's frame, or a resized copy of it.
        garment: the detection; without a garment nothing is drawn.
        colour: line colour, BGR.

    Returns:
        uint8, shape (H, W, 3), BGR: an annotated copy.
    """
    drawn = picture.copy()
    _draw_outline(drawn, garment, colour)
    return drawn


def caption(result: LiveResult) -> str:
    """Return label and score as printable text: ``"Coat 93 %"``, ``"unknown"`` or ``"no garment"``."""
    if result.label is None:
        return "no garment"
    label = printable(result.label)
    return f"{label} {round(100 * result.score)} %" if result.label in result.labels else label


def accent(result: LiveResult) -> tuple[int, int, int]:
    """Return the colour for the kind of result (known, unknown, no garment), BGR."""
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
    """Smooth the staircase that the contour of a small mask shows in a large frame.

    Args:
        corners: shape (N, 2), corners of a closed contour.
        step: size of one mask pixel in the frame.

    Returns:
        float64, shape (M, 2): points about ``step`` apart, each the moving average of its neighbours.
    """
    closed = np.vstack([corners, corners[:1]])
    distance = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    count = int(distance[-1] / step)
    if count < 2 * SMOOTHING_POINTS:
        return corners.astype(np.float64)
    positions = np.linspace(0, distance[-1], count, endpoint=False)
    points = np.stack([np.interp(positions, distance, axis) for axis in closed.T], axis=1)
    half = SMOOTHING_POINTS // 2
    padded = np.pad(points, ((half, half), (0, 0)), mode="wrap")
    kernel = np.full(SMOOTHING_POINTS, 1 / SMOOTHING_POINTS)
    return np.stack([np.convolve(axis, kernel, "valid") for axis in padded.T], axis=1)


def _draw_plate(picture: np.ndarray, result: LiveResult, unit: float) -> None:
    """Write the caption on a dark plate at the top left, above a bar as long as the score."""
    text = _drawable(caption(result))
    scale, thickness, (width, height) = _fit_text(text, unit, picture.shape[1])
    pad = round(0.6 * height)
    bar = max(2, round(0.18 * height))
    gap = round(0.4 * height)
    margin = _margin(unit)
    _darken(picture[margin : margin + height + gap + bar + 2 * pad, margin : margin + width + 2 * pad])
    left, baseline = margin + pad, margin + pad + height
    cv2.putText(picture, text, (left, baseline), cv2.FONT_HERSHEY_SIMPLEX, scale, PAPER, thickness, cv2.LINE_AA)
    top = baseline + gap
    score = result.score if result.label in result.labels else 1.0
    cv2.rectangle(picture, (left, top, width, bar), TRACK, cv2.FILLED)
    cv2.rectangle(picture, (left, top, max(1, round(width * score)), bar), accent(result), cv2.FILLED)


def _drawable(text: str) -> str:
    """Return text without what the font cannot draw: before OpenCV 5 it has ASCII alone, so accents are left out."""
    if int(cv2.__version__.partition(".")[0]) >= 5:
        return text
    letters = unicodedata.normalize("NFKD", text)
    return "".join(c for c in letters if not unicodedata.combining(c)).encode("ascii", "replace").decode()


def _fit_text(text: str, unit: float, frame_width: int) -> tuple[float, int, tuple[int, int]]:
    """Return font scale, thickness and text size, for the default text height or the width of the frame."""
    height = max(MIN_TEXT_HEIGHT, TEXT_HEIGHT * unit)
    (full_width, full_height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 1)
    free = frame_width - 2 * _margin(unit) - 2 * round(0.6 * height)
    scale = min(height / full_height, free / full_width)
    thickness = max(1, int(0.6 * scale))
    size, _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    return scale, thickness, size


def _draw_inset(picture: np.ndarray, image: np.ndarray, unit: float) -> None:
    """Paste the model input, enlarged and framed, into the bottom right corner."""
    factor = max(1, round(INSET * unit / image.shape[0]))
    border = max(1, round(LINE * unit))
    side = factor * image.shape[0]
    left = picture.shape[1] - _margin(unit) - border - side
    top = picture.shape[0] - _margin(unit) - border - side
    enlarged = cv2.resize(image, (side, side), interpolation=cv2.INTER_NEAREST)
    cv2.rectangle(picture, (left - border, top - border, side + 2 * border, side + 2 * border), PAPER, cv2.FILLED)
    picture[top : top + side, left : left + side] = enlarged[..., None]


def _margin(unit: float) -> int:
    return max(2, round(MARGIN * unit))


def _darken(area: np.ndarray) -> None:
    """Draw a translucent rectangle with rounded corners over an area of a picture."""
    height, width = area.shape[:2]
    radius = min(width, height) // 5
    plate = area.copy()
    right, bottom = width - 1 - radius, height - 1 - radius
    cv2.rectangle(plate, (radius, 0), (right, height - 1), INK, cv2.FILLED)
    cv2.rectangle(plate, (0, radius), (width - 1, bottom), INK, cv2.FILLED)
    for centre in ((radius, radius), (right, radius), (radius, bottom), (right, bottom)):
        cv2.circle(plate, centre, radius, INK, cv2.FILLED, cv2.LINE_AA)
    area[:] = cv2.addWeighted(plate, PLATE_OPACITY, area, 1 - PLATE_OPACITY, 0)
