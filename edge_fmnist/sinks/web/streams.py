"""The two answers without an end: pictures as MJPEG, results as server-sent events."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from edge_fmnist.sinks.web.board import Board, Shown
from edge_fmnist.sinks.web.encoding import Encoder, Kind

MAX_VIEWERS = 16
EVENT_INTERVAL = 1 / 15
# Without news something is sent all the same: the page learns that the server lives, the server that the page left.
HEARTBEAT = 1.0
REPEAT = 5.0
BOUNDARY = "frame"


class Viewers:
    """Counts the streams that are being watched."""

    def __init__(self, limit: int = MAX_VIEWERS) -> None:
        self.limit = limit
        self.count = 0


class Stream(StreamingResponse):
    """A stream that takes one of the viewers' places while it lasts; 503 where none is free."""

    def __init__(self, content: AsyncIterator[bytes], media_type: str, viewers: Viewers) -> None:
        super().__init__(content, media_type=media_type)
        self._viewers = viewers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as long as it lasts."""
        if scope["method"] == "HEAD":
            await Response(media_type=self.media_type)(scope, receive, send)
            return
        if self._viewers.count >= self._viewers.limit:
            text = f"All {self._viewers.limit} viewers' places are taken; try again when one has left.\n"
            await PlainTextResponse(text, 503, {"Retry-After": "5"})(scope, receive, send)
            return
        self._viewers.count += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._viewers.count -= 1


def mjpeg(board: Board, encoder: Encoder, kind: Kind, viewers: Viewers) -> Stream:
    """Return the pictures as ``multipart/x-mixed-replace``."""
    return Stream(_parts(board, encoder, kind), f"multipart/x-mixed-replace; boundary={BOUNDARY}", viewers)


async def _parts(board: Board, encoder: Encoder, kind: Kind) -> AsyncIterator[bytes]:
    boundary = f"--{BOUNDARY}\r\n".encode()
    yield boundary
    shown: Shown | None = None
    while not board.closed:
        shown = await board.other_than(shown.serial if shown else None, REPEAT) or shown
        if shown is None:
            continue
        jpeg = await encoder.encode(shown, kind)
        head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
        # The boundary comes right after the picture: browsers show a part only when they see its end.
        yield head + jpeg + b"\r\n" + boundary


def events(board: Board, viewers: Viewers) -> Stream:
    """Return the results as server-sent events."""
    return Stream(_events(board), "text/event-stream", viewers)


async def _events(board: Board) -> AsyncIterator[bytes]:
    serial = None
    while not board.closed:
        shown = await board.other_than(serial, HEARTBEAT)
        if shown is None:
            yield b"event: heartbeat\ndata: {}\n\n"
            continue
        serial = shown.serial
        yield f"data: {json.dumps(event(shown))}\n\n".encode()
        await asyncio.sleep(EVENT_INTERVAL)


def as_dict(shown: Shown) -> dict[str, Any]:
    """Return the result as plain values: those of LiveResult, its serial, and ``shown_at`` in seconds of Unix time."""
    return {"serial": shown.serial, "shown_at": round(shown.shown_at, 3), **shown.result.as_dict()}


def event(shown: Shown) -> dict[str, Any]:
    """Return the result with ``image``: what the model sees, 28x28 grey values row by row, in Base64."""
    return {**as_dict(shown), "image": base64.b64encode(shown.result.garment.image.tobytes()).decode()}
