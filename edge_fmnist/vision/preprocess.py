"""From a photograph or a frame to the kind of image Fashion-MNIST is made of.

A Fashion-MNIST image is a product shot without its background: cropped, its
longest edge 28 pixels, centred, negated, grey on black (Xiao et al. 2017,
arXiv:1708.07747, section 2). Training on photographs and the live loop use
this very code.
"""

from __future__ import annotations

import cv2
import numpy as np

from edge_fmnist.errors import ImageError
from edge_fmnist.vision.detection import Box, Garment
from edge_fmnist.vision.segmentation import Segmentation, segment

SIZE = 28
# Working size: enough for 28 pixels across a garment, few enough for a Raspberry Pi.
WORKING_EDGE = 96
MAX_EDGE = 20_000
# Smaller pictures hold no shape to find.
LEAST_EDGE = 8
# Separation and share of the picture: beyond these, what was found is not a garment but ground or specks on it.
LEAST_SEPARATION = 0.04
LEAST_AREA, LARGEST_AREA = 0.01, 0.97
# A mask on more of the frame's border is the ground: 2 of 763 photographed garments have one, half of all bare ground.
LARGEST_BORDER = 0.36
# Grey values go from DARKEST to 255, so that the garment's shape shows whatever its colour.
DARKEST = 90
# Percentiles that the stretch takes for darkest and brightest, and the least range that is stretched to full:
# the noise of a plain cloth is no pattern.
STRETCH, LEAST_RANGE = (2, 98), 48
# Keeps a division by the mask's share from failing where the mask has none.
TINY = 1e-3


def to_bgr(picture: np.ndarray) -> np.ndarray:
    """Return a picture in colour.

    Args:
        picture: as for :func:`to_grey`.

    Returns:
        uint8, shape (H, W, 3), BGR; the picture itself where it is that already.

    Raises:
        ImageError: another dtype or shape, or no pixels.
    """
    picture = _checked(picture)
    channels = picture.shape[2] if picture.ndim == 3 else 1
    if channels == 3:
        return picture
    if channels == 1:
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR))
    return _on_white(picture)


def to_grey(picture: np.ndarray) -> np.ndarray:
    """Return a picture in grey.

    Args:
        picture: uint8 or uint16; shape (H, W) or (H, W, 1) grey, (H, W, 3) BGR
            or (H, W, 4) BGRA. Transparent pixels become white, as on a page.

    Returns:
        uint8, shape (H, W), 0 black to 255 white.

    Raises:
        ImageError: another dtype or shape, or no pixels.
    """
    picture = _checked(picture)
    if picture.ndim == 2 or picture.shape[2] == 1:
        return picture.reshape(picture.shape[:2])
    return np.asarray(cv2.cvtColor(to_bgr(picture), cv2.COLOR_BGR2GRAY))


def _checked(picture: np.ndarray) -> np.ndarray:
    """Return the picture as uint8 after checking that it is one."""
    if not isinstance(picture, np.ndarray) or picture.dtype not in (np.uint8, np.uint16):
        got = picture.dtype if isinstance(picture, np.ndarray) else type(picture).__name__
        raise ImageError(f"expected an image of uint8 or uint16, got {got}")
    channels = picture.shape[2] if picture.ndim == 3 else 1
    if picture.ndim not in (2, 3) or channels not in (1, 3, 4) or picture.size == 0:
        raise ImageError(f"expected an image of shape (H, W), (H, W, 3) or (H, W, 4), got {picture.shape}")
    if max(picture.shape[:2]) > MAX_EDGE:
        raise ImageError(f"expected at most {MAX_EDGE} pixels an edge, got {picture.shape[1]} x {picture.shape[0]}")
    return (picture >> 8).astype(np.uint8) if picture.dtype == np.uint16 else picture


def _on_white(picture: np.ndarray) -> np.ndarray:
    """Return a BGRA picture laid on white, in BGR."""
    alpha = picture[:, :, 3:].astype(np.uint16)
    # In whole numbers: exact, and half the memory of floats; 127 rounds to the nearest.
    mixed: np.ndarray = (picture[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return mixed.astype(np.uint8)


def shrunk(picture: np.ndarray, longest: int) -> np.ndarray:
    """Return a picture, shape (H, W) or (H, W, C), with no edge longer than ``longest``; itself where it is so."""
    height, width = picture.shape[:2]
    factor = longest / max(height, width)
    if factor >= 1:
        return picture
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def _fitted(garment: np.ndarray) -> np.ndarray:
    """Return float values resized to a longest edge of 28 and centred among zeros."""
    height, width = garment.shape
    factor = SIZE / max(height, width)
    rows, columns = max(1, round(height * factor)), max(1, round(width * factor))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    image = np.zeros((SIZE, SIZE), np.float32)
    top, left = (SIZE - rows) // 2, (SIZE - columns) // 2
    image[top : top + rows, left : left + columns] = cv2.resize(garment, (columns, rows), interpolation=method)
    return image


def _stretched(grey: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Return grey values stretched to DARKEST..255 inside the garment, and fading to 0 at its edge.

    Args:
        grey: float32, shape (28, 28), 0 to 255.
        cover: float32, shape (28, 28), how much of each pixel is garment, 0 to 1.
    """
    inside = grey[cover > 0.5]
    low, high = np.percentile(inside, STRETCH) if inside.size else (0.0, 255.0)
    share = np.clip((grey - (low + high) / 2) / max(high - low, LEAST_RANGE) + 0.5, 0, 1)
    image: np.ndarray = np.round((DARKEST + (255 - DARKEST) * share) * cover).astype(np.uint8)
    return image


def _image(small: np.ndarray, mask: np.ndarray, box: Box) -> np.ndarray:
    """Return the 28x28 image of what the mask covers; picture, mask and box are in working size."""
    rows, columns = slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
    # Negated, as in Fashion-MNIST: a dark garment is bright.
    negative = 255 - cv2.cvtColor(small[rows, columns], cv2.COLOR_BGR2GRAY).astype(np.float32)
    inside = (mask[rows, columns] > 0).astype(np.float32)
    # Weighted by the mask while it shrinks, so that no background bleeds into the edge.
    cover, weighted = _fitted(inside), _fitted(negative * inside)
    return _stretched(weighted / np.maximum(cover, TINY), cover)


def _enlarged(box: Box, small: tuple[int, ...], frame: tuple[int, ...]) -> Box:
    """Return a box of the working copy in pixels of the frame."""
    across, down = frame[1] / small[1], frame[0] / small[0]
    left, top = round(box.left * across), round(box.top * down)
    # Two halves that are both rounded up would lead out of the frame.
    width = min(round(box.width * across), frame[1] - left)
    return Box(left, top, width, min(round(box.height * down), frame[0] - top))


def _nothing(frame: tuple[int, ...], small: tuple[int, ...], confidence: float = 0.0) -> Garment:
    """Return the answer that there is no garment, for shapes of the frame and of the working copy."""
    return Garment(
        found=False,
        image=np.zeros((SIZE, SIZE), np.uint8),
        mask=np.zeros(small[:2], np.uint8),
        box=Box(0, 0, 0, 0),
        confidence=confidence,
        frame_shape=(frame[0], frame[1]),
    )


def _plausible(found: Segmentation) -> bool:
    """Tell whether a mask is one that a garment may have."""
    mask = found.mask
    share = int(np.count_nonzero(mask)) / mask.size
    border = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    at_border = int(np.count_nonzero(border)) / border.size
    return found.separation >= LEAST_SEPARATION and LEAST_AREA <= share <= LARGEST_AREA and at_border <= LARGEST_BORDER


def preprocess(picture: np.ndarray, previous: Garment | None = None) -> Garment:
    """Find the garment in a photograph or frame and make the image that a model sees.

    A small copy is segmented (:mod:`edge_fmnist.vision.segmentation`); what the mask
    covers is made grey, negated, stretched in contrast, cropped, shrunk to a
    longest edge of 28 pixels and centred on black. No garment is an answer,
    not an error: then ``found`` is False.

    Args:
        picture: as for :func:`to_grey`; a shorter edge below 8 pixels, at full
            size or once the longer one is shrunk to 96, shows no garment.
        previous: what was found in the frame before, of any size, which speeds
            up and steadies a stream.

    Returns:
        The image, the mask, the box and a confidence; its class says more.

    Raises:
        ImageError: another dtype or shape, or no pixels.
    """
    frame = to_bgr(picture)
    small = np.ascontiguousarray(shrunk(frame, WORKING_EDGE))
    if min(small.shape[:2]) < LEAST_EDGE:
        return _nothing(frame.shape, small.shape)
    start = previous.mask if previous is not None and previous.found else None
    found = segment(small, start)
    if start is not None and not _plausible(found):
        # A mask that was followed too long is left behind; the picture alone may still show a garment.
        found = segment(small)
    if not _plausible(found):
        return _nothing(frame.shape, small.shape, found.separation)
    box = Box(*cv2.boundingRect(found.mask))
    return Garment(
        found=True,
        image=_image(small, found.mask, box),
        mask=found.mask,
        box=_enlarged(box, small.shape, frame.shape),
        confidence=found.separation,
        frame_shape=(frame.shape[0], frame.shape[1]),
    )


def as_image(picture: np.ndarray) -> np.ndarray:
    """Return a 28x28 picture as it is (in grey), and any other through :func:`preprocess`.

    Args:
        picture: as for :func:`preprocess`.

    Returns:
        uint8, shape (28, 28), the garment bright on black (0); all black where none was found.

    Raises:
        ImageError: another dtype or shape, or no pixels.
    """
    return to_grey(picture) if is_image(picture) else preprocess(picture).image


def is_image(picture: np.ndarray) -> bool:
    """Tell whether a picture is 28x28, grey or colour, and so taken for an image of the data set's kind."""
    return isinstance(picture, np.ndarray) and picture.shape[:2] == (SIZE, SIZE)
