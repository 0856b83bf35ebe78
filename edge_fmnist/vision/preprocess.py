"""From a photograph or frame to the kind of image that Fashion-MNIST consists of.

A Fashion-MNIST image is a product shot without its background: cropped, its longest edge scaled to 28 pixels,
centred, negated, grey on black (Xiao et al. 2017, arXiv:1708.07747, section 2). Training on photographs, evaluation
and the live loop all use this module.
"""

from __future__ import annotations

import cv2
import numpy as np

from edge_fmnist.errors import ImageError
from edge_fmnist.vision.detection import Box, Garment
from edge_fmnist.vision.resize import area_sums, area_weights, linear_weights, shrunk, shrunk_size
from edge_fmnist.vision.segmentation import percentile, segment

SIZE = 28
# Edge of the working copy: enough for 28 pixels across a garment, small enough for a Raspberry Pi.
WORKING_EDGE = 96
MAX_EDGE = 20_000
# Smaller pictures have no shape to detect.
MIN_EDGE = 8
# Colour separation and share of the picture: outside these, the mask covers background or specks.
MIN_SEPARATION = 0.04
MIN_AREA, MAX_AREA = 0.01, 0.97
# A mask that covers more of the border is background: true for 2 of 763 photographed garments and for half of all
# photographs of bare ground.
MAX_BORDER = 0.36
# Grey values are stretched to DARKEST..255, so that the shape of the garment shows whatever its colour.
DARKEST = 90
# Percentiles taken for the darkest and brightest value, and the smallest range that is stretched to full contrast:
# the noise of plain cloth is not a pattern.
STRETCH, MIN_RANGE = (2, 98), 48
# A 28x28 image breaks the convention if its border is brighter on average, or less than this share of it is not black.
# Of the 70,000 images of Fashion-MNIST, 0.07 % have a brighter border and 0.01 % are emptier.
BRIGHT_BORDER, MIN_FILLED = 128, 0.03
# Noise of a camera or of JPEG around black is darker.
MIN_BRIGHT = 24


def to_bgr(picture: np.ndarray) -> np.ndarray:
    """Return a picture in colour.

    Args:
        picture: as for :func:`to_grey`.

    Returns:
        uint8, shape (H, W, 3), BGR; the picture itself if it is that already.

    Raises:
        ImageError: another dtype or shape, or no pixels.
    """
    picture = _checked(picture)
    channels = picture.shape[2] if picture.ndim == 3 else 1
    if channels == 3:
        return picture
    if channels == 1:
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR))
    return _on_ground(picture)


def to_frame(picture: np.ndarray) -> np.ndarray:
    """Return a picture in colour, with the alpha channel that :func:`preprocess` takes for the mask.

    Args:
        picture: as for :func:`to_grey`.

    Returns:
        uint8, contiguous, shape (H, W, 4), BGRA, for a picture with an alpha channel; else (H, W, 3), BGR.

    Raises:
        ImageError: another dtype or shape, or no pixels.
    """
    picture = _checked(picture)
    return np.ascontiguousarray(picture if picture.shape[2:] == (4,) else to_bgr(picture))


def to_grey(picture: np.ndarray) -> np.ndarray:
    """Return a picture in grey.

    Args:
        picture: uint8 or uint16; shape (H, W) or (H, W, 1) grey, (H, W, 3) BGR or (H, W, 4) BGRA. Transparent pixels
            become white, as on a page, or black in a 28x28 image. uint16 values above 255 are scaled to 8 bits
            from 10, 12, 14 or 16.

    Returns:
        uint8, shape (H, W), 0 black to 255 white.

    Raises:
        ImageError: another dtype or shape, or no pixels.
    """
    picture = _checked(picture)
    if picture.ndim == 2 or picture.shape[2] == 1:
        return picture.reshape(picture.shape[:2])
    return np.asarray(cv2.cvtColor(to_bgr(picture), cv2.COLOR_BGR2GRAY))


def to_8_bits(picture: np.ndarray) -> np.ndarray:
    """Return pixels as uint8; uint16 pixels are scaled from 10, 12, 14 or 16 bits, unless all of them are in 0..255.

    Raises:
        ImageError: another dtype.
    """
    if not isinstance(picture, np.ndarray) or picture.dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        got = picture.dtype if isinstance(picture, np.ndarray) else type(picture).__name__
        raise ImageError(f"expected an image of uint8 or uint16, got {got}")
    if picture.dtype.itemsize == 2 and picture.size:
        picture = picture >> excess_bits(int(picture.max()))
    return picture.astype(np.uint8, copy=False)


def excess_bits(largest: int) -> int:
    """Return by how many bits values up to ``largest`` exceed 8: cameras use 10, 12, 14 or all 16 bits."""
    return next((bits - 8 for bits in (8, 10, 12, 14) if largest < 1 << bits), 8)


def _checked(picture: np.ndarray) -> np.ndarray:
    """Return a picture as uint8 after checking its dtype and shape."""
    pixels = to_8_bits(picture)
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.ndim not in (2, 3) or channels not in (1, 3, 4) or pixels.size == 0:
        raise ImageError(f"expected an image of shape (H, W), (H, W, 3) or (H, W, 4), got {pixels.shape}")
    if max(pixels.shape[:2]) > MAX_EDGE:
        raise ImageError(f"expected at most {MAX_EDGE} pixels an edge, got {pixels.shape[1]} x {pixels.shape[0]}")
    return pixels


def _on_ground(picture: np.ndarray) -> np.ndarray:
    """Return a BGRA picture in BGR: a photograph on white, a 28x28 image on black."""
    ground = 0 if is_image(picture) else 255
    alpha = picture[:, :, 3:].astype(np.uint16)
    # Integers: exact, and half the memory of floats; 127 rounds to nearest.
    mixed: np.ndarray = (picture[:, :, :3] * alpha + ground * (255 - alpha) + 127) // 255
    return mixed.astype(np.uint8)


def _fitted(planes: np.ndarray) -> tuple[np.ndarray, int]:
    """Return planes resized to a longest edge of 28 and centred on zeros, and the divisor that makes the sums means.

    Args:
        planes: whole numbers up to 255, float32, shape (N, H, W), no edge longer than 96.

    Returns:
        float64, shape (N, 28, 28): whole numbers, and so exact.
    """
    height, width = planes.shape[1:]
    factor = SIZE / max(height, width)
    rows, columns = max(1, round(height * factor)), max(1, round(width * factor))
    weights = area_weights if factor < 1 else linear_weights
    down, across = weights(height, rows), weights(width, columns).T
    # The fewest multiplications first.
    sums = down @ planes @ across if rows < columns else down @ (planes @ across)
    image = np.zeros((len(planes), SIZE, SIZE))
    top, left = (SIZE - rows) // 2, (SIZE - columns) // 2
    image[:, top : top + rows, left : left + columns] = sums
    return image, int(down[0].sum() * across[:, 0].sum())


def _stretched(grey: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Return grey values stretched to DARKEST..255 inside the garment, fading to 0 at its edge.

    Args:
        grey: float64, shape (28, 28), 0 to 255.
        cover: float64, shape (28, 28), share of each pixel that is garment, 0 to 1.
    """
    inside = grey[cover > 0.5]
    low, high = (percentile(np.sort(inside), percent) for percent in STRETCH) if inside.size else (0.0, 255.0)
    share = ((grey - (low + high) / 2) / max(high - low, MIN_RANGE) + 0.5).clip(0, 1)
    image: np.ndarray = np.rint((DARKEST + (255 - DARKEST) * share) * cover).astype(np.uint8)
    return image


def _image(small: np.ndarray, mask: np.ndarray, box: Box) -> np.ndarray:
    """Return the 28x28 image of the masked garment; picture, mask and box are in working size."""
    rows, columns = slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
    # Negated, as in Fashion-MNIST: a dark garment is bright.
    negative = 255 - cv2.cvtColor(small[rows, columns], cv2.COLOR_BGR2GRAY)
    inside = mask[rows, columns] >> 7
    # Weighted by the mask while downscaling, so that no background bleeds into the edge.
    (weighted, cover), area = _fitted(np.stack([negative * inside, inside]).astype(np.float32))
    return _stretched(weighted / np.maximum(cover, 1), cover / area)


def _enlarged(box: Box, small: tuple[int, ...], frame: tuple[int, ...]) -> Box:
    """Return a box of the working copy in pixels of the frame."""
    across, down = frame[1] / small[1], frame[0] / small[0]
    left, top = round(box.left * across), round(box.top * down)
    # Rounding both position and size up would leave the frame.
    width = min(round(box.width * across), frame[1] - left)
    return Box(left, top, width, min(round(box.height * down), frame[0] - top))


def _detection(small: np.ndarray, mask: np.ndarray, confidence: float, shape: tuple[int, int]) -> Garment:
    """Return the garment under a mask, or none where the mask is not plausible."""
    if not _is_plausible(mask, confidence):
        black = np.zeros((SIZE, SIZE), np.uint8)
        return Garment(False, black, np.zeros(small.shape[:2], np.uint8), Box(0, 0, 0, 0), confidence, shape)
    box = Box(*cv2.boundingRect(mask))
    return Garment(True, _image(small, mask, box), mask, _enlarged(box, small.shape, shape), confidence, shape)


def _is_plausible(mask: np.ndarray, separation: float) -> bool:
    """Return whether a mask can be that of a garment."""
    share = int(np.count_nonzero(mask)) / mask.size
    border = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    at_border = int(np.count_nonzero(border)) / border.size
    return separation >= MIN_SEPARATION and MIN_AREA <= share <= MAX_AREA and at_border <= MAX_BORDER


def preprocess(picture: np.ndarray, previous: Garment | None = None, small: np.ndarray | None = None) -> Garment:
    """Detect the garment in a photograph or frame, and make the image that a model classifies.

    A small copy is segmented (:mod:`edge_fmnist.vision.segmentation`). The masked part is converted to grey, negated,
    stretched in contrast, cropped, scaled to a longest edge of 28 pixels and centred on black. If no garment is
    detected, ``found`` is False.

    In a photograph with transparency, the alpha channel is the mask. A 28x28 picture is an image of the data set's
    kind: it is used as it is.

    Args:
        picture: as for :func:`to_grey`. A picture with an edge below 8 pixels shows no garment; without transparency,
            also one that has it after downscaling to 96.
        previous: the detection in the previous frame, of any size; speeds up and stabilizes a stream.
        small: the same picture at low resolution, if a camera delivers it, of the same kind; the garment is then
            detected in it, and of ``picture``, which has no alpha channel, only the shape matters.

    Returns:
        The detected garment: image, mask, box and confidence.

    Raises:
        ImageError: another dtype or shape, or no pixels.
    """
    if is_image(picture):
        image = to_grey(picture).copy()
        return Garment(True, image, (image > 0).astype(np.uint8) * 255, Box(0, 0, SIZE, SIZE), 1.0, (SIZE, SIZE))
    picture = _checked(picture)
    shape = (picture.shape[0], picture.shape[1])
    if picture.shape[2:] == (4,) and (cut_out := _cut_out(picture)) is not None:
        return cut_out
    colours = np.ascontiguousarray(shrunk(to_bgr(picture if small is None else small), WORKING_EDGE))
    if min(colours.shape[:2]) < MIN_EDGE:
        return _detection(colours, np.zeros(colours.shape[:2], np.uint8), 0.0, shape)
    start = previous.mask if previous is not None and previous.found else None
    found = segment(colours, start)
    if start is not None and not _is_plausible(*found):
        # Tracking may have lost the garment; the picture alone may still show one.
        found = segment(colours)
    return _detection(colours, found.mask, found.separation, shape)


def _cut_out(picture: np.ndarray) -> Garment | None:
    """Return the garment of a BGRA photograph whose alpha channel is its mask; None if it shows no outline.

    What is transparent around the garment does not matter: neither that it is large, nor that there is none.
    """
    alpha = np.ascontiguousarray(picture[..., 3])
    place = Box(*cv2.boundingRect(cv2.compare(alpha, 127, cv2.CMP_GT)))
    if min(place.width, place.height) < MIN_EDGE:
        return None
    part = picture[place.top : place.top + place.height, place.left : place.left + place.width]
    colours, mask = _colours_and_mask(part)
    inner = Box(*cv2.boundingRect(mask))
    # A mask that fills its box is the edge of a photograph, not the outline of a garment; a nearly empty one is specks.
    if not MIN_AREA * mask.size <= np.count_nonzero(mask) <= MAX_AREA * inner.width * inner.height:
        return None
    left, top, width, height = _enlarged(inner, mask.shape, part.shape)
    box = Box(place.left + left, place.top + top, width, height)
    whole = cv2.compare(shrunk(alpha, WORKING_EDGE), 127, cv2.CMP_GT)
    return Garment(True, _image(colours, mask, inner), whole, box, 1.0, (picture.shape[0], picture.shape[1]))


def _colours_and_mask(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the working copy of a BGRA photograph, BGR, and the mask in its alpha channel, 0 or 255."""
    picture = shrunk(picture, 4 * WORKING_EDGE)
    size = shrunk_size(picture, WORKING_EDGE)
    # Weighted by alpha, so that the hidden colour of transparent pixels does not bleed in.
    weighted = cv2.multiply(picture[..., :3], cv2.merge([picture[..., 3]] * 3), dtype=cv2.CV_16U)
    alpha, area = area_sums(picture[..., 3], size, 255)
    colours = area_sums(weighted, size, 255 * 255)[0] / np.maximum(alpha, 1)[..., None]
    return (colours + 0.5).astype(np.uint8), (alpha > 127 * area).astype(np.uint8) * 255


def is_image(picture: np.ndarray) -> bool:
    """Return whether a picture is 28x28, grey or colour, and so treated as an image of the data set's kind."""
    return isinstance(picture, np.ndarray) and picture.shape[:2] == (SIZE, SIZE)


def convention_warning(picture: np.ndarray) -> str | None:
    """Return what is unusual about a 28x28 picture; None for a usual one, and for any other size.

    Args:
        picture: as for :func:`to_grey`.
    """
    if not is_image(picture):
        return None
    image = to_grey(picture)
    border = np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])
    if border.mean() > BRIGHT_BORDER:
        return "bright border; a 28x28 image should show the garment bright on black, so this one may need inverting"
    if np.count_nonzero(image > MIN_BRIGHT) < MIN_FILLED * image.size:
        return "nearly empty; a 28x28 image should show the garment bright (up to 255) on black"
    return None
