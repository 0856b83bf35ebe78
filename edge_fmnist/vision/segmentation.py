"""Segment the garment in a small colour picture: two colour models and a soft mask, updated in turn.

The idea is that of GrabCut (Rother, Kolmogorov and Blake 2004): the centre differs in colour from the border, and each
estimate of the mask gives better colour models. Histograms over Lab colours replace its Gaussian mixtures (as in
Vicente, Kolmogorov and Rother 2009), and a box filter its graph cut: a tenth of the time, and better masks on
photographs of garments on floors and beds. export/RESULTS.md has the figures.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import cv2
import numpy as np

# Bins of lightness, a and b. Few for lightness: folds and shadows change it within one garment.
BINS = (8, 32, 32)
ROUNDS = 5
# Starting from the mask of the previous frame, two rounds are enough.
FOLLOWING_ROUNDS = 2
EVIDENCE_WEIGHT = 1.5
PRIOR_WEIGHT = 0.25
# The same for the mask of the previous frame, which is better evidence than the centre of the picture.
FOLLOWING_WEIGHT = 0.5
MAX_EVIDENCE = 4.0
NEIGHBOURHOOD = (5, 5)
# Where the prior falls to 1/2, as a share of the distance from centre to border, and how softly.
PRIOR_EDGE, PRIOR_SOFTNESS = 0.72, 0.08
PRIOR_LOW, PRIOR_HIGH = 0.02, 0.92
# Below the first separation, the colours are segmented again with stretched contrast; that result is used only from the
# second on, since the texture of the background, stretched, separates too.
FAINT, CLEAR = 0.12, 0.25
# Range that lightness, a and b are stretched to, and the smallest range that is; a range lies between percentiles.
STRETCHED, MIN_RANGE, RANGE = (180, 120, 120), (48, 16, 16), (2, 98)
# A part is kept from this share of the largest part's weight on; a hole is filled below this share of the picture.
MIN_PART, MAX_HOLE = 0.2, 0.02
TINY = 1e-7
# sRGB to XYZ for the white point D65 (IEC 61966-2-1), in units of that white point; rows X, Y, Z.
TO_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
WHITE = np.array([[0.950456], [1.0], [1.088754]])
# Steps of linear light, of the matrix, and of the cube roots, from 0 to 1.
LIGHT, MATRIX, ROOT = 255 * 8, 1 << 12, 1 << 15


class Segmentation(NamedTuple):
    """A mask, and how different the colours inside and outside are.

    Attributes:
        mask: uint8, 0 or 255, shape (H, W) of the picture.
        separation: 1 minus the Bhattacharyya coefficient of the colours inside and outside: 0 (the same colours) to 1
            (none in common).
    """

    mask: np.ndarray
    separation: float


class OccupiedBins(NamedTuple):
    """The bins of the histogram from the lowest to the highest that are occupied, with a margin of one empty bin.

    Attributes:
        indices: each pixel's bin, intp, shape (H * W,).
        shape: bins of lightness, a and b, margins included.
        at_ends: for each of the three, whether its lowest and its highest bin are those of the whole histogram.
    """

    indices: np.ndarray
    shape: list[int]
    at_ends: list[tuple[bool, bool]]

    @property
    def size(self) -> int:
        """The number of bins."""
        return math.prod(self.shape)


def segment(picture: np.ndarray, previous: np.ndarray | None = None) -> Segmentation:
    """Segment what differs in colour from the border.

    Args:
        picture: uint8, shape (H, W, 3), BGR; about 100 pixels on its longest edge.
        previous: the mask of the previous frame, uint8, 0 or 255, of any size; None without one.

    Returns:
        The mask, which may be empty or cover everything, and the separation, which says how reliable it is.
    """
    colours = bgr_to_lab(cv2.GaussianBlur(picture, (0, 0), 1.0))
    found = _segmented(colours, previous)
    if previous is None and found.separation < FAINT:
        # White on white, grey on grey.
        again = _segmented(_contrasted(colours), None)
        if again.separation >= CLEAR:
            return again
    return found


def _segmented(colours: np.ndarray, previous: np.ndarray | None) -> Segmentation:
    """Separate garment and background by colour: uint8, shape (H, W, 3), Lab."""
    height, width = colours.shape[:2]
    occupied = _occupied_bins(colours)
    counts = np.bincount(occupied.indices, minlength=occupied.size).astype(np.float32)
    inside, prior = _centre_prior(height, width)
    rounds = ROUNDS
    if previous is not None:
        inside, prior = _following_prior(previous, height, width)
        rounds = FOLLOWING_ROUNDS
    for number in range(rounds):
        garment = np.bincount(occupied.indices, weights=inside.ravel(), minlength=occupied.size).astype(np.float32)
        garment_model, ground_model = _models(np.stack([garment, counts - garment]), occupied)
        evidence = np.log((garment_model + TINY) / (ground_model + TINY)).clip(-MAX_EVIDENCE, MAX_EVIDENCE)
        spread = cv2.blur(evidence[occupied.indices].reshape(height, width), NEIGHBOURHOOD)
        logit = EVIDENCE_WEIGHT * spread + prior
        if number < rounds - 1:
            inside = 1 / (1 + np.exp(-logit))
    separation = 1 - float(np.sqrt(garment_model * ground_model).sum())
    return Segmentation(_cleaned((logit > 0).astype(np.uint8) * 255), min(1.0, max(0.0, separation)))


class LabTables(NamedTuple):
    """Tables and matrices that convert 8-bit BGR to 8-bit Lab; the last column of a matrix is added.

    Attributes:
        light: linear light of each pixel value, float32, shape (256,).
        to_xyz: from linear B, G, R to indices into ``roots``, float32, shape (3, 4).
        roots: Lab's cube root of each step of X, Y or Z, float64: 32 bits would round some results.
        to_lab: from the cube roots of X, Y, Z to Lab, float64, shape (3, 4).
    """

    light: np.ndarray
    to_xyz: np.ndarray
    roots: np.ndarray
    to_lab: np.ndarray


@functools.cache
def _lab_tables() -> LabTables:
    values = np.arange(256) / 255
    light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    # In 32 bits, as OpenCV.
    steps = np.arange(1.5 * LIGHT, dtype=np.float32) * np.float32(1 / LIGHT)
    dark = steps * np.float32(841 / 108) + np.float32(16 / 116)
    roots = np.where(steps < 216 / 24389, dark, np.cbrt(steps.astype(float)).astype(np.float32))
    roots = np.round(ROOT * roots.astype(float))
    # OpenCV approximates the cube root by a polynomial, which here rounds the other way.
    roots[324] -= 1
    # Halves are added, since the results are rounded down.
    to_xyz = np.hstack([np.round(TO_XYZ / WHITE * MATRIX)[:, ::-1] / MATRIX, np.full((3, 1), 0.5)])
    lightness, offset = round(116 * 2.55), 128.5 * ROOT
    to_lab = [[0, lightness, 0, 0.5 * ROOT - round(16 * 2.55 * ROOT)], [500, -500, 0, offset], [0, 200, -200, offset]]
    return LabTables(
        np.round(LIGHT * light).astype(np.float32),
        to_xyz.astype(np.float32),
        roots,
        np.array(to_lab) / ROOT,
    )


def bgr_to_lab(picture: np.ndarray) -> np.ndarray:
    """Convert BGR to Lab, both uint8, shape (H, W, 3).

    The same numbers as OpenCV's ``COLOR_BGR2LAB``, whose first call fills tables for all its Lab conversions, which
    takes a tenth of a second.
    """
    tables = _lab_tables()
    steps = cv2.transform(cv2.LUT(picture, tables.light), tables.to_xyz).astype(np.int32)
    # The mode "clip" is the quickest; nothing is beyond the ends.
    roots = tables.roots.take(steps, mode="clip")
    lab: np.ndarray = cv2.transform(roots, tables.to_lab).astype(np.uint8)
    return lab


def _contrasted(colours: np.ndarray) -> np.ndarray:
    """Return Lab colours, uint8, shape (H, W, 3), each channel stretched around the middle of its range."""
    channels = colours.reshape(-1, 3).astype(np.float32).T
    low, high = np.stack([percentiles(channel, RANGE) for channel in channels], axis=1)
    scale = np.array(STRETCHED) / np.maximum(high - low, MIN_RANGE)
    stretched: np.ndarray = np.clip((colours - (low + high) / 2) * scale + 128, 0, 255).astype(np.uint8)
    return stretched


def percentiles(values: np.ndarray, percents: tuple[int, int]) -> np.ndarray:
    """Return two percentiles of a flat float array, float64, shape (2,), interpolated linearly.

    ``np.percentile`` gives the same numbers, but imports ``numpy.ma`` on its first call, which takes as long as Pillow.
    """
    ordered = np.sort(values)
    place = np.array(percents) / 100 * (len(ordered) - 1)
    below = np.floor(place).astype(np.intp)
    share, low = place - below, ordered[below]
    high = ordered[np.minimum(below + 1, len(ordered) - 1)]
    result: np.ndarray = np.where(share < 0.5, low + (high - low) * share, high - (high - low) * (1 - share))
    return result


def _occupied_bins(colours: np.ndarray) -> OccupiedBins:
    """Return the bins of Lab colours, uint8, shape (H, W, 3): a picture has few of all colours."""
    # 16 bits hold all products and indices, and are quicker than 64.
    channels = [
        plane.ravel().astype(np.int16) * bins >> 8 for plane, bins in zip(cv2.split(colours), BINS, strict=True)
    ]
    lowest, highest = ([int(limit(channel)) for channel in channels] for limit in (np.min, np.max))
    shape = [high - low + 3 for low, high in zip(lowest, highest, strict=True)]
    lightness, a, b = (channel - (low - 1) for channel, low in zip(channels, lowest, strict=True))
    indices = (lightness * shape[1] + a) * shape[2] + b
    ends = [(low == 0, high == bins - 1) for low, high, bins in zip(lowest, highest, BINS, strict=True)]
    # bincount rejects int64 on 32-bit systems.
    return OccupiedBins(indices.astype(np.intp), shape, ends)


@functools.lru_cache(maxsize=8)
def _centre_prior(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of garment by position alone, flat, and its weighted logit, shape (H, W)."""
    rows = np.abs(np.arange(height) - (height - 1) / 2) / (height / 2)
    columns = np.abs(np.arange(width) - (width - 1) / 2) / (width / 2)
    distance = np.maximum(rows[:, None], columns[None, :])
    share = 1 / (1 + np.exp((distance - PRIOR_EDGE) / PRIOR_SOFTNESS))
    probability = (PRIOR_LOW + (PRIOR_HIGH - PRIOR_LOW) * share).astype(np.float32)
    return probability.ravel(), PRIOR_WEIGHT * _logit(probability)


def _following_prior(previous: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the same as :func:`_centre_prior` from the mask of the previous frame, softened for movement.

    The centre prior keeps a small weight, so that a mask cannot drift into the background.
    """
    mask = cv2.resize(previous, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32) / 255
    followed = cv2.GaussianBlur(mask, (0, 0), max(height, width) / 24)
    probability = np.clip(followed, PRIOR_LOW, PRIOR_HIGH)
    _, centre = _centre_prior(height, width)
    return probability.ravel(), FOLLOWING_WEIGHT * _logit(probability) + centre


def _logit(probability: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.log(probability / (1 - probability))
    return result


def _models(histograms: np.ndarray, occupied: OccupiedBins) -> np.ndarray:
    """Return two histograms, float32, shape (2, bins), smoothed over neighbouring colours, each summing to 1.

    The margin of empty bins lets each axis be smoothed along the flat array: nothing reaches the next line of bins.
    """
    totals = histograms.sum(axis=1, keepdims=True)
    flat = histograms.ravel()
    bins = flat.reshape(2, *occupied.shape)
    step = occupied.size
    for axis, (size, ends) in enumerate(zip(occupied.shape, occupied.at_ends, strict=True), start=1):
        step //= size
        quarter = 0.25 * flat
        flat *= 0.5
        flat[step:] += quarter[:-step]
        flat[:-step] += quarter[step:]
        for at_end, margin, last in zip(ends, (0, -1), (1, -2), strict=True):
            if at_end:
                # Beyond the ends of the histogram there are no colours.
                lines = bins.swapaxes(0, axis)
                lines[last] += lines[margin]
                lines[margin] = 0
    result: np.ndarray = flat.reshape(2, -1) / np.maximum(totals, TINY)
    return result


def _cleaned(mask: np.ndarray) -> np.ndarray:
    """Return the mask without specks, distant parts and small holes."""
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    opened: np.ndarray = cv2.morphologyEx(mask, cv2.MORPH_OPEN, element)
    left, top, width, height = cv2.boundingRect(opened)
    if width:
        # Finding the parts and the holes takes most of the time, and both are within the box of the mask.
        box = opened[top : top + height, left : left + width]
        _remove_small_parts(box, (left, top), mask.shape)
        _fill_holes(box, MAX_HOLE * mask.size)
    return opened


def _remove_small_parts(box: np.ndarray, position: tuple[int, int], shape: tuple[int, ...]) -> None:
    """Set parts of a mask to 0 that are small or far from the centre: ``box`` of a mask of ``shape``."""
    # Statistics take twice as long as finding the parts, and most masks are in one.
    if cv2.connectedComponents(box, connectivity=4)[0] == 2:
        return
    _, parts, stats, centres = cv2.connectedComponentsWithStats(box, connectivity=4)
    # Columns, rows.
    off_centre = np.abs((centres[1:] + position) / shape[::-1] - 0.5).sum(axis=1)
    weight = stats[1:, cv2.CC_STAT_AREA] * (1 - off_centre)
    box[~np.concatenate([[False], weight >= MIN_PART * weight.max()])[parts]] = 0


def _fill_holes(box: np.ndarray, largest: float) -> None:
    """Fill holes of a mask below ``largest`` pixels; a larger one is the handle of a bag or a neckline."""
    count, parts = cv2.connectedComponents(255 - box, connectivity=4)
    holes = np.ones(count, bool)
    # Part 0 is the mask itself, and parts at the border are not enclosed.
    holes[0] = False
    for line in (parts[0], parts[-1], parts[:, 0], parts[:, -1]):
        holes[line] = False
    if holes.any():
        holes &= np.bincount(parts.ravel(), minlength=count) < largest
        box[holes[parts]] = 255
