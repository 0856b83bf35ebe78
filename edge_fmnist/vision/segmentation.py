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

# Bins of lightness, a and b, powers of 2. Few for lightness: folds and shadows change it within one garment.
BINS = (8, 32, 32)
BIN_SHIFTS = tuple(9 - bins.bit_length() for bins in BINS)
ROUNDS = 5
# Starting from the mask of the previous frame, two rounds are enough.
FOLLOWING_ROUNDS = 2
EVIDENCE_WEIGHT = 1.5
PRIOR_WEIGHT = 0.25
# The same for the mask of the previous frame, which is better evidence than the centre of the picture.
FOLLOWING_WEIGHT = 0.5
MAX_EVIDENCE = 4.0
NEIGHBOURHOOD = (5, 5)
# A Gaussian kernel in steps of 1 / 256. With whole numbers below 2**24, sums of 32-bit floats are exact.
BLUR = np.array([1, 14, 62, 102, 62, 14, 1], np.float32)
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
# Steps of a pixel's weight in a histogram, uint8, and of its logit, int16, which is limited to 8.
WHOLE, LOGIT = 255, 1 << 12
SMOOTHING, UNCHANGED = np.array([1.0, 2.0, 1.0]), np.ones(1)
# The evidence of one pixel, so that the sum over a neighbourhood is in steps of 1 / LOGIT.
EVIDENCE = EVIDENCE_WEIGHT * LOGIT / math.prod(NEIGHBOURHOOD)
LIMIT = int(EVIDENCE * MAX_EVIDENCE)
# The mask of the previous frame is softened over this share of the longest edge.
SOFTENED = 22
# With a larger radius, sums would not fit into 8 and 16 bits.
MAX_RADIUS = 7
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
    """

    indices: np.ndarray
    shape: list[int]

    @property
    def size(self) -> int:
        """The number of bins."""
        return math.prod(self.shape)


class Prior(NamedTuple):
    """The prior probability of garment for each pixel, from its position or from the previous mask.

    Attributes:
        weights: probability of garment, in steps of 1 / WHOLE, uint8, shape (H, W).
        logit: weighted logit of the probability, in steps of 1 / LOGIT, int16, shape (H, W).
    """

    weights: np.ndarray
    logit: np.ndarray


def segment(picture: np.ndarray, previous: np.ndarray | None = None) -> Segmentation:
    """Segment what differs in colour from the border.

    Args:
        picture: uint8, shape (H, W, 3), BGR; about 100 pixels on its longest edge.
        previous: the mask of the previous frame, uint8, 0 or 255, of any size; None without one.

    Returns:
        The mask, which may be empty or cover everything, and the separation, which says how reliable it is.
    """
    colours = bgr_to_lab(_blurred(picture))
    found = _segmented(colours, previous)
    if previous is None and found.separation < FAINT:
        # White on white, grey on grey.
        again = _segmented(_contrasted(colours), None)
        if again.separation >= CLEAR:
            return again
    return found


def _blurred(picture: np.ndarray) -> np.ndarray:
    """Return the same as ``cv2.GaussianBlur`` with a standard deviation of 1, which takes twice the instructions."""
    sums = cv2.sepFilter2D(picture.astype(np.float32), -1, BLUR, BLUR, delta=0.5 * 256 * 256)
    blurred: np.ndarray = (sums * np.float32(1 / (256 * 256))).astype(np.uint8)
    return blurred


def _segmented(colours: np.ndarray, previous: np.ndarray | None) -> Segmentation:
    """Separate garment and background by colour: uint8, shape (H, W, 3), Lab."""
    height, width = colours.shape[:2]
    occupied = _occupied_bins(colours)
    counts = WHOLE * _smoothed(np.bincount(occupied.indices, minlength=occupied.size).astype(float), occupied.shape)
    prior, rounds = _centre_prior(height, width), ROUNDS
    if previous is not None:
        prior, rounds = _following_prior(previous, height, width), FOLLOWING_ROUNDS
    weights = prior.weights
    total = float(counts.sum())
    for number in range(rounds):
        # Sums of whole numbers, which are the same in any order.
        garment = _smoothed(np.bincount(occupied.indices, weights.ravel(), occupied.size), occupied.shape)
        ground = counts - garment
        inside = float(garment.sum())
        evidence = _evidence(garment, max(inside, 1.0), ground, max(total - inside, 1.0))
        neighbours = evidence.take(occupied.indices).reshape(height, width)
        # Saturates.
        logit = cv2.add(cv2.boxFilter(neighbours, cv2.CV_16S, NEIGHBOURHOOD, normalize=False), prior.logit)
        if number < rounds - 1:
            weights = cv2.LUT((logit >> 8).astype(np.uint8), _sigmoid())
    common = float(np.sqrt(garment * ground).sum()) / math.sqrt(max(inside * (total - inside), 1.0))
    # Rounded, since the order of the sum may differ.
    return Segmentation(_cleaned((logit > 0).view(np.uint8) * np.uint8(255)), round(min(1.0, max(0.0, 1 - common)), 9))


def _evidence(garment: np.ndarray, inside: float, ground: np.ndarray, outside: float) -> np.ndarray:
    """Return the evidence that a pixel of each bin is garment, in steps of 1 / EVIDENCE, int16.

    Args:
        garment: histogram, float64.
        inside: its sum.
        ground: the same of the rest.
        outside: its sum.
    """
    ratios = cv2.log((garment + TINY * inside) / (ground + TINY * outside))
    offset = EVIDENCE * math.log(outside / inside)
    evidence = cv2.addWeighted(ratios, EVIDENCE, ratios, 0, offset, dtype=cv2.CV_16S)
    return np.asarray(cv2.min(cv2.max(evidence, -LIMIT), LIMIT)).ravel()


@functools.cache
def _sigmoid() -> np.ndarray:
    """Return the probability for each high byte of a logit as uint8, in steps of 1 / WHOLE, uint8, shape (256,)."""
    # The middle of the logits that share the byte.
    logits = (np.arange(256).astype(np.int8) + 0.5) * 256 / LOGIT
    weights: np.ndarray = np.rint(WHOLE / (1 + np.exp(-logits))).astype(np.uint8)
    return weights


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
    planes = []
    for plane, stretched, least in zip(cv2.split(colours), STRETCHED, MIN_RANGE, strict=True):
        ordered = np.sort(plane, axis=None)
        low, high = (percentile(ordered, percent) for percent in RANGE)
        table = (np.arange(256) - (low + high) / 2) * (stretched / max(high - low, least)) + 128
        planes.append(cv2.LUT(plane, table.clip(0, 255).astype(np.uint8)))
    return np.asarray(cv2.merge(planes))


def percentile(ordered: np.ndarray, percent: float) -> float:
    """Return a percentile of a flat sorted array, interpolated linearly.

    ``np.percentile`` imports ``numpy.ma`` on its first call, which takes as long as Pillow.
    """
    place = percent / 100 * (len(ordered) - 1)
    below = int(place)
    low, high = float(ordered[below]), float(ordered[min(below + 1, len(ordered) - 1)])
    return low + (high - low) * (place - below)


def _occupied_bins(colours: np.ndarray) -> OccupiedBins:
    """Return the bins of Lab colours, uint8, shape (H, W, 3): a picture has few of all colours."""
    planes = [plane >> shift for plane, shift in zip(cv2.split(colours), BIN_SHIFTS, strict=True)]
    limits = [cv2.minMaxLoc(plane)[:2] for plane in planes]
    shape = [int(high - low) + 3 for low, high in limits]
    # 16 bits hold all indices, and are quicker than 64.
    lightness, a, b = (plane.astype(np.int16) - int(low - 1) for plane, (low, _) in zip(planes, limits, strict=True))
    indices = (lightness * shape[1] + a) * shape[2] + b
    # bincount rejects int64 on 32-bit systems.
    return OccupiedBins(indices.astype(np.intp).ravel(), shape)


@functools.lru_cache(maxsize=8)
def _centre_prior(height: int, width: int) -> Prior:
    """Return what the position alone says."""
    rows = np.abs(np.arange(height) - (height - 1) / 2) / (height / 2)
    columns = np.abs(np.arange(width) - (width - 1) / 2) / (width / 2)
    distance = np.maximum(rows[:, None], columns[None, :])
    share = 1 / (1 + np.exp((distance - PRIOR_EDGE) / PRIOR_SOFTNESS))
    return _prior(PRIOR_LOW + (PRIOR_HIGH - PRIOR_LOW) * share, PRIOR_WEIGHT)


def _following_prior(previous: np.ndarray, height: int, width: int) -> Prior:
    """Return what the mask of the previous frame says, softened for movement.

    The centre prior keeps a small weight, so that a mask cannot drift into the background.
    """
    mask = cv2.resize(previous, (width, height), interpolation=cv2.INTER_LINEAR_EXACT) >> 7
    # Two box filters are close to a Gaussian filter, and their sums are whole numbers.
    size = 2 * min(MAX_RADIUS, round(max(height, width) / SOFTENED)) + 1
    sums = cv2.boxFilter(
        cv2.boxFilter(mask, -1, (size, size), normalize=False), cv2.CV_16U, (size, size), normalize=False
    )
    shift, table = _following_tables(size)
    sums = (sums >> shift).astype(np.uint8)
    logit = cv2.add(cv2.LUT(sums, table.logit), _centre_prior(height, width).logit)
    return Prior(cv2.LUT(sums, table.weights), logit)


@functools.lru_cache(maxsize=8)
def _following_tables(size: int) -> tuple[int, Prior]:
    """Return what the sums of a mask after two box filters of ``size`` pixels say, shifted to 8 bits, and the shift."""
    shift = max(0, (size**4).bit_length() - 8)
    shares = (np.arange(256) + 0.5) * (1 << shift) / size**4
    return shift, _prior(shares.clip(PRIOR_LOW, PRIOR_HIGH), FOLLOWING_WEIGHT)


def _prior(probability: np.ndarray, weight: float) -> Prior:
    """Return what probabilities say; the logit is weighted."""
    logit = weight * np.log(probability / (1 - probability))
    return Prior(np.rint(WHOLE * probability).astype(np.uint8), np.rint(LOGIT * logit).astype(np.int16))


def _smoothed(histogram: np.ndarray, shape: list[int]) -> np.ndarray:
    """Return a histogram, float64, flat, smoothed over neighbouring colours: whole numbers stay whole.

    The margin of empty bins keeps what is at the end of one line of bins from the start of the next.
    """
    planes, lines, bins = shape
    border = cv2.BORDER_CONSTANT
    flat = histogram.reshape(planes * lines, bins)
    smoothed = cv2.sepFilter2D(flat, -1, SMOOTHING, SMOOTHING, borderType=border).reshape(planes, lines * bins)
    return np.asarray(cv2.sepFilter2D(smoothed, -1, UNCHANGED, SMOOTHING, borderType=border)).ravel()


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
    # With a margin, all that is not enclosed is one part.
    outside = cv2.copyMakeBorder(cv2.bitwise_not(box), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=255)
    count, parts = cv2.connectedComponents(outside, connectivity=4)
    if count == 2:
        return
    holes = np.bincount(parts.ravel(), minlength=count) < largest
    # Part 0 is the mask itself.
    holes[[0, parts[0, 0]]] = False
    box[holes[parts[1:-1, 1:-1]]] = 255
