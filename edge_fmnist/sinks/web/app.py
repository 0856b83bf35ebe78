"""Routes of the browser page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from edge_fmnist.pipeline.results import next_within
from edge_fmnist.sinks.web import streams
from edge_fmnist.sinks.web.access import Access
from edge_fmnist.sinks.web.encoding import ImageEncoder, Kind
from edge_fmnist.sinks.web.latest import LatestResult
from edge_fmnist.sinks.web.metrics import CONTENT_TYPE, PrometheusMetrics
from edge_fmnist.sinks.web.middleware import SecurityMiddleware
from edge_fmnist.sinks.web.parts import static_file, with_part

if TYPE_CHECKING:
    from edge_fmnist.sinks.web.collect import CollectPage

STATIC = {
    "/app.js": ("app.js", "text/javascript"),
    "/display.js": ("display.js", "text/javascript"),
    "/style.css": ("style.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
# With --collect, also:
COLLECT = {"/collect.js": ("collect.js", "text/javascript"), "/collect.css": ("collect.css", "text/css")}
LONG_POLL = 10.0
# Seconds without a result, or twice the usual time between two results.
STALLED_AFTER = 2.0
UNHEALTHY_AFTER = 10.0


class Endpoints:
    """Request handlers for live data."""

    def __init__(
        self, latest: LatestResult, encoder: ImageEncoder, viewers: streams.Viewers, metrics: PrometheusMetrics
    ) -> None:
        self._latest = latest
        self._encoder = encoder
        self._viewers = viewers
        self._metrics = metrics

    async def stream(self, request: Request) -> Response:
        """``/stream.mjpg``: all frames; ``?plain=1`` omits the outline."""
        parts = streams.mjpeg(self._latest, self._encoder, _kind(request))
        media_type = f"multipart/x-mixed-replace; boundary={streams.BOUNDARY}"
        return streams.ViewerStream(parts, media_type, self._viewers)

    async def events(self, _: Request) -> Response:
        """``/events``: all results."""
        return streams.ViewerStream(streams.events(self._latest), "text/event-stream", self._viewers)

    async def frame(self, request: Request) -> Response:
        """``/frame.jpg``: the latest frame; ``?plain=1`` omits the outline.

        ``?after=SERIAL`` waits for a frame other than that one, whose number is in the response header X-Serial, and
        returns 204 if there is none for a while. A viewer that requests frame after frame like this receives each as
        late as it can show it, and never an outdated one.
        """
        after = request.query_params.get("after")
        published = self._latest.published
        if after is not None:
            if not re.fullmatch("[0-9]{1,18}", after):
                return PlainTextResponse("after: expected the X-Serial of a frame\n", 400)
            published = await self._latest.wait(int(after), LONG_POLL)
            if published is None:
                return Response(status_code=204)
        if published is None:
            return _no_result()
        jpeg = await self._encoder.encode(published, _kind(request))
        return Response(jpeg, media_type="image/jpeg", headers={"X-Serial": str(published.serial)})

    async def seen(self, _: Request) -> Response:
        """``/seen.png``: the latest 28x28 model input."""
        published = self._latest.published
        if published is None:
            return _no_result()
        return Response(await self._encoder.encode(published, "seen"), media_type="image/png")

    async def result(self, _: Request) -> Response:
        """``/result.json``: the latest result."""
        published = self._latest.published
        return _no_result() if published is None else JSONResponse(streams.as_dict(published))

    async def health(self, _: Request) -> Response:
        """``/healthz``: 200 while results arrive, 503 after a time without one; ages in milliseconds."""
        age = self._latest.age()
        published = self._latest.published
        usual = next_within(published.result) if published else 0.0
        facts = {
            "state": ("running" if age < max(STALLED_AFTER, usual) else "stalled") if published else "starting",
            "age": round(age * 1000),
            "viewers": self._viewers.count,
            "viewers_limit": self._viewers.limit,
        }
        return JSONResponse(facts, 503 if age > max(UNHEALTHY_AFTER, usual) else 200)

    async def metrics(self, _: Request) -> Response:
        """``/metrics``: counters and timings in the Prometheus text format."""
        return Response(self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})


def make_app(
    latest: LatestResult,
    encoder: ImageEncoder,
    viewers: streams.Viewers,
    metrics: PrometheusMetrics,
    access: Access,
    cookie: str,
    collect: CollectPage | None = None,
) -> ASGIApp:
    """Return the application; ``cookie`` is the name of the cookie with the token, without TLS."""
    endpoints = Endpoints(latest, encoder, viewers, metrics)
    index = with_part(static_file("index.html"), "results")
    routes = [
        Route("/stream.mjpg", endpoints.stream),
        Route("/events", endpoints.events),
        Route("/frame.jpg", endpoints.frame),
        Route("/seen.png", endpoints.seen),
        Route("/result.json", endpoints.result),
        Route("/healthz", endpoints.health),
        Route("/metrics", endpoints.metrics),
    ]
    static = STATIC
    if collect is not None:
        index = with_part(index, "collect")
        static = STATIC | COLLECT
        routes += collect.routes(latest)
    routes += [_served("/", index, "text/html")]
    routes += [_served(path, static_file(name), media_type) for path, (name, media_type) in static.items()]
    app = Starlette(routes=routes)
    # A redirection would leave out the path that a proxy serves the page below.
    app.router.redirect_slashes = False
    return SecurityMiddleware(app, access, cookie)


def _served(path: str, content: bytes, media_type: str) -> Route:
    async def respond(_: Request) -> Response:
        return Response(content, media_type=media_type)

    return Route(path, respond)


def _kind(request: Request) -> Kind:
    plain = request.query_params.get("plain", "0")
    if plain not in ("0", "1"):
        raise HTTPException(400, "plain: expected 0 or 1\n")
    return "plain" if plain == "1" else "outlined"


def _no_result() -> Response:
    return PlainTextResponse("No frame received yet; try again.\n", 503, {"Retry-After": "1"})
