"""Endless responses: images as MJPEG, results as server-sent events."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from edge_fmnist.sinks.formatting import printable_values
from edge_fmnist.sinks.web.encoding import ImageEncoder, Kind
from edge_fmnist.sinks.web.latest import LatestResult, PublishedResult

MAX_VIEWERS = 16
EVENT_INTERVAL = 1 / 15
# Sent without a new result too, so that the page detects a lost server and the server a closed page.
HEARTBEAT = 1.0
REPEAT = 5.0
BOUNDARY = "frame"


class Viewers:
    """Counts open streams."""

    limit = MAX_VIEWERS
    count = 0


class ViewerStream(StreamingResponse):
    """A stream that counts as a viewer while it is open; 503 when the maximum number of viewers is reached."""

    def __init__(self, content: AsyncIterator[bytes], media_type: str, viewers: Viewers) -> None:
        super().__init__(content, media_type=media_type)
        self._viewers = viewers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request until its stream ends."""
        if scope["method"] == "HEAD":
            await Response(media_type=self.media_type)(scope, receive, send)
            return
        if self._viewers.count >= self._viewers.limit:
            text = f"Maximum number of viewers ({self._viewers.limit}) reached; try again later.\n"
            await PlainTextResponse(text, 503, {"Retry-After": "5"})(scope, receive, send)
            return
        self._viewers.count += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._viewers.count -= 1


async def mjpeg(latest: LatestResult, encoder: ImageEncoder, kind: Kind) -> AsyncIterator[bytes]:
    """Yield the images as the parts of ``multipart/x-mixed-replace``."""
    boundary = f"--{BOUNDARY}\r\n".encode()
    yield boundary
    published: PublishedResult | None = None
    while not latest.closed:
        published = await latest.wait(published.serial if published else None, REPEAT)
        if published is None:
            # There is no other image: the same one follows.
            continue
        jpeg = await encoder.encode(published, kind)
        head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
        # The boundary follows at once: browsers display a part only when they see its end.
        yield head + jpeg + b"\r\n" + boundary


async def events(latest: LatestResult) -> AsyncIterator[bytes]:
    """Yield the results as server-sent events.

    With ``image``, the 28x28 model input, greyscale bytes in Base64, and ``age``, the milliseconds since the result,
    since the first event may be old.
    """
    serial = None
    while not latest.closed:
        published = await latest.wait(serial, HEARTBEAT)
        if published is None:
            yield b"event: heartbeat\ndata: {}\n\n"
            continue
        serial = published.serial
        image = base64.b64encode(published.result.garment.image.tobytes()).decode()
        event = {**as_dict(published), "image": image, "age": round(published.age() * 1000)}
        yield f"data: {json.dumps(event)}\n\n".encode()
        await asyncio.sleep(EVENT_INTERVAL)


def as_dict(published: PublishedResult) -> dict[str, Any]:
    """Return plain values: those of LiveResult, ``serial``, and ``shown_at`` as Unix time in seconds."""
    values: dict[str, Any] = printable_values(published.result.as_dict())
    return {"serial": published.serial, "shown_at": round(published.shown_at, 3), **values}
