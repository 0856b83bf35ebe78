"""Routes of the browser page with ``--collect``: store frames, teach, and swap the model.

``GET /collect.json`` is the state; ``POST /collect`` changes it and returns it. Its body is JSON, which another site's
page cannot send without asking first (CORS), with ``action`` and what the action needs:

    store      ``name`` of the class; ``id`` of a frame in the strip, or none for the latest frame
    undo       takes back the last stored frame
    teach      ``add``: whether to keep the classes of the model
    cancel     stops teaching, or discards what was taught
    use        takes the taught model into the loop
    restore    takes the former model into the loop
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import cv2
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from edge_fmnist.data.labels import NONE
from edge_fmnist.errors import EdgeFmnistError, ImageError, SinkError, SourceError, UsageError
from edge_fmnist.model.photos import class_key
from edge_fmnist.sinks.collect import Collector, capture
from edge_fmnist.sinks.formatting import printable, printable_values
from edge_fmnist.sinks.web.latest import LatestResult
from edge_fmnist.teaching.background import BackgroundTeacher
from edge_fmnist.teaching.collection import CollectedFrame
from edge_fmnist.vision.read_image import read_image
from edge_fmnist.vision.resize import shrunk

MAX_BODY = 4096
MAX_IN_STRIP, MAX_RECENT_SHOWN = 24, 12
THUMBNAIL_SIDE = 256


class CollectPage:
    """What the page shows and does with ``--collect``."""

    def __init__(self, collector: Collector, teacher: BackgroundTeacher, labels: Callable[[], tuple[str, ...]]) -> None:
        """Create the handlers; ``labels`` returns the labels of the model in use."""
        self._collector, self._collection = collector, collector.collection
        self._teacher, self._labels = teacher, labels

    def routes(self, latest: LatestResult) -> list[Route]:
        """Return the routes; ``latest`` has the latest frame."""
        self._latest = latest
        return [
            Route("/collect.json", self._state),
            Route("/collect/{id}.jpg", self._thumbnail),
            Route("/collect", self._change, methods=["POST"]),
        ]

    def close(self) -> None:
        """Stop teaching."""
        self._teacher.cancel()

    async def _state(self, _: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self.as_dict))

    async def _thumbnail(self, request: Request) -> Response:
        jpeg = await run_in_threadpool(self._reduced, str(request.path_params["id"]))
        return PlainTextResponse("No such frame.\n", 404) if jpeg is None else Response(jpeg, media_type="image/jpeg")

    async def _change(self, request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return _problem("expected a body of application/json", 415)
        body = b""
        try:
            async for part in request.stream():
                body += part
                if len(body) > MAX_BODY:
                    return _problem(f"expected a body of at most {MAX_BODY} bytes", 413)
            command = json.loads(body)
        except ClientDisconnect:
            return _problem("expected a body of the stated length", 400)
        except (ValueError, RecursionError):
            return _problem("expected JSON", 400)
        try:
            said = await run_in_threadpool(self._execute, command)
        except EdgeFmnistError as error:
            status = 400 if isinstance(error, UsageError) else 507 if isinstance(error, SinkError) else 409
            return _problem(str(error), status)
        return JSONResponse({"said": said, **await run_in_threadpool(self.as_dict)})

    def as_dict(self) -> dict[str, Any]:
        """Return the state as plain values."""
        counts = self._collection.counts()
        # Classes of the model first, then new ones, rejects last.
        names: dict[str, str] = {}
        for name in (*self._labels(), *(name for name in counts if name.casefold() != NONE), NONE):
            names.setdefault(class_key(name), name)
        numbers = {class_key(name): count for name, count in counts.items()}
        unsorted = self._collection.unsorted()
        strip = [(f"f-{_quoted(name)}", answer) for name, answer in unsorted[:MAX_IN_STRIP]]
        # Older ones are still there for a while, in case a viewer is about to tap one.
        recent = list(self._collector.recent().items())[-MAX_RECENT_SHOWN:]
        strip += [(f"r-{number}", frame.answer) for number, frame in recent]
        strip.sort(key=lambda entry: float(entry[1]["score"]))
        return {
            "folder": printable(str(self._collection.folder)),
            "below": self._collector.below,
            "undo": printable_values(self._collection.last),
            "unsorted": len(unsorted),
            "teach": printable_values(self._teacher.as_dict()),
            "classes": [{"name": printable(name), "count": numbers.get(key, 0)} for key, name in names.items()],
            "strip": [
                {
                    "id": number,
                    "label": printable_values(answer["label"]),
                    "score": answer["score"],
                    "best": [printable(name) for name in answer["scores"] if class_key(name) in names][:2],
                }
                for number, answer in strip[:MAX_IN_STRIP]
            ],
        }

    def _execute(self, command: Any) -> str:
        """Execute the action of a request; return what a screen reader then says."""
        match command:
            case {"action": "store", "name": str(name)} if isinstance(identifier := command.get("id"), str | None):
                stored = self._store(name, identifier)
                return f"Stored as {stored}: {self._collection.counts()[stored]}"
            case {"action": "undo"}:
                undone = self._collection.undo()
                return f"Removed from {undone}" if undone else "Nothing to undo"
            case {"action": "teach"}:
                self._teacher.start(command.get("add") is True)
                return "Teaching"
            case {"action": "cancel"}:
                self._teacher.cancel()
                return "Discarded"
            case {"action": "use"}:
                self._teacher.use()
                return "The new model is in use"
            case {"action": "restore"}:
                self._teacher.restore()
                return "Models exchanged"
        raise UsageError(
            "expected an object with an action: store with the name of a class and perhaps the id of a frame, undo, "
            "teach, cancel, use or restore"
        )

    def _store(self, name: str, number: str | None) -> str:
        if number is None:
            published = self._latest.published
            if published is None:
                raise UsageError("expected a frame, none has arrived yet")
            return self._collection.add(capture(published.result), name)
        kind, _, rest = number.partition("-")
        if kind == "f":
            return self._collection.sort(_unquoted(rest), name)
        frame = self._recent(number)
        if frame is None:
            raise UsageError("this frame is not there any more")
        stored = self._collection.add(frame, name)
        self._collector.forget(int(rest))
        return stored

    def _recent(self, number: str) -> CollectedFrame | None:
        return {f"r-{key}": frame for key, frame in self._collector.recent().items()}.get(number)

    def _reduced(self, number: str) -> bytes | None:
        """Return a small JPEG of a frame in the strip."""
        frame = self._recent(number)
        stored = frame.jpeg if frame else self._collection.find_unsorted(_unquoted(number.removeprefix("f-")))
        with suppress(SourceError, ImageError):
            return cv2.imencode(".jpg", shrunk(read_image(stored or b""), THUMBNAIL_SIDE))[1].tobytes()
        return None


def _quoted(name: str) -> str:
    """Return a file name for JSON: it need not be valid UTF-8."""
    return quote(os.fsencode(name), safe=" ")


def _unquoted(name: str) -> str:
    return os.fsdecode(unquote_to_bytes(name))


def _problem(message: str, status: int) -> Response:
    return JSONResponse({"error": printable(message)}, status)
