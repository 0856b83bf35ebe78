"""Whether anything moves in front of the camera, so that an unchanged scene is not classified again.

Frame differencing on a small grey copy: shrinking averages the noise of the
sensor away, and costs less than a tenth of finding and naming the garment.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# Width and height of the grey copy. A garment covers 1 % of the frame or more, which is thirty of its cells.
GRID = (64, 48)
# Grey levels by which a cell must differ: several times what noise leaves in the mean of a cell.
CELL_LEVELS = 10
# So many cells must differ: a specular point or a dead pixel that flickers does not.
MIN_CELLS = 6
# A change of all cells alike up to so many levels is the light or the exposure; a greater one is somebody's doing.
LIGHT_LEVELS = 20
# Seconds without motion until the answer stands: the smoothing has forgotten what it knew by then.
SETTLE_SECONDS = 2.0

Grey = np.ndarray[Any, np.dtype[np.int16]]


class Stillness:
    """Tells a scene that stands still from one in which something moves.

    Frames are compared with the one in which something moved last, and not
    with the one before, so that what creeps is noticed too.

    Attributes:
        idle: whether the last frame showed a scene that had been still for long enough.
    """

    def __init__(self, settle: float = SETTLE_SECONDS) -> None:
        """Start with nothing seen.

        Args:
            settle: seconds without motion after which the scene counts as still.
        """
        self.idle = False
        self._settle = settle
        self._shape: tuple[int, ...] = ()
        self._reference: Grey | None = None
        self._moved_at = 0.0

    def look(self, picture: np.ndarray, now: float) -> bool:
        """Return whether nothing has moved for long enough.

        Args:
            picture: the frame, uint8, shape (H, W, 3), BGR.
            now: when it came, in seconds of any clock.
        """
        small = _small(picture)
        if self._reference is None or picture.shape != self._shape or moved(self._reference, small):
            self._shape, self._reference, self._moved_at = picture.shape, small, now
        self.idle = now - self._moved_at >= self._settle
        return self.idle

    def forget(self) -> None:
        """Begin anew: the next frame counts as motion."""
        self.idle, self._reference = False, None


def moved(before: Grey, after: Grey) -> bool:
    """Return whether something moved between two grey copies, int16, shape (48, 64), values 0 to 255.

    What brightens or darkens everywhere alike is not motion, up to what a
    cloud or the camera's exposure does.
    """
    difference = after - before
    light = np.median(difference)
    if abs(light) > LIGHT_LEVELS:
        return True
    return int(np.count_nonzero(np.abs(difference - light) > CELL_LEVELS)) >= MIN_CELLS


def _small(picture: np.ndarray) -> Grey:
    import cv2

    shrunk = cv2.resize(picture, GRID, interpolation=cv2.INTER_AREA)
    # Signed, so that differences do not wrap around.
    return np.asarray(cv2.cvtColor(shrunk, cv2.COLOR_BGR2GRAY), np.int16)
