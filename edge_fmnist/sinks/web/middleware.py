"""Security headers for every response, and a check of the Host header."""

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
    # Without this, any web page could embed the camera's images.
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class SecurityMiddleware:
    """Adds :data:`HEADERS` to every response and rejects requests for other hosts (DNS rebinding).

    Starlette's ``TrustedHostMiddleware`` does not accept ``[::1]:8000`` in older versions, and its answer does not say
    what to do.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None) -> None:
        """Wrap ``app``; ``hosts`` are the accepted host names in lower case, None accepts any."""
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        app = self._app
        if self._hosts is not None and _host(scope) not in self._hosts:
            text = "This page is served at localhost and 127.0.0.1 only; use --serve 0.0.0.0 for other machines.\n"
            app = PlainTextResponse(text, 400)
        await app(scope, receive, send_with_headers)


def _host(scope: Scope) -> str | None:
    try:
        return urlsplit(f"//{Headers(scope=scope).get('host', '')}").hostname
    except ValueError:
        return None
