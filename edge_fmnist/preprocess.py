"""From a photograph to the kind of image Fashion-MNIST is made of.

A Fashion-MNIST image is grey, the garment bright on black, cropped, centred,
its longest edge 28 pixels (Xiao et al. 2017, arXiv:1708.07747, section 2).
"""

from __future__ import annotations

import cv2
import numpy as np

from edge_fmnist.errors import ImageError

SIZE = 28
# Working size: large enough for 28 pixels across any garment, small enough to be quick.
WORKING_EDGE = 224
MAX_EDGE = 20_000


def to_grey(image: np.ndarray) -> np.ndarray:
    """Return an image as grey.

    Args:
        image: uint8 or uint16; shape (H, W) grey, (H, W, 3) BGR or (H, W, 4)
            BGRA. Transparent pixels become white, as on a page.

    Returns:
        uint8, shape (H, W), 0 black to 255 white.

    Raises:
        ImageError: another dtype or shape, or no pixels.
    """
    if not isinstance(image, np.ndarray) or image.dtype not in (np.uint8, np.uint16):
        got = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise ImageError(f"expected an image of uint8 or uint16, got {got}")
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.ndim not in (2, 3) or channels not in (1, 3, 4) or image.size == 0:
        raise ImageError(f"expected an image of shape (H, W), (H, W, 3) or (H, W, 4), got {image.shape}")
    if max(image.shape[:2]) > MAX_EDGE:
        raise ImageError(f"expected at most {MAX_EDGE} pixels an edge, got {image.shape[1]} x {image.shape[0]}")
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if channels == 1:
        return image.reshape(image.shape[:2])
    grey = cv2.cvtColor(image, cv2.COLOR_BGRA2GRAY if channels == 4 else cv2.COLOR_BGR2GRAY)
    if channels == 4:
        alpha = image[:, :, 3].astype(np.float32) / 255
        grey = np.round(grey * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return np.asarray(grey)


def _shrunk(grey: np.ndarray) -> np.ndarray:
    """Return the image with its longest edge at most WORKING_EDGE."""
    height, width = grey.shape
    factor = WORKING_EDGE / max(height, width)
    if factor >= 1:
        return grey
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA))


def _border(grey: np.ndarray) -> np.ndarray:
    """Return the pixels of the outermost rows and columns."""
    return np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])


def _garment_box(difference: np.ndarray) -> tuple[slice, slice]:
    """Return the rows and columns that hold what stands out from the background; all of them if nothing does."""
    _, mask = cv2.threshold(difference, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return slice(None), slice(None)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _fitted(garment: np.ndarray) -> np.ndarray:
    """Return the garment resized to a longest edge of 28 and centred on black."""
    height, width = garment.shape
    factor = SIZE / max(height, width)
    rows, columns = max(1, round(height * factor)), max(1, round(width * factor))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    image = np.zeros((SIZE, SIZE), np.uint8)
    top, left = (SIZE - rows) // 2, (SIZE - columns) // 2
    image[top : top + rows, left : left + columns] = cv2.resize(garment, (columns, rows), interpolation=method)
    return image


def preprocess(photo: np.ndarray) -> np.ndarray:
    """Return a photograph of one garment on a plain background as a Fashion-MNIST-like image.

    Grey values; polarity from the border, since the background must be black;
    contrast stretched from the background to the brightest garment pixel;
    cropped by Otsu's threshold; padded to 28x28.

    Args:
        photo: uint8 or uint16; shape (H, W) grey, (H, W, 3) BGR or (H, W, 4) BGRA.

    Returns:
        uint8, shape (28, 28), the garment bright on black (0).

    Raises:
        ImageError: another dtype or shape, or no pixels.
    """
    grey = _shrunk(to_grey(photo))
    background = float(np.median(_border(grey)))
    bright_background = background > 127
    inverted = 255 - grey if bright_background else grey
    floor = 255 - background if bright_background else background
    lifted = np.clip(inverted.astype(np.float32) - floor, 0, None)
    stretched = (lifted * (255 / max(1.0, float(lifted.max())))).round().astype(np.uint8)
    return _fitted(stretched[_garment_box(stretched)])


def as_image(picture: np.ndarray) -> np.ndarray:
    """Return a 28x28 picture as it is (in grey), and any other through :func:`preprocess`.

    Args:
        picture: as for :func:`preprocess`.

    Returns:
        uint8, shape (28, 28), the garment bright on black (0).

    Raises:
        ImageError: another dtype or shape, or no pixels.
    """
    if isinstance(picture, np.ndarray) and picture.shape[:2] == (SIZE, SIZE):
        return to_grey(picture)
    return preprocess(picture)
