"""Streams from the network: Motion JPEG over HTTP read here, RTSP and the rest through FFmpeg."""

from __future__ import annotations

import http.client
import socket
import urllib.error
import urllib.request
from urllib.parse import SplitResult, unquote, urlsplit

from edge_fmnist.errors import SourceError, UsageError
from edge_fmnist.sources.base import Wishes
from edge_fmnist.sources.capture import LiveCaptureReader, open_ffmpeg
from edge_fmnist.sources.guard import GuardedSource, Reader
from edge_fmnist.sources.mjpeg import MjpegReader

DEFAULT_PORTS = {"http": 80, "https": 443, "rtsp": 554, "rtsps": 322}
MULTIPART = "multipart/x-mixed-replace"
UNNAMED = "application/octet-stream"


def redacted(url: str) -> str:
    """Return a URL as messages may show it: without user name, password and query, which may hold another."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="***" if parts.query else "", fragment="").geturl()


class Stream(GuardedSource):
    """An ``http://``, ``https://``, ``rtsp://`` or ``rtsps://`` stream.

    Raises:
        UsageError: the URL has no host, or a port that is none.
    """

    def __init__(self, url: str, wishes: Wishes) -> None:
        self._url = url
        self._parts = _checked(url)
        super().__init__(redacted(url), wishes)

    def connect(self) -> Reader:
        """See :meth:`GuardedSource.connect`."""
        if self._parts.scheme.startswith("http"):
            return self._connect_http()
        self._check_port()
        return self._connect_ffmpeg("check the path, the user name and the password")

    def _connect_http(self) -> Reader:
        response = self._request()
        if self._is_mjpeg(response):
            return MjpegReader(response, self.name)
        response.close()
        return self._connect_ffmpeg(f"its Content-Type is {response.headers.get_content_type()}")

    def _is_mjpeg(self, response: http.client.HTTPResponse) -> bool:
        kind = response.headers.get_content_type()
        if response.isclosed() or kind not in (MULTIPART, UNNAMED):
            return False
        try:
            # ffmpeg -listen 1 serves Motion JPEG without naming it, and to one reader only.
            return kind == MULTIPART or response.peek(2).startswith(b"--")
        except (OSError, http.client.HTTPException) as error:
            response.close()
            raise SourceError(f"{self.name}: {_reason(error)}") from error

    def _request(self) -> http.client.HTTPResponse:
        bare = self._parts._replace(netloc=self._parts.netloc.rpartition("@")[2]).geturl()
        passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        if self._parts.username is not None:
            user, password = unquote(self._parts.username), unquote(self._parts.password or "")
            passwords.add_password(None, bare, user, password)
        opener = urllib.request.build_opener(
            urllib.request.HTTPBasicAuthHandler(passwords), urllib.request.HTTPDigestAuthHandler(passwords)
        )
        try:
            response: http.client.HTTPResponse = opener.open(bare, timeout=self.wishes.timeout)
        except urllib.error.HTTPError as error:
            error.close()
            raise SourceError(f"{self.name}: {_status(error)}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise SourceError(f"{self.name}: {_reason(error)}") from error
        return response

    def _check_port(self) -> None:
        """Tell why nobody answers, which FFmpeg does not."""
        address = self._parts.hostname or "", self._parts.port or DEFAULT_PORTS[self._parts.scheme]
        try:
            socket.create_connection(address, self.wishes.timeout).close()
        except (OSError, ValueError) as error:
            raise SourceError(f"{self.name}: {_reason(error)}") from error

    def _connect_ffmpeg(self, hint: str) -> LiveCaptureReader:
        capture = open_ffmpeg(self._url, self.wishes.timeout)
        if not capture.isOpened():
            capture.release()
            raise SourceError(f"{self.name}: the server answers, but not with a stream that can be decoded ({hint})")
        return LiveCaptureReader(capture, self.name)


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in DEFAULT_PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or any(character.isspace() or not character.isprintable() for character in url):
        raise UsageError(
            "source: this URL cannot be used; expected http://HOST[:PORT]/PATH, https://… or rtsp://…, "
            "with special characters in a name or password written as %XX"
        )
    return parts


def _status(error: urllib.error.HTTPError) -> str:
    if error.code == http.client.UNAUTHORIZED:
        return "the server wants another user name or password: give them as http://USER:PASSWORD@HOST/…"
    return f"the server answers {error.code} {error.reason}"


def _reason(error: Exception) -> str:
    """Return why a connection failed, in a few words and without the URL."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    if isinstance(cause, OSError):
        return f"cannot be reached ({cause.strerror or cause})"
    return f"cannot be reached ({type(error).__name__}: not an answer that a web server gives)"
