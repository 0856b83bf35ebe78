"""Results as pictures for a browser, each encoded once for all viewers and only when one asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import cv2
import numpy as np

from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.annotate import accent, outline
from edge_fmnist.sinks.web.board import Shown
from edge_fmnist.vision.preprocess import shrunk

Kind = Literal["outlined", "plain", "seen"]

MAX_SIDE = 1280
JPEG_QUALITY = 80


def plain_jpeg(result: LiveResult) -> bytes:
    """Return the frame as JPEG, its longest side at most :data:`MAX_SIDE` pixels."""
    return _jpeg(shrunk(result.frame.picture, MAX_SIDE))


def outlined_jpeg(result: LiveResult) -> bytes:
    """Return the frame as JPEG with the garment's outline, its longest side at most :data:`MAX_SIDE` pixels."""
    # Drawn on the small picture, so that a huge frame costs no more.
    return _jpeg(outline(shrunk(result.frame.picture, MAX_SIDE), result.garment, accent(result)))


def seen_png(result: LiveResult) -> bytes:
    """Return the 28x28 image that the model sees as grey PNG."""
    return bytes(cv2.imencode(".png", result.garment.image)[1].tobytes())


def _jpeg(picture: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes())


ENCODERS: dict[Kind, Callable[[LiveResult], bytes]] = {
    "outlined": outlined_jpeg,
    "plain": plain_jpeg,
    "seen": seen_png,
}


class Encoder:
    """Encodes in a thread of its own, so that the event loop goes on, and keeps the last picture of each kind."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="web-encoder")
        self._kept: dict[Kind, tuple[int, asyncio.Future[bytes]]] = {}

    async def encode(self, shown: Shown, kind: Kind) -> bytes:
        """Return the result as a picture of this kind, which is made once however many viewers ask."""
        serial, future = self._kept.get(kind, (0, None))
        if future is None or serial != shown.serial:
            future = asyncio.get_running_loop().run_in_executor(self._thread, ENCODERS[kind], shown.result)
            self._kept[kind] = shown.serial, future
        # A viewer that leaves while it waits must not cancel the picture that others wait for.
        return await asyncio.shield(future)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(cancel_futures=True)
