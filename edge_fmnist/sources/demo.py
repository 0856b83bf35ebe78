"""A drawn scene for running without a camera: garments laid on a floor, one after another."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from edge_fmnist.errors import SourceError
from edge_fmnist.sources.base import CaptureSettings, Source

if TYPE_CHECKING:
    from edge_fmnist.sources.scenery import Cutout

NAME = "demo"
SIZE = (640, 480)
FPS = 30.0
EDGES = 32, 4096

# Seconds: a garment slides in, stays, slides out; then the ground is empty for a while.
SLIDE = 0.7
SHOWN = 6.0
EMPTY = 1.2
CYCLE = SHOWN + EMPTY

# A garment's canvas, in heights of the frame, and how far it swings.
SCALE, SCALE_SWING = 0.9, 0.04
ANGLE_SWING = 6.0
LIGHT_SWING = 0.1
SHADOW = 0.4
GRAIN = 10


class Demo(Source):
    """Garments of several kinds that move, turn and grow a little, in changing light.

    Frame ``n`` is always the same. The source never ends; reopened, it starts
    over. Drawing may take long, but no device can block it.
    """

    read_timeout = math.inf

    def __init__(self, settings: CaptureSettings | None = None, *, paced: bool = True) -> None:
        """Create a scene; without ``paced``, frames come as fast as they are read."""
        settings = settings or CaptureSettings()
        self.name = NAME
        self.fps = settings.fps or FPS
        self._paced = paced
        self._size = tuple(
            min(max(wish or usual, EDGES[0]), EDGES[1])
            for wish, usual in zip((settings.width, settings.height), SIZE, strict=True)
        )
        self._scene: Scene | None = None
        self._number = 0
        self._due = 0.0
        self._closed = threading.Event()

    def open(self) -> None:
        """See :meth:`Source.open`."""
        self._scene = Scene(self._size[0], self._size[1])
        self._number = 0
        self._due = time.perf_counter()
        self._closed.clear()

    def read(self) -> np.ndarray:
        """See :meth:`Source.read`."""
        scene, seconds = self._next()
        return scene.draw(seconds)

    def skip(self) -> bool:
        """See :meth:`Source.skip`; nothing is drawn."""
        self._next()
        return True

    def _next(self) -> tuple[Scene, float]:
        """Return the scene and the time, in seconds, of the next frame, when it is due."""
        scene = self._scene
        if scene is None or (self._paced and self._closed.wait(self._wait())):
            raise SourceError(f"{self.name}: not open")
        seconds = self._number / (self.fps or FPS)
        self._number += 1
        return scene, seconds

    def _wait(self) -> float:
        """Return the seconds until the next frame is due; there is no burst for a late reader."""
        now = time.perf_counter()
        wait = max(0.0, self._due - now)
        self._due = max(self._due, now) + 1 / (self.fps or FPS)
        return wait

    def close(self) -> None:
        """See :meth:`Source.close`."""
        self._closed.set()
        self._scene = None


class Scene:
    """Draws the scene at any time; static parts are drawn once."""

    def __init__(self, width: int, height: int) -> None:
        from edge_fmnist.sources import scenery

        self._width, self._height = width, height
        drawn = {ground: ground(height, width) for ground in scenery.GROUNDS}
        self._grounds = [drawn[ground] for ground in scenery.GROUNDS]
        self._garments = [Sprite(cutout) for cutout in scenery.wardrobe()]
        rng = np.random.default_rng(0)
        self._grain = rng.integers(0, GRAIN, (height + 64, width + 64, 3), dtype=np.uint8)

    def label(self, seconds: float) -> str | None:
        """Return the class of the garment that lies still at this time; None if there is none or it slides."""
        turn, shown = divmod(seconds, CYCLE)
        if not SLIDE <= shown <= SHOWN - SLIDE:
            return None
        return self._garments[int(turn) % len(self._garments)].label

    def draw(self, seconds: float) -> np.ndarray:
        """Return the scene at this time: uint8, shape (height, width, 3), BGR."""
        import cv2

        turn, shown = divmod(seconds, CYCLE)
        number = int(turn) % len(self._garments)
        frame = self._grounds[number].copy()
        if shown < SHOWN:
            self._garments[number].paste(frame, self._pose(seconds, shown))
        light = 1 + LIGHT_SWING * math.sin(seconds * 0.9)
        lit = cv2.convertScaleAbs(frame, alpha=light, beta=-GRAIN / 2)
        # The grain of a sensor: another piece of the same sheet for each frame.
        step = round(seconds * 1000)
        top, left = step * 7 % 64, step * 13 % 64
        return np.asarray(cv2.add(lit, self._grain[top : top + self._height, left : left + self._width]))

    def _pose(self, seconds: float, shown: float) -> np.ndarray:
        """Return where a garment lies: float64, shape (2, 3), from its canvas to the frame."""
        away = max(_ease(1 - shown / SLIDE), -_ease(1 - (SHOWN - shown) / SLIDE), key=abs)
        scale = self._height * (SCALE + SCALE_SWING * math.sin(seconds * 1.3))
        angle = math.radians(ANGLE_SWING * math.sin(seconds * 0.8))
        x = self._width * (0.5 + 0.07 * math.sin(seconds * 0.6)) - away * (self._width + scale) / 2
        y = self._height * (0.5 + 0.03 * math.cos(seconds * 1.1))
        turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        return np.column_stack([turn, np.array([x, y]) - turn @ (0.5, 0.5)])


def _ease(share: float) -> float:
    """Return 0 for a share up to 0 and 1 for 1, quickly at first and slowly at the end of the way."""
    return max(0.0, share) ** 2


class Sprite:
    """A garment with its shadow, drawn in any pose."""

    def __init__(self, cutout: Cutout) -> None:
        import cv2

        self.label = cutout.label
        self._edge = cutout.alpha.shape[0]
        # Colours and alpha together, so that one warp does both.
        self._layers = np.dstack([cutout.colours, cutout.alpha[..., 0] * 255]).astype(np.uint8)
        self._shadow = cv2.GaussianBlur(self._layers[..., 3], (0, 0), 6)

    def paste(self, frame: np.ndarray, pose: np.ndarray) -> None:
        """Lay the garment on a frame in place; ``pose`` maps its canvas of edge 1 to the frame."""
        import cv2

        corners = pose @ np.array([[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]])
        offset = 0.02 * np.hypot(pose[0, 0], pose[1, 0])
        height, width = frame.shape[:2]
        left, top = (max(0, math.floor(low)) for low in corners.min(axis=1))
        right, bottom = (math.ceil(high + offset) for high in corners.max(axis=1))
        part = frame[top : min(bottom, height), left : min(right, width)]
        if part.size == 0:
            return
        local = pose / [self._edge, self._edge, 1]
        local[:, 2] -= left, top
        size = part.shape[1], part.shape[0]
        layers = cv2.warpAffine(self._layers, local, size)
        shadow = cv2.warpAffine(self._shadow, local + np.array([[0, 0, offset]]), size)
        kept = (255 - cv2.max(layers[..., 3], cv2.convertScaleAbs(shadow, alpha=SHADOW)))[..., None]
        ground = cv2.multiply(part, cv2.merge([kept] * 3), scale=1 / 255)
        part[:] = cv2.add(ground, layers[..., :3])
