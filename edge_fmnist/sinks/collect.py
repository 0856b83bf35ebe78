"""``live --collect``: keeps recent frames to choose from, and stores those of which the model is unsure."""

from __future__ import annotations

import secrets
import threading
import time

import cv2
import numpy as np

from edge_fmnist.errors import SinkError
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.base import Sink
from edge_fmnist.teaching.collection import JPEG_QUALITY, CollectedFrame, Collection, perceptual_hash, similar

# Seconds between two frames that are considered.
INTERVAL = 1.0
MAX_RECENT = 24
BEST = 3


class Collector(Sink):
    """Keeps a few recent frames of garments that do not look alike, and stores unsure ones in ``unsorted``.

    Attributes:
        collection: where frames are stored.
        below: frames with a score below this are stored; None stores none.
    """

    def __init__(self, collection: Collection, below: float | None = None, *, interval: float = INTERVAL) -> None:
        """Create a collector that considers a frame every ``interval`` seconds."""
        self.collection, self.below, self._interval = collection, below, interval
        self._due = -float("inf")
        self._lock = threading.Lock()
        self._recent: dict[int, CollectedFrame] = {}
        self._labels: tuple[str, ...] = ()
        # Random, so that a page that stays open during a restart does not confuse new frames with old ones.
        self._count = secrets.randbits(32)

    def write(self, result: LiveResult) -> None:
        """Store a frame or keep it, if one is due; raises as :class:`Collection`."""
        now = time.monotonic()
        if now < self._due or not result.garment.found or result.label is None:
            return
        self._due = now + self._interval
        frame = capture(result)
        if self.below is not None and result.score < self.below:
            self.collection.add_unsorted(frame)
            return
        with self._lock:
            if result.labels != self._labels:
                # Of another model: what the former one answered says nothing about it.
                self._labels, self._recent = result.labels, {}
            if not any(similar(old.hash, frame.hash) for old in self._recent.values()):
                self._recent[self._count] = frame
                self._recent.pop(self._count - MAX_RECENT, None)
                self._count += 1

    def close(self) -> None:
        """Do nothing; every frame is stored at once."""

    def recent(self) -> dict[int, CollectedFrame]:
        """Return the recent frames by number, oldest first."""
        with self._lock:
            return dict(self._recent)

    def forget(self, number: int) -> None:
        """Remove a recent frame."""
        with self._lock:
            self._recent.pop(number, None)


def capture(result: LiveResult) -> CollectedFrame:
    """Return the frame of a result as it is stored; ``SinkError`` if it is too large for JPEG."""
    best = np.argsort(result.scores)[::-1][:BEST]
    answer = {
        "label": result.label,
        "score": round(result.score, 4),
        "scores": {result.labels[i]: round(float(result.scores[i]), 4) for i in best},
    }
    try:
        jpeg = cv2.imencode(".jpg", result.frame.picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
    except cv2.error as error:
        raise SinkError(f"a frame of shape {result.frame.picture.shape} cannot be stored as JPEG") from error
    return CollectedFrame(jpeg, time.time(), perceptual_hash(result.garment.image), answer)
