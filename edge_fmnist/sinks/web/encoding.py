"""Image encoding for browsers, on demand and once for all viewers."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import cv2

from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.annotate import accent, outline
from edge_fmnist.sinks.web.latest import PublishedResult
from edge_fmnist.vision.resize import shrunk

Kind = Literal["outlined", "plain", "seen"]

MAX_SIDE = 1280
JPEG_QUALITY = 80


def encode_image(result: LiveResult, kind: Kind) -> bytes:
    """Encode a result as an image.

    Args:
        result: the result.
        kind: ``"outlined"`` and ``"plain"``: the frame as JPEG, longest side at most :data:`MAX_SIDE` pixels, with or
            without the garment's outline; ``"seen"``: the 28x28 model input as greyscale PNG.
    """
    if kind == "seen":
        return cv2.imencode(".png", result.garment.image)[1].tobytes()
    picture = shrunk(result.frame.picture, MAX_SIDE)
    if kind == "outlined":
        # Drawn after resizing, so that a large frame costs no more.
        picture = outline(picture, result.garment, accent(result))
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


class ImageEncoder:
    """Encodes in its own thread, so that the event loop is not blocked, and keeps the latest image of each kind."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="web-encoder")
        self._latest: dict[Kind, tuple[int, asyncio.Future[bytes]]] = {}

    async def encode(self, published: PublishedResult, kind: Kind) -> bytes:
        """Return the image of a result; it is encoded once, however many viewers request it."""
        serial, future = self._latest.get(kind, (0, None))
        if future is None or serial != published.serial:
            loop = asyncio.get_running_loop()
            future = loop.run_in_executor(self._thread, encode_image, published.result, kind)
            self._latest[kind] = published.serial, future
        # A viewer that disconnects must not cancel the image that others wait for.
        return await asyncio.shield(future)

    def close(self) -> None:
        """Stop the thread."""
        self._thread.shutdown(cancel_futures=True)
