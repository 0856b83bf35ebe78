"""HTTP requests with Basic or Digest authentication, for network cameras."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import re
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, quote, unquote

# By preference, RFC 7616 and RFC 2617.
HASHES = {"SHA-256": hashlib.sha256, "MD5": hashlib.md5}
PARAMETER = re.compile(r'([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
CHALLENGE = re.compile(r"(?:^|,\s*)(basic|digest)\s+", re.IGNORECASE)


@dataclass(frozen=True)
class Credentials:
    """A user name and password."""

    user: str
    password: str


def split_credentials(parts: SplitResult) -> tuple[str, Credentials | None]:
    """Return a URL without user and password, in ASCII, and these two."""
    host = parts.netloc.rpartition("@")[2].encode("idna" if "[" not in parts.netloc else "ascii").decode()
    path = quote(parts.path, safe="/%:@!$&'()*+,;=~")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~?[]")
    url = parts._replace(netloc=host, path=path, query=query, fragment="").geturl()
    if parts.username is None:
        return url, None
    return url, Credentials(unquote(parts.username), unquote(parts.password or ""))


def request(
    url: str,
    credentials: Credentials | None,
    timeout: float,
    tls: ssl.SSLContext | None = None,
    connected: Callable[[socket.socket], None] = lambda _: None,
) -> http.client.HTTPResponse:
    """Return the response to a GET request, following redirects.

    User and password are sent once, if the server asks for them: cameras lock after several failed logins.

    Args:
        url: without user and password.
        credentials: for a server that asks for them; None if there are none.
        timeout: seconds for each operation of the socket.
        tls: for ``https://``; None verifies certificates with the authorities of the system.
        connected: called with the socket of each connection, before anything is sent.

    Raises:
        OSError: no connection, or an HTTP error status (``urllib.error.HTTPError``).
        http.client.HTTPException: not an HTTP response.
    """
    opener = urllib.request.build_opener(_Http(connected), _Https(connected, tls))
    try:
        response: http.client.HTTPResponse = opener.open(url, timeout=timeout)
    except urllib.error.HTTPError as error:
        asked_url = error.geturl()
        if error.code != http.client.UNAUTHORIZED or credentials is None or not _same_server(url, asked_url):
            raise
        header = authorization(error.headers.get_all("WWW-Authenticate", []), asked_url, credentials)
        if header is None:
            raise
        error.close()
        retry = urllib.request.Request(asked_url)  # noqa: S310 - http and https only
        # Not sent along to other servers by a redirect.
        retry.add_unredirected_header("Authorization", header)
        response = opener.open(retry, timeout=timeout)
    return response


class _Http(urllib.request.HTTPHandler):
    def __init__(self, connected: Callable[[socket.socket], None]) -> None:
        super().__init__()
        self._connected = connected

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_announced(http.client.HTTPConnection, self._connected), req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, connected: Callable[[socket.socket], None], tls: ssl.SSLContext | None) -> None:
        super().__init__()
        self._connected, self._tls = connected, tls

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_announced(http.client.HTTPSConnection, self._connected), req, context=self._tls)


def _announced(kind: type[http.client.HTTPConnection], connected: Callable[[socket.socket], None]) -> Any:
    """Return a constructor of connections that pass on their socket once they are connected."""

    class Announced(kind):  # type: ignore[misc, valid-type]
        def connect(self) -> None:
            super().connect()
            connected(self.sock)

    return Announced


def _same_server(first: str, second: str) -> bool:
    return urllib.parse.urlsplit(first)[:2] == urllib.parse.urlsplit(second)[:2]


def authorization(challenges: Iterable[str], url: str, credentials: Credentials) -> str | None:
    """Return the value of an ``Authorization`` header for a GET request, by the strongest method offered.

    Args:
        challenges: values of the ``WWW-Authenticate`` headers.
        url: requested.
        credentials: user name and password, sent as UTF-8.

    Returns:
        None if no method offered is supported (Digest with SHA-256 or MD5, Basic).
    """
    offered = [challenge for header in challenges for challenge in _split(header)]
    for name in HASHES:
        for scheme, parameters in offered:
            if scheme == "digest" and parameters.get("algorithm", "MD5").upper() in (name, f"{name}-SESS"):
                return _digest(name, parameters, url, credentials)
    if any(scheme == "basic" for scheme, _ in offered):
        return "Basic " + base64.b64encode(f"{credentials.user}:{credentials.password}".encode()).decode()
    return None


def _split(header: str) -> list[tuple[str, dict[str, str]]]:
    """Return the challenges in a header: scheme and parameters, both in lower case."""
    starts = list(CHALLENGE.finditer(header))
    ends = [match.start() for match in starts[1:]] + [len(header)]
    return [
        (start[1].lower(), {name.lower(): re.sub(r"\\(.)", r"\1", quoted) or bare for name, quoted, bare in found})
        for start, end in zip(starts, ends, strict=False)
        for found in (PARAMETER.findall(header[start.end() : end]),)
    ]


def _digest(algorithm: str, parameters: dict[str, str], url: str, credentials: Credentials) -> str:
    """Answer a Digest challenge after RFC 7616, and without ``qop`` after RFC 2069."""

    def hashed(*values: str) -> str:
        return HASHES[algorithm](":".join(values).encode("latin-1")).hexdigest()

    parts = urllib.parse.urlsplit(url)
    uri = _bytewise((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
    user, password = _bytewise(credentials.user), _bytewise(credentials.password)
    realm, nonce = parameters.get("realm", ""), parameters.get("nonce", "")
    client_nonce, count = os.urandom(8).hex(), "00000001"
    secret = hashed(user, realm, password)
    declared = parameters.get("algorithm", "")
    if declared.upper().endswith("-SESS"):
        secret = hashed(secret, nonce, client_nonce)
    method = hashed("GET", uri)
    fields = {"username": user, "realm": realm, "nonce": nonce, "uri": uri}
    plain = {}
    if "auth" in re.split(r"[\s,]+", parameters.get("qop", "").lower()):
        fields["response"] = hashed(secret, nonce, count, client_nonce, "auth", method)
        plain = {"qop": "auth", "nc": count}
        fields["cnonce"] = client_nonce
    else:
        fields["response"] = hashed(secret, nonce, method)
    if "opaque" in parameters:
        fields["opaque"] = parameters["opaque"]
    if declared:
        plain["algorithm"] = declared
    quoted = [f'{name}="{_escaped(value)}"' for name, value in fields.items()]
    return "Digest " + ", ".join([*quoted, *(f"{name}={value}" for name, value in plain.items())])


def _bytewise(text: str) -> str:
    """Return text that http.client sends as UTF-8: it reads and sends headers as Latin-1, a character for a byte."""
    return text.encode().decode("latin-1")


def _escaped(value: str) -> str:
    return re.sub(r'(["\\])', r"\\\1", value)
