"""Parts of the drawn scene: garments and backgrounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from edge_fmnist.data import samples

SIZE = samples.SIZE
WHITE = 250


@dataclass(frozen=True, eq=False)
class Cutout:
    """A garment without its background.

    Attributes:
        label: the class that is right for it.
        colours: float32, shape (280, 280, 3), BGR, 0 to 255, black outside the garment.
        alpha: float32, shape (280, 280, 1), 0 outside to 1 inside.
    """

    label: str
    colours: np.ndarray
    alpha: np.ndarray


def cut_out(picture: np.ndarray, label: str) -> Cutout:
    """Return what is not white in a picture, uint8, shape (280, 280, 3), BGR."""
    inside = (picture.min(axis=2) < WHITE).astype(np.float32)
    # A smooth edge a pixel further in: the edge of a garment drawn on white is half white.
    ramp = (cv2.GaussianBlur(inside, (0, 0), 2) - 0.7) / 0.25
    alpha = np.clip(np.minimum(ramp, inside), 0, 1)[..., None]
    return Cutout(label, picture * alpha, alpha)


def wardrobe() -> list[Cutout]:
    """Return the garments of the scene in their order."""
    trouser, t_shirt, bag = (cut_out(draw(), label) for draw, label in samples.SAMPLES.values())
    return [trouser, t_shirt, cut_out(_dress(), "Dress"), bag, cut_out(_boot(), "Ankle boot")]


def _dress() -> np.ndarray:
    """Draw a dark green dress: uint8, (280, 280, 3), BGR, on white."""
    canvas = np.full((SIZE, SIZE, 3), 255, np.uint8)
    left = [(0.47, 0.13), (0.43, 0.03), (0.37, 0.03), (0.36, 0.17), (0.40, 0.38), (0.37, 0.52), (0.27, 0.97)]
    samples.polygon(canvas, [*left, *((1 - x, y) for x, y in reversed(left))], (70, 95, 20))
    samples.polygon(canvas, [(0.4, 0.38), (0.6, 0.38), (0.607, 0.42), (0.393, 0.42)], (45, 60, 12))
    return samples.cloth(canvas, 4)


def _boot() -> np.ndarray:
    """Draw a dark ankle boot that points to the left: uint8, (280, 280, 3), BGR, on white."""
    canvas = np.full((SIZE, SIZE, 3), 255, np.uint8)
    shaft = [(0.56, 0.10), (0.90, 0.10), (0.90, 0.45), (0.94, 0.70), (0.93, 0.80), (0.06, 0.80), (0.07, 0.68)]
    samples.polygon(canvas, [*shaft, (0.18, 0.59), (0.42, 0.53), (0.54, 0.42)], (34, 40, 58))
    heel = [(0.05, 0.78), (0.94, 0.78), (0.94, 0.92), (0.70, 0.92), (0.68, 0.84), (0.05, 0.84)]
    samples.polygon(canvas, heel, (20, 20, 24))
    return samples.cloth(canvas, 5)


def _noise(shape: tuple[int, int], spread: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Return float32 noise of mean 0 and deviation 1, smeared by so many pixels along x and y."""
    # Drawn coarse and enlarged: a wide blur at full size takes seconds on a small Pi.
    coarse_x, coarse_y = (max(1.0, pixels / 3) for pixels in spread)
    size = max(2, round(shape[0] / coarse_y)), max(2, round(shape[1] / coarse_x))
    white = rng.normal(0, 1, size).astype(np.float32)
    smeared = cv2.GaussianBlur(white, (0, 0), sigmaX=spread[0] / coarse_x, sigmaY=spread[1] / coarse_y)
    enlarged = cv2.resize(smeared, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray((enlarged - enlarged.mean()) / max(float(enlarged.std()), 1e-6))


def wood(height: int, width: int) -> np.ndarray:
    """Draw light floor boards: uint8, shape (height, width, 3), BGR."""
    rng = np.random.default_rng(11)
    unit = height / 480
    board = np.arange(height) * 5 // height
    bent = np.arange(height)[:, None] / unit + 5 * _noise((height, width), (60 * unit, 12 * unit), rng)
    grain = np.sin(bent * 0.55 + rng.uniform(0, 6, 5)[board][:, None])
    shade = 5 * grain + 5 * _noise((height, width), (25 * unit, 0.7), rng) + rng.normal(0, 7, 5)[board][:, None]
    seams = np.flatnonzero(np.diff(board))
    for offset in range(max(1, round(2 * unit))):
        shade[seams + offset] -= 45
    return _tinted(shade, (140, 178, 208))


def linen(height: int, width: int) -> np.ndarray:
    """Draw a light grey tablecloth: uint8, shape (height, width, 3), BGR."""
    rng = np.random.default_rng(12)
    unit = height / 480
    threads = _noise((height, width), (9 * unit, 0.6), rng) + _noise((height, width), (0.6, 9 * unit), rng)
    creases = _noise((height, width), (70 * unit, 50 * unit), rng)
    return _tinted(4 * threads + 5 * creases, (205, 208, 206))


def _tinted(shade: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Return a shade, in grey levels, on a colour, darker towards the corners as through a lens."""
    height, width = shade.shape
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    vignette = 1 - 0.05 * (x**2 + y**2) / 2 - 0.02 * x
    return np.asarray(np.clip((shade[..., None] + colour) * vignette[..., None], 0, 255).astype(np.uint8))


# One for each garment of the wardrobe, from whose colours it differs.
GROUNDS: tuple[Callable[[int, int], np.ndarray], ...] = (wood, wood, linen, linen, linen)
