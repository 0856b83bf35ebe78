"""Security headers for every response; checks of the Host header, the origin and the token of every request."""

from __future__ import annotations

from importlib.resources import files
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_fmnist.sinks.formatting import printable
from edge_fmnist.sinks.web.access import TOKEN_VARIABLE, Access

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
LOGIN_HEADERS = {
    "Content-Security-Policy": HEADERS["Content-Security-Policy"].replace("form-action 'none'", "form-action 'self'"),
    "WWW-Authenticate": 'Bearer realm="edge-fmnist"',
}
# What anyone may see: files that are the same on every device, and whether the camera works.
PUBLIC = frozenset({"/app.js", "/display.js", "/style.css", "/icon.svg", "/healthz"})
COOKIE_SECONDS = 30 * 24 * 3600
# A page without TLS cannot overwrite a Secure cookie, so the cookie has another name with TLS.
TLS_SUFFIX = "_tls"
MAX_HOST = 253


class SecurityMiddleware:
    """Adds :data:`HEADERS` to every response, and answers only requests that :class:`Access` allows.

    The token is accepted as cookie, as ``?token=`` and as bearer token. Requests for other hosts (DNS rebinding) and
    those that other web pages send to change something (CSRF) are rejected.

    Starlette's ``TrustedHostMiddleware`` does not accept ``[::1]:8000`` in older versions, and its answer does not say
    what to do.
    """

    def __init__(self, app: ASGIApp, access: Access, cookie: str) -> None:
        """Wrap ``app``; ``cookie`` is the name of the cookie with the token, without TLS."""
        self._app = app
        self._access = access
        self._cookie = cookie
        self._login = files(__package__).joinpath("static", "login.html").read_text("utf-8")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope)
        responder = self._refusal(request) or self._authentication(request) or self._app
        await responder(scope, receive, send_with_headers)

    def _refusal(self, request: Request) -> Response | None:
        """Return the answer to a request for another host or from another page; None if it is neither."""
        host = _host(f"//{request.headers.get('host', '')}")
        if not self._access.answers_to(host):
            shown = printable(host or "")[:MAX_HOST]
            hint = f"start it with --allow-host {shown}" if shown else "send a Host header"
            return PlainTextResponse(
                f"This page does not answer to the host name {shown!r}. Use localhost on this machine; for other "
                f"machines start it with --serve 0.0.0.0 and use its IP address; for this name {hint}.\n",
                400,
            )
        if request.method not in ("GET", "HEAD") and _is_from_another_page(request):
            return PlainTextResponse("This request was sent by a page of another site.\n", 403)
        return None

    def _authentication(self, request: Request) -> Response | None:
        """Return the answer to a request whose token is missing or new; None if it may pass."""
        path = request.scope["path"]
        if not self._access.token or path in PUBLIC:
            return None
        given = request.query_params.get("token")
        if given is not None and self._access.admits(given.strip()):
            return self._keep(request) if path == "/" and request.method == "GET" else None
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._access.admits(bearer.strip()):
            return None
        if any(self._access.admits(token) for token in self._kept(request)):
            return None
        if path == "/":
            page = self._login if given is None else self._login.replace(' id="wrong" hidden', ' id="wrong"')
            return Response(page, 401, LOGIN_HEADERS, "text/html")
        text = f"Expected the token of this page as cookie, ?token=… or bearer token; see {TOKEN_VARIABLE}.\n"
        return PlainTextResponse(text, 401, LOGIN_HEADERS)

    def _kept(self, request: Request) -> list[str]:
        """Return the values of all cookies with a token: that of a page in a folder comes with those of pages above."""
        pairs = [pair.partition("=") for header in request.headers.getlist("cookie") for pair in header.split(";")]
        names = (self._cookie, self._cookie + TLS_SUFFIX)
        return [value.strip().strip('"') for name, _, value in pairs if name.strip() in names]

    def _keep(self, request: Request) -> Response:
        """Return a redirection to the page without the token in its URL, which history and screenshots would show."""
        response = RedirectResponse("./", 303)
        secure = request.scope["scheme"] == "https"
        # Without a path, it is that of the page, also behind a proxy that serves it in a folder.
        response.set_cookie(
            self._cookie + TLS_SUFFIX if secure else self._cookie,
            self._access.token,
            max_age=COOKIE_SECONDS,
            path=None,
            secure=secure,
            httponly=True,
            samesite="lax",
        )
        return response


def _is_from_another_page(request: Request) -> bool:
    """Return whether a browser says that a page of another site sent the request; other clients say nothing."""
    relation = request.headers.get("sec-fetch-site")
    if relation is not None:
        return relation not in ("same-origin", "none")
    # Browsers omit the header above for pages without TLS.
    origin = request.headers.get("origin")
    return origin is not None and origin.partition("://")[2] != request.headers.get("host")


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
