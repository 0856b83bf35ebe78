"""Network streams: Motion JPEG and images over HTTP, RTSP and other formats through FFmpeg."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
import time
import urllib.error
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from edge_fmnist.errors import SourceError, UsageError
from edge_fmnist.sources.base import (
    ENCRYPTED,
    NO_PICTURE,
    READ_TIMEOUT,
    CaptureSettings,
    ChosenSource,
    Source,
    Warn,
    log_warning,
)
from edge_fmnist.sources.capture import CaptureSource, open_ffmpeg
from edge_fmnist.sources.http_auth import request, split_credentials
from edge_fmnist.sources.mjpeg import MAX_IMAGE_BYTES, MjpegStream, PictureStream
from edge_fmnist.sources.tls import client_context, ffmpeg_options
from edge_fmnist.vision.picture_files import HEADER_BYTES, PICTURE_FORMATS, identify

if TYPE_CHECKING:
    import cv2

DEFAULT_PORTS = {"http": 80, "https": 443, "rtsp": 554, "rtsps": 322}
# X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH.
MISMATCHES = (62, 64)
MULTIPART = "multipart/x-mixed-replace"
UNSPECIFIC = ("application/octet-stream", "binary/octet-stream", "text/plain")
# As in rtsp://HOST/user=admin_password=…_channel=1; the password may contain any character.
PASSWORD_IN_PATH = re.compile(r"((?:password|passwd|pwd)=).*", re.IGNORECASE)
PASSWORD_AS_PATH = re.compile("[^@]*@[^@/]+/")
# How often an image is requested again.
SNAPSHOT_FPS = 2.0


def redacted(url: str) -> str:
    """Return a URL for messages: without user name, password and query, and without what may be another password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    path = PASSWORD_IN_PATH.sub(r"\1***", parts.path)
    return parts._replace(netloc=host, path=path, query="***" if parts.query else "", fragment="").geturl()


class Stream(ChosenSource):
    """An ``http://``, ``https://``, ``rtsp://`` or ``rtsps://`` stream, or an image at an HTTP URL.

    Raises:
        UsageError: the URL has no host, or an invalid port; the file of authorities cannot be read.
    """

    pausable = False

    def __init__(self, url: str, settings: CaptureSettings, warn: Warn = log_warning) -> None:
        self._parts = _checked(url)
        # FFmpeg knows schemes in lower case only.
        self._url = self._parts.scheme + url[len(self._parts.scheme) :]
        self.name = redacted(url)
        self.settings = settings
        self.open_timeout = settings.timeout
        self._connection: socket.socket | None = None
        self._tls: ssl.SSLContext | None = None
        if self._url.startswith(ENCRYPTED):
            try:
                self._tls = client_context(settings.ca, insecure=settings.insecure)
            except UsageError as error:
                error.setting = "ca"
                raise
            if settings.insecure:
                warn(f"{self.name}: its certificate is not verified: anyone in the network could pose as this source")

    def open(self) -> None:
        """See :meth:`Source.open`."""
        self.close()
        self.chosen = self._connect_http() if self._parts.scheme.startswith("http") else self._connect_rtsp()
        try:
            self.chosen.open()
        except BaseException:
            self.close()
            raise
        self.fps, self.read_timeout = self.chosen.fps, self.chosen.read_timeout

    def _connect_http(self) -> Source:
        response = self._request()
        kind = response.headers.get_content_type()
        if kind.startswith("image/") or self._is_picture(response, kind):
            return PolledImage(response, self._request, self.name, self.settings.fps or SNAPSHOT_FPS)
        if self._is_mjpeg(response, kind):
            return MjpegStream(response, self.name)
        response.close()
        options = {} if self._tls is None else self._try_connection()
        return FfmpegStream(self._url, self.name, self.settings.timeout, f"its Content-Type is {kind}", options)

    def _is_mjpeg(self, response: http.client.HTTPResponse, kind: str) -> bool:
        # ffmpeg -listen 1 serves Motion JPEG without naming it, and to one reader only.
        return not response.isclosed() and (kind == MULTIPART or self._first_bytes(response, kind).startswith(b"--"))

    def _is_picture(self, response: http.client.HTTPResponse, kind: str) -> bool:
        # Without a length, it may be a stream of JPEGs; a GIF may be an animation.
        return response.length is not None and identify(self._first_bytes(response, kind)) in PICTURE_FORMATS - {"GIF"}

    def _first_bytes(self, response: http.client.HTTPResponse, kind: str) -> bytes:
        """Return the first bytes of a response whose type says little; they are read again."""
        if response.isclosed() or kind not in UNSPECIFIC:
            return b""
        try:
            return response.peek(HEADER_BYTES)
        except (OSError, http.client.HTTPException) as error:
            response.close()
            raise SourceError(f"{self.name}: {_reason(error)}") from error

    def _request(self) -> http.client.HTTPResponse:
        try:
            url, credentials = split_credentials(self._parts)
            return request(url, credentials, self.settings.timeout, self._tls, self._connected)
        except urllib.error.HTTPError as error:
            error.close()
            raise SourceError(f"{self.name}: {_status(error)}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise SourceError(f"{self.name}: {_reason(error)}") from error

    def _connected(self, connection: socket.socket) -> None:
        self._connection = connection

    def interrupt(self) -> None:
        """Shut the connection down: a server that sends slowly never exceeds its timeout."""
        if self._connection is not None:
            # Not SSLSocket.shutdown(), which drops the TLS state that another thread may be reading with.
            with suppress(OSError):
                socket.socket.shutdown(self._connection, socket.SHUT_RDWR)
        super().interrupt()

    def _connect_rtsp(self) -> Source:
        hint = "check the path, the user name and the password"
        return FfmpegStream(self._url, self.name, self.settings.timeout, hint, self._try_connection())

    def _try_connection(self) -> dict[str, str]:
        """Return the options with which FFmpeg verifies the server; FFmpeg does not say why there is no connection."""
        host = self._parts.hostname or ""
        try:
            with socket.create_connection(
                (host, self._parts.port or DEFAULT_PORTS[self._parts.scheme]), self.settings.timeout
            ) as connection:
                if self._tls is None:
                    return {}
                with self._tls.wrap_socket(connection, server_hostname=host) as encrypted:
                    certificate = encrypted.getpeercert()
        except (OSError, ValueError) as error:
            raise SourceError(f"{self.name}: {_reason(error)}") from error
        return ffmpeg_options(self.settings.ca, host, certificate) if certificate else {}


class FfmpegStream(CaptureSource):
    """A stream that FFmpeg reads."""

    def __init__(self, url: str, name: str, timeout: float, hint: str, options: Mapping[str, str]) -> None:
        super().__init__(name, timeout)
        self._url, self._timeout, self._reason, self._options = url, timeout, hint, options

    def connect(self) -> cv2.VideoCapture:
        """See :meth:`CaptureSource.connect`."""
        started = time.perf_counter()
        capture = open_ffmpeg(self._url, self._timeout, self._options)
        if not capture.isOpened():
            capture.release()
            if time.perf_counter() - started >= self._timeout:
                raise SourceError(f"{self.name}: no answer in time")
            raise SourceError(
                f"{self.name}: the server answers, but not with a stream that can be decoded ({self._reason})"
            )
        return capture


class PolledImage(PictureStream):
    """An image at a URL, requested again and again."""

    def __init__(
        self,
        response: http.client.HTTPResponse,
        request_again: Callable[[], http.client.HTTPResponse],
        name: str,
        fps: float,
    ) -> None:
        """Start with a response whose headers have been read.

        Args:
            response: the first image.
            request_again: requests the next one.
            name: for messages.
            fps: requests per second.
        """
        self.name = name
        self.fps = fps
        self.read_timeout = READ_TIMEOUT + 1 / fps
        self._response: http.client.HTTPResponse | None = response
        self._request_again = request_again
        self._closed = threading.Event()

    def open(self) -> None:
        """See :meth:`Source.open`."""
        self._first = self.read()
        if self._first is NO_PICTURE:
            raise SourceError(str(self.problem))

    def next_content(self) -> bytes:
        """Return the first image, or request the next one when it is due."""
        if self._response is None and self._closed.wait(1 / (self.fps or SNAPSHOT_FPS)):
            raise SourceError(f"{self.name}: not open")
        try:
            response, self._response = self._response or self._request_again(), None
            with response:
                content = response.read(MAX_IMAGE_BYTES)
        except (OSError, http.client.HTTPException, ValueError, OverflowError) as error:
            raise SourceError(f"{self.name}: {_reason(error)}") from error
        if self._closed.is_set():
            # What has been read may end anywhere.
            raise SourceError(f"{self.name}: not open")
        return content

    def close(self) -> None:
        """See :meth:`Source.close`."""
        self._closed.set()
        if self._response is not None:
            self._response.close()

    def interrupt(self) -> None:
        """Do not wait for the next request."""
        self._closed.set()


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in DEFAULT_PORTS and bool(parts.hostname) and parts.port != 0
        # As of http://USER:1/2@HOST/…, where the password has a slash and the user seems to be the host.
        usable = usable and (not {*".["}.isdisjoint(parts.netloc) or PASSWORD_AS_PATH.match(parts.path) is None)
    except ValueError:
        usable = False
    if not usable or any(character.isspace() or not character.isprintable() for character in url):
        raise UsageError(
            "this URL cannot be used; expected http://HOST[:PORT]/PATH, https://… or rtsp://…, "
            "with special characters in a name or password written as %XX",
            setting="source",
        )
    return parts


def _status(error: urllib.error.HTTPError) -> str:
    if error.code == http.client.UNAUTHORIZED:
        return "the server rejects the user name or password: give them as http://USER:PASSWORD@HOST/…"
    # That of a redirect loop has several lines.
    reason = str(error.reason).partition("\n")[0].rstrip(": .")
    return f"the server answers {error.code} {reason}"


def _reason(error: Exception) -> str:
    """Return why a connection failed, briefly and without the URL."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        problem, other = cause.verify_message.rstrip("."), cause.verify_code in MISMATCHES
        hint = "use a name that it is valid for" if other else "give its authority with --ca FILE"
        return f"its certificate cannot be verified ({problem}); {hint}, or accept any certificate with --insecure"
    if isinstance(cause, ssl.SSLError):
        return f"cannot be reached over TLS ({(cause.reason or 'failed').replace('_', ' ').lower()})"
    if isinstance(cause, UnicodeError):
        return "cannot be reached (not a valid host name)"
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    if isinstance(cause, OSError):
        return f"cannot be reached ({cause.strerror or cause})"
    return f"cannot be reached ({type(error).__name__}: not a valid HTTP response)"
