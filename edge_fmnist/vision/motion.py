"""Motion detection, so that a static scene is not classified again.

Frame differencing on a small grey copy: downscaling averages the sensor noise, and costs less than a tenth of
detecting and classifying the garment.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# Width and height of the grey copy, unless the frame is smaller. The smallest garment that is detected, 1 % of the
# frame, covers 30 cells.
GRID = (64, 48)
# Grey levels by which a cell must differ: several times the noise in the mean of a cell.
CELL_LEVELS = 10
# Fewer changed cells are a specular highlight or a flickering pixel.
MIN_CELLS = 6
# Up to this many grey levels, a change of all cells alike is a change of light or exposure.
LIGHT_LEVELS = 20
# Seconds without motion until the scene is idle: longer than the memory of the smoothing.
SETTLE_SECONDS = 2.0

Grey = np.ndarray[Any, np.dtype[np.int16]]


class MotionDetector:
    """Detects whether a scene is static.

    Each frame is compared with the last one that showed motion, not with the one before it, so that slow motion is
    detected too.

    Attributes:
        idle: whether the scene was static for long enough at the last frame.
    """

    def __init__(self, settle: float = SETTLE_SECONDS) -> None:
        """Create a detector; the scene counts as static after ``settle`` seconds without motion."""
        self.idle = False
        self._settle = settle
        self._shape: tuple[int, ...] = ()
        self._reference: Grey | None = None
        self._moved_at = 0.0

    def update(self, frame: np.ndarray, now: float) -> bool:
        """Return whether the scene is idle.

        Args:
            frame: uint8, shape (H, W, 3), BGR.
            now: its time, in seconds of any clock.
        """
        small = _small(frame)
        if self._reference is None or frame.shape != self._shape or _moved(self._reference, small):
            self._shape, self._reference, self._moved_at = frame.shape, small, now
        self.idle = now - self._moved_at >= self._settle
        return self.idle

    def reset(self) -> None:
        """Start over: the next frame counts as motion."""
        self.idle, self._reference = False, None


def _moved(before: Grey, after: Grey) -> bool:
    """Return whether something moved between two grey copies; a uniform change of light is not motion."""
    difference = after - before
    light = np.median(difference)
    if abs(light) > LIGHT_LEVELS:
        return True
    return int(np.count_nonzero(np.abs(difference - light) > CELL_LEVELS)) >= MIN_CELLS


def _small(frame: np.ndarray) -> Grey:
    import cv2

    from edge_fmnist.vision.resize import area_resized

    size = min(GRID[0], frame.shape[1]), min(GRID[1], frame.shape[0])
    # Signed, so that differences do not wrap around.
    return np.asarray(cv2.cvtColor(area_resized(frame, size), cv2.COLOR_BGR2GRAY), np.int16)
