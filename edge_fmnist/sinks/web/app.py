"""The routes of the browser page."""

from __future__ import annotations

from importlib.resources import files

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from edge_fmnist.sinks.web import streams
from edge_fmnist.sinks.web.board import Board
from edge_fmnist.sinks.web.encoding import Encoder, Kind
from edge_fmnist.sinks.web.guard import Guard
from edge_fmnist.sinks.web.metrics import CONTENT_TYPE, Metrics

STATIC = {
    "/": ("index.html", "text/html"),
    "/app.js": ("app.js", "text/javascript"),
    "/style.css": ("style.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
LONG_POLL = 10.0
STALLED_AFTER = 2.0
UNHEALTHY_AFTER = 10.0


class Handlers:
    """Answers the requests for what changes."""

    def __init__(self, board: Board, encoder: Encoder, viewers: streams.Viewers, metrics: Metrics) -> None:
        self._board = board
        self._encoder = encoder
        self._viewers = viewers
        self._metrics = metrics

    async def stream(self, request: Request) -> Response:
        """Answer ``/stream.mjpg``: all pictures; ``?plain=1`` leaves the outline out."""
        return streams.mjpeg(self._board, self._encoder, _kind(request), self._viewers)

    async def events(self, _: Request) -> Response:
        """Answer ``/events``: all results."""
        return streams.events(self._board, self._viewers)

    async def frame(self, request: Request) -> Response:
        """Answer ``/frame.jpg``: the newest picture.

        ``?plain=1`` leaves the outline out. ``?after=SERIAL`` waits for another
        picture than that one, whose number came in the header X-Serial; 204 when
        there is none for a while. A viewer that asks so for picture after picture
        gets each as late as it can show it, and never an old one.
        """
        after = request.query_params.get("after")
        shown = self._board.shown
        if after is not None:
            if not after.isascii() or not after.isdigit():
                return PlainTextResponse(f"after={after}: expected the X-Serial of a picture\n", 400)
            shown = await self._board.other_than(int(after), LONG_POLL)
            if shown is None:
                return Response(status_code=204)
        if shown is None:
            return _nothing_yet()
        jpeg = await self._encoder.encode(shown, _kind(request))
        return Response(jpeg, media_type="image/jpeg", headers={"X-Serial": str(shown.serial)})

    async def seen(self, _: Request) -> Response:
        """Answer ``/seen.png``: the newest 28x28 image."""
        shown = self._board.shown
        if shown is None:
            return _nothing_yet()
        return Response(await self._encoder.encode(shown, "seen"), media_type="image/png")

    async def result(self, _: Request) -> Response:
        """Answer ``/result.json``: the newest result."""
        shown = self._board.shown
        return _nothing_yet() if shown is None else JSONResponse(streams.as_dict(shown))

    async def health(self, _: Request) -> Response:
        """Answer ``/healthz``: 200 while results come, 503 when none came for ten seconds; ages in milliseconds."""
        age = self._board.age()
        started = self._board.shown is not None
        state = ("running" if age < STALLED_AFTER else "stalled") if started else "starting"
        facts = {
            "state": state,
            "age": round(age * 1000),
            "viewers": self._viewers.count,
            "viewers_limit": self._viewers.limit,
        }
        return JSONResponse(facts, 503 if age > UNHEALTHY_AFTER else 200)

    async def metrics(self, _: Request) -> Response:
        """Answer ``/metrics``: counts and times in the text format of Prometheus."""
        return Response(self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})


def make_app(
    board: Board, encoder: Encoder, viewers: streams.Viewers, metrics: Metrics, hosts: frozenset[str] | None
) -> ASGIApp:
    """Return the application; ``hosts`` are the names that it answers to, None means any."""
    handlers = Handlers(board, encoder, viewers, metrics)
    routes = [_static(path, *content) for path, content in STATIC.items()]
    routes += [
        Route("/stream.mjpg", handlers.stream),
        Route("/events", handlers.events),
        Route("/frame.jpg", handlers.frame),
        Route("/seen.png", handlers.seen),
        Route("/result.json", handlers.result),
        Route("/healthz", handlers.health),
        Route("/metrics", handlers.metrics),
    ]
    return Guard(Starlette(routes=routes), hosts)


def _static(path: str, name: str, media_type: str) -> Route:
    content = files(__package__).joinpath("static", name).read_bytes()

    async def answer(_: Request) -> Response:
        return Response(content, media_type=media_type)

    return Route(path, answer)


def _kind(request: Request) -> Kind:
    return "plain" if request.query_params.get("plain", "0") not in {"", "0"} else "outlined"


def _nothing_yet() -> Response:
    return PlainTextResponse("No frame has come yet; try again.\n", 503, {"Retry-After": "1"})
