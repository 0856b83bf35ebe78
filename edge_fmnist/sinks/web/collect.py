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
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import cv2
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from edge_fmnist.data.labels import NONE
from edge_fmnist.errors import EdgeFmnistError, ImageError, SinkError, UsageError
from edge_fmnist.sinks.collect import Collector, capture
from edge_fmnist.sinks.formatting import printable, printable_values
from edge_fmnist.sinks.web.latest import LatestResult
from edge_fmnist.teaching.background import BackgroundTeacher
from edge_fmnist.teaching.collection import class_key
from edge_fmnist.vision.preprocess import shrunk
from edge_fmnist.vision.read_image import read_image

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
        self._teacher.close()

    async def _state(self, _: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self.as_dict))

    async def _thumbnail(self, request: Request) -> Response:
        jpeg = await run_in_threadpool(self._reduced, str(request.path_params["id"]))
        return PlainTextResponse("No such frame.\n", 404) if jpeg is None else Response(jpeg, media_type="image/jpeg")

    async def _change(self, request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return _problem("expected a body of application/json", 415)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY:
                return _problem(f"expected a body of at most {MAX_BODY} bytes", 413)
        try:
            command = json.loads(body)
            if not isinstance(command, dict):
                raise ValueError
        except (ValueError, RecursionError):
            return _problem("expected a JSON object", 400)
        try:
            said = await run_in_threadpool(self._execute, command)
        except UsageError as error:
            return _problem(error.message, 400)
        except SinkError as error:
            return _problem(str(error), 507)
        except EdgeFmnistError as error:
            return _problem(str(error), 409)
        return JSONResponse({"said": said, **await run_in_threadpool(self.as_dict)})

    def as_dict(self) -> dict[str, Any]:
        """Return the state as plain values."""
        counts = self._collection.counts()
        # Classes of the model first, then new ones, rejects last.
        names: dict[str, str] = {}
        for name in (*self._labels(), *(name for name in counts if name != NONE), NONE):
            names.setdefault(class_key(name), name)
        numbers = {class_key(name): count for name, count in counts.items()}
        unsorted = self._collection.unsorted()
        strip = [(f"f-{name}", answer) for name, answer in unsorted[:MAX_IN_STRIP]]
        # Older ones are still there for a while, in case a viewer is about to tap one.
        recent = list(self._collector.recent().items())[-MAX_RECENT_SHOWN:]
        strip += [(f"r-{number}", frame.answer) for number, frame in recent]
        strip.sort(key=lambda entry: float(entry[1]["score"]))
        state = {
            "folder": str(self._collection.folder),
            "below": self._collector.below,
            "undo": self._collection.last,
            "unsorted": len(unsorted),
            "teach": self._teacher.as_dict(),
        }
        return {
            **{name: printable_values(value) for name, value in state.items()},
            "classes": [{"name": printable(name), "count": numbers.get(key, 0)} for key, name in names.items()],
            "strip": [
                {
                    "id": number,
                    "label": None if answer["label"] is None else printable(str(answer["label"])),
                    "score": answer["score"],
                    "best": [printable(str(name)) for name in list(answer["scores"])[:2]],
                }
                for number, answer in strip[:MAX_IN_STRIP]
            ],
        }

    def _execute(self, command: dict[str, Any]) -> str:
        """Execute the action of a request; return what a screen reader then says."""
        action = command.get("action")
        if action == "store":
            name, number = command.get("name"), command.get("id")
            if not isinstance(name, str) or not isinstance(number, str | None):
                raise UsageError("expected a name of the class, and an id of a frame or none")
            stored = self._store(name, number)
            return f"Stored as {stored}: {self._collection.counts()[stored]}"
        if action == "undo":
            undone = self._collection.undo()
            return f"Removed from {undone}" if undone else "Nothing to undo"
        if action == "teach":
            self._teacher.start(command.get("add") is True)
            return "Teaching"
        if action in ("cancel", "use", "restore"):
            getattr(self._teacher, action)()
            return {"cancel": "Discarded", "use": "The new model is in use", "restore": "Models exchanged"}[action]
        raise UsageError("expected an action: store, undo, teach, cancel, use or restore")

    def _store(self, name: str, number: str | None) -> str:
        if number is None:
            published = self._latest.published
            if published is None:
                raise UsageError("expected a frame, none has arrived yet")
            return self._collection.add(capture(published.result), name)
        kind, _, rest = number.partition("-")
        if kind == "f":
            return self._collection.sort(rest, name)
        frame = self._recent(rest)
        if kind != "r" or frame is None:
            raise UsageError("this frame is not there any more")
        stored = self._collection.add(frame, name)
        self._collector.forget(int(rest))
        return stored

    def _recent(self, number: str) -> Any:
        with suppress(ValueError):
            return self._collector.recent().get(int(number[:9]))
        return None

    def _reduced(self, number: str) -> bytes | None:
        """Return a small JPEG of a frame in the strip."""
        kind, _, rest = number.partition("-")
        frame = self._recent(rest)
        jpeg = self._collection.read_unsorted(rest) if kind == "f" else frame.jpeg if frame else None
        with suppress(ImageError):
            return cv2.imencode(".jpg", shrunk(read_image(jpeg or b""), THUMBNAIL_SIDE))[1].tobytes()
        return None


def _problem(message: str, status: int) -> Response:
    return JSONResponse({"error": printable(message)}, status)
