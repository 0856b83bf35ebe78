"""Encrypted streams: certificates of ``https://`` and ``rtsps://`` sources, those that FFmpeg reads included."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_fmnist.errors import SourceError, UsageError
from edge_fmnist.sources import CaptureSettings, parse_source
from edge_fmnist.sources.base import READ_TIMEOUT
from edge_fmnist.sources.capture import OPTIONS_VARIABLE, open_ffmpeg
from edge_fmnist.sources.tls import ffmpeg_options


class TlsServer:
    """Answers each request on an encrypted connection; each certificate of a list is shown in one connection."""

    def __init__(self, certificates: list[Path], answer: Callable[[bytes], bytes]) -> None:
        self._contexts = [ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in certificates]
        for context, certificate in zip(self._contexts, certificates, strict=True):
            context.load_cert_chain(certificate)
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.requests: list[bytes] = []
        self.handshakes = 0
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                context = self._contexts[min(self.handshakes, len(self._contexts) - 1)]
                self.handshakes += 1
                with suppress(OSError), connection, context.wrap_socket(connection, server_side=True) as encrypted:
                    if request := encrypted.recv(65536):
                        self.requests.append(request)
                        encrypted.sendall(self._answer(request))

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


def http_answer(kind: str, body: bytes, status: str = "200 OK") -> Callable[[bytes], bytes]:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return lambda _: head.encode() + body


def refusal(_: bytes) -> bytes:
    return b"RTSP/1.0 404 Not Found\r\nCSeq: 1\r\n\r\n"


Serve = Callable[..., TlsServer]


@pytest.fixture
def serve(certificate: Path) -> Iterator[Serve]:
    """Return a function that starts a server, by default with the certificate for localhost."""
    servers: list[TlsServer] = []

    def start(answer: Callable[[bytes], bytes], *certificates: Path) -> TlsServer:
        servers.append(TlsServer([*certificates] or [certificate], answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def first_frame(url: str, warnings: list[str] | None = None, **settings: Any) -> np.ndarray | None:
    warn = ([] if warnings is None else warnings).append
    with closing(parse_source(url, CaptureSettings(**settings), warn=warn)) as source:
        source.open()
        return source.read()


@pytest.fixture
def jpeg() -> bytes:
    return bytes(cv2.imencode(".jpg", np.full((24, 32, 3), 90, np.uint8))[1].tobytes())


@pytest.mark.parametrize("scheme", ["https", "rtsps"])
def test_an_unknown_certificate_gets_neither_password_nor_request(serve: Serve, scheme: str) -> None:
    server = serve(refusal)
    with pytest.raises(SourceError, match=r"cannot be verified \(self-signed certificate\); give its .* --ca FILE"):
        first_frame(f"{scheme}://user:secret@localhost:{server.port}/x")
    assert (server.requests, server.handshakes) == ([], 1)


@pytest.mark.parametrize("scheme", ["https", "rtsps"])
def test_a_certificate_for_another_name_is_refused(serve: Serve, scheme: str, certificate: Path) -> None:
    server = serve(refusal)
    with pytest.raises(SourceError, match=r"not valid for '127\.0\.0\.1'.*use a name that it is valid for"):
        first_frame(f"{scheme}://user:secret@127.0.0.1:{server.port}/x", ca=certificate)
    assert server.requests == []


def test_an_own_authority(serve: Serve, certificate: Path, jpeg: bytes) -> None:
    server = serve(http_answer("image/jpeg", jpeg))
    frame = first_frame(f"https://localhost:{server.port}/x", ca=certificate)
    assert frame is not None
    assert frame.shape == (24, 32, 3)


def test_insecure_accepts_any_certificate_with_a_warning(serve: Serve, jpeg: bytes) -> None:
    server = serve(http_answer("image/jpeg", jpeg))
    warnings: list[str] = []
    assert first_frame(f"https://user:secret@127.0.0.1:{server.port}/x", warnings, insecure=True) is not None
    assert [("not verified" in warning, "secret" in warning) for warning in warnings] == [(True, False)]


@pytest.fixture
def video(tmp_path: Path, write_video: Callable[..., Path]) -> bytes:
    frames = [np.full((48, 64, 3), value * 20, np.uint8) for value in range(10)]
    return write_video(tmp_path / "video.mp4", frames, "mp4v", 10).read_bytes()


def test_ffmpeg_reads_from_a_verified_server(
    serve: Serve, certificate: Path, video: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")
    server = serve(http_answer("video/mp4", video))
    frame = first_frame(f"https://localhost:{server.port}/x", ca=certificate)
    assert frame is not None
    assert frame.shape == (48, 64, 3)
    assert any(b"Lavf" in request for request in server.requests)
    assert os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] == "rtsp_transport;tcp"


@pytest.mark.parametrize("scheme", ["https", "rtsps"])
def test_ffmpeg_refuses_another_certificate_than_the_one_before(
    serve: Serve, certificate: Path, video: bytes, scheme: str, tmp_path: Path
) -> None:
    """An attacker in the network lets the first connections through and takes over the one with the password."""
    other = tmp_path / "other.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-keyout", str(other), "-out", str(other), "-subj", "/CN=attacker.example", "-days", "2"]
    subprocess.run(command, check=True, capture_output=True)
    both = tmp_path / "authorities.pem"
    both.write_text(certificate.read_text() + other.read_text())
    # Both certificates are trusted; only their names differ.
    genuine = [certificate] * (2 if scheme == "https" else 1)
    server = serve(http_answer("video/mp4", video) if scheme == "https" else refusal, *genuine, other)
    with pytest.raises(SourceError, match="not with a stream that can be decoded"):
        first_frame(f"{scheme}://user:secret@localhost:{server.port}/x", ca=both)
    assert server.handshakes > len(genuine)
    assert not any(b"Lavf" in request for request in server.requests)


def test_answers_of_a_server_carry_no_control_characters(serve: Serve, certificate: Path) -> None:
    server = serve(http_answer("text/plain", b"", "403 N\x1b[31mo"))
    with pytest.raises(SourceError, match=r"the server answers 403 N\\x1b\[31mo"):
        first_frame(f"https://localhost:{server.port}/x", ca=certificate)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "demo", "--insecure"], "--insecure: expected an encrypted source, https:// or rtsps://"),
        (["--source", "rtsp://localhost/x", "--ca", "ca.pem"], "--ca: expected an encrypted source"),
        (["--source", "https://localhost/x", "--ca", "absent.pem"], "--ca: absent.pem: cannot be read"),
        (["--source", "https://localhost/x", "--ca", "ca.pem", "--insecure"], "--ca: expected no authority where"),
    ],
)
def test_options_that_cannot_be_used(run_cli: Callable[..., Any], arguments: list[str], message: str) -> None:
    assert message in run_cli("live", *arguments, code=2).stderr


def test_a_file_name_that_ffmpeg_cannot_be_given(serve: Serve, certificate: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a;b.pem"
    odd.write_text(certificate.read_text())
    server = serve(refusal)
    with pytest.raises(UsageError, match=r"whose name has no ; and \|"):
        first_frame(f"rtsps://localhost:{server.port}/x", ca=odd)


def test_an_address_is_compared_by_a_name_without_a_wildcard(certificate: Path) -> None:
    shown: Any = {
        "subjectAltName": (("DNS", "*.example.org"), ("DNS", "camera.example.org"), ("IP Address", "192.0.2.7"))
    }
    assert ffmpeg_options(certificate, "192.0.2.7", shown)["verifyhost"] == "camera.example.org"
    shown = {"subjectAltName": (("DNS", "*.example.org"), ("IP Address", "192.0.2.7"))}
    assert "verifyhost" not in ffmpeg_options(certificate, "192.0.2.7", shown)


@pytest.mark.parametrize("before", [None, "rtsp_transport;udp"])
def test_the_options_of_a_source_are_not_those_of_the_next(monkeypatch: pytest.MonkeyPatch, before: str | None) -> None:
    monkeypatch.delenv(OPTIONS_VARIABLE, raising=False)
    if before is not None:
        monkeypatch.setenv(OPTIONS_VARIABLE, before)
    given: list[str] = []
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: given.append(os.environ[OPTIONS_VARIABLE]))
    open_ffmpeg("https://camera.local/stream", 1, {"tls_verify": "1"})
    assert given[0].endswith("|tls_verify;1")
    assert os.environ.get(OPTIONS_VARIABLE) == before


def test_ffmpeg_waits_for_frames_as_long_as_any_source(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[int]] = []
    monkeypatch.setattr(cv2, "VideoCapture", lambda *arguments: given.append(arguments[2]))
    open_ffmpeg("rtsp://host/x", 3.0)
    limits = [*(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 3000), *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, 1000 * READ_TIMEOUT)]
    assert given == [limits]


def test_sources_that_are_opened_at_the_same_time_keep_their_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OPTIONS_VARIABLE, "a;b")
    opening, other = threading.Event(), threading.Event()
    given: dict[str, str] = {}

    def capture(address: str, *_: Any) -> None:
        given[address] = os.environ[OPTIONS_VARIABLE]
        if address.endswith("first"):
            opening.set()
            other.wait(0.2)
            given["later"] = os.environ[OPTIONS_VARIABLE]
        else:
            other.set()

    monkeypatch.setattr(cv2, "VideoCapture", capture)
    thread = threading.Thread(target=open_ffmpeg, args=("rtsps://first", 1, {"verifyhost": "first"}))
    thread.start()
    assert opening.wait(5)
    for name, options in (("rtsps://second", {"verifyhost": "second"}), ("https://insecure", {})):
        open_ffmpeg(name, 1, options)
    thread.join()
    assert given["rtsps://first"] == given["later"] == "a;b|verifyhost;first"
    assert (given["rtsps://second"], given["https://insecure"]) == ("a;b|verifyhost;second", "a;b")
    assert os.environ[OPTIONS_VARIABLE] == "a;b"
