"""Downscale pictures so that the result is the same on every processor: sums of whole numbers, which are exact."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import cv2
import numpy as np

# Larger results are for viewing: OpenCV makes them with less memory, but not the same on every processor.
LARGEST_SUMS = 768
# 32-bit floats hold all whole numbers below 2**24; below half of it, means of them are rounded correctly, too.
EXACT_FLOAT32 = 1 << 23


def shrunk(picture: np.ndarray, longest: int) -> np.ndarray:
    """Return a picture, shape (H, W) or (H, W, C), downscaled so that no edge is longer than ``longest``."""
    size = shrunk_size(picture, longest)
    return picture if size == picture.shape[1::-1] else area_resized(picture, size)


def shrunk_size(picture: np.ndarray, longest: int) -> tuple[int, int]:
    """Return width and height of a picture downscaled so that no edge is longer than ``longest``."""
    height, width = picture.shape[:2]
    factor = min(1.0, longest / max(height, width))
    return max(1, round(width * factor)), max(1, round(height * factor))


def area_resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a picture, uint8, shape (H, W) or (H, W, C), downscaled to ``size`` (width, height): each pixel is a mean.

    The result is that of OpenCV's ``INTER_AREA``, except that it is the same on every processor. It takes fewer
    instructions, too, since OpenCV does not use SIMD instructions here.
    """
    if max(size) > LARGEST_SUMS:
        return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
    sums, area = area_sums(picture, size, 255)
    # Rounded to nearest by what the conversion cuts off.
    return np.asarray(((sums + area // 2) / area).astype(np.uint8))


def area_sums(picture: np.ndarray, size: tuple[int, int], largest: int) -> tuple[np.ndarray, int]:
    """Return the sums of the pixels under each pixel of a smaller picture, and the divisor that makes them means.

    Args:
        picture: uint8 or uint16 up to ``largest``, shape (H, W) or (H, W, C).
        size: width and height of the smaller picture.
        largest: decides between float32 and float64.

    Returns:
        Float array, shape of the smaller picture: whole numbers, and so exact.
    """
    (columns, rows), (height, width) = size, picture.shape[:2]
    lines = picture.reshape(height, -1)
    channels = lines.shape[1] // width
    area = (height // math.gcd(height, rows)) * (width // math.gcd(width, columns))
    # A half is added for rounding.
    kind = np.dtype(np.float32 if (largest + 1) * area < EXACT_FLOAT32 else np.float64)
    turned = cv2.transpose(_line_sums(lines, _spans(height, rows, 1, lines.shape[1], lines.dtype), kind))
    sums = cv2.transpose(_line_sums(turned, _spans(width, columns, channels, rows, kind), kind))
    return sums.reshape(rows, columns, *picture.shape[2:]), area


class Spans(NamedTuple):
    """Which lines of pixels are under each line of a smaller picture.

    Attributes:
        whole: indices of lines that count ``parts`` times: the first under each line of the smaller picture, and so on.
        divided: indices of lines that may be under two, and how often each counts, of the shape and type of the lines.
        parts: how often a line counts in all.
    """

    whole: list[np.ndarray]
    divided: list[tuple[np.ndarray, np.ndarray]]
    parts: int


@functools.lru_cache(maxsize=4)
def _spans(size: int, target: int, channels: int, pixels: int, kind: np.dtype) -> Spans:
    """Divide lines of ``pixels`` of a type: ``size`` times one for each channel into ``target`` times as many."""
    divisor = math.gcd(size, target)
    length, parts = size // divisor, target // divisor
    edges = np.arange(target + 1) * length
    # The lines that count in full under all begin at the first one or at the one after it: whichever divides fewer.
    fewest, whole, divided = min(
        (_divided(edges, parts, first) for first in (-(-edges[:-1] // parts), edges[:-1] // parts + 1)),
        key=lambda found: found[0] + 1.3 * len(found[2]),
    )

    def lines(places: np.ndarray) -> np.ndarray:
        return (places.clip(0, size - 1)[:, None] * channels + np.arange(channels)).ravel()

    if parts > np.iinfo(np.uint8).max and kind == np.uint8:
        kind = np.dtype(np.uint16)
    return Spans(
        [lines(whole + number) for number in range(fewest)],
        [
            (lines(place), np.repeat(times.repeat(channels)[:, None].astype(kind), pixels, axis=1))
            for place, times in divided
        ],
        parts,
    )


def _divided(
    edges: np.ndarray, parts: int, first: np.ndarray
) -> tuple[int, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Return how many lines from ``first`` on count in full under all, ``first``, and the others with their parts."""
    fewest = int((edges[1:] // parts - first).min())
    divided = [(first - 1, first * parts - edges[:-1])]
    divided += [(place, (edges[1:] - place * parts).clip(0, parts)) for place in (first + fewest, first + fewest + 1)]
    return fewest, first, [(place, times) for place, times in divided if times.any()]


def _line_sums(lines: np.ndarray, spans: Spans, kind: np.dtype) -> np.ndarray:
    """Return sums of lines, shape (lines of the smaller picture, pixels), of a float type."""
    count = len((spans.whole or spans.divided[0])[0])
    # Copies a line of zeros, which takes fewer instructions than to clear all.
    sums = np.zeros((1, lines.shape[1]), kind).repeat(count, axis=0)
    # OpenCV converts and adds at once.
    for indices in spans.whole:
        cv2.accumulate(lines.take(indices, axis=0), sums)
    if spans.parts > 1:
        sums *= spans.parts
    for indices, times in spans.divided:
        cv2.accumulateProduct(lines.take(indices, axis=0).astype(times.dtype, copy=False), times, sums)
    return sums


@functools.lru_cache(maxsize=64)
def area_weights(size: int, target: int) -> np.ndarray:
    """Return how often each of ``size`` pixels counts in each of fewer pixels, float32, shape (target, size)."""
    # In steps of 1 / target of a pixel.
    edges, pixels = size * np.arange(target + 1)[:, None], target * np.arange(size + 1)
    overlap = np.minimum(edges[1:], pixels[1:]) - np.maximum(edges[:-1], pixels[:-1])
    return np.asarray(np.maximum(overlap, 0), np.float32)


@functools.lru_cache(maxsize=64)
def linear_weights(size: int, target: int) -> np.ndarray:
    """Return the same for more pixels, interpolated linearly."""
    # Positions of the pixels' centres, in steps of 1 / (2 * target) of a pixel.
    step = 2 * target
    places = ((2 * np.arange(target) + 1) * size - target).clip(0, step * (size - 1))
    return np.asarray(np.maximum(step - np.abs(places[:, None] - step * np.arange(size)), 0), np.float32)
