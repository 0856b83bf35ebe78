"""What every answer is wrapped in: headers that keep the picture on the page, and a check of the Host header."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    # Without this, any web page could show the camera of whoever opens it.
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


class Guard:
    """Adds :data:`HEADERS` to every answer and refuses requests for other hosts.

    A page served to this machine alone is asked for by the names of this machine.
    A request for another name comes from a web page whose name was made to lead
    here (DNS rebinding), so that its script may read the camera.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None) -> None:
        """Wrap ``app``; ``hosts`` are the names it answers to, None means any."""
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if self._hosts is not None and _host(scope) not in self._hosts:
            text = "This page answers to localhost and 127.0.0.1 only; serve it with --serve 0.0.0.0 for others.\n"
            await PlainTextResponse(text, 400)(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)


def _host(scope: Scope) -> str | None:
    try:
        return urlsplit(f"//{Headers(scope=scope).get('host', '')}").hostname
    except ValueError:
        return None
