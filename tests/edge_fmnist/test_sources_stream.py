"""Streams: Motion JPEG over HTTP from servers that die, stall, lie and come back; logins; RTSP that nobody answers."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit
from urllib.request import parse_http_list, parse_keqv_list

import cv2
import numpy as np
import pytest

from edge_fmnist.api import live
from edge_fmnist.errors import SourceError, UsageError
from edge_fmnist.pipeline.reader_thread import ReaderThread, Retry
from edge_fmnist.sources import mjpeg, parse_source
from edge_fmnist.sources.base import CaptureSettings, ChosenSource, Source
from edge_fmnist.sources.http_auth import Credentials, authorization, split_credentials
from edge_fmnist.sources.mjpeg import MAX_DAMAGED
from edge_fmnist.sources.stream import Stream, redacted
from edge_fmnist.vision.read_image import decode_picture

HEADER = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"
Script = Callable[[socket.socket], None]


def jpeg(value: int = 100, size: tuple[int, int] = (32, 24)) -> bytes:
    """Return a JPEG of one grey value; ``size`` is width and height."""
    return bytes(cv2.imencode(".jpg", np.full((size[1], size[0], 3), value, np.uint8))[1].tobytes())


def part(content: bytes, *, length: bool = True) -> bytes:
    size = b"Content-Length: %d\r\n" % len(content) if length else b""
    return b"--frame\r\nContent-Type: image/jpeg\r\n" + size + b"\r\n" + content + b"\r\n"


class Server:
    """Answers each connection with a script, on a port that it keeps when it is stopped and started again."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._port = 0
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.requests: list[bytes] = []
        self.start()

    def start(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}/stream"
        self._in_thread(self._accept)

    def _in_thread(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                self._in_thread(self._answer, connection)

    def _answer(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            self.requests.append(connection.recv(65536))
            self._script(connection)

    def stop(self) -> None:
        for endpoint in (self._listener, *self._connections):
            with suppress(OSError):
                endpoint.shutdown(socket.SHUT_RDWR)
            endpoint.close()
        for thread in self._threads:
            thread.join(5)
        self._connections.clear()
        self._threads.clear()


@pytest.fixture
def server() -> Iterator[Callable[[Script], Server]]:
    """Return a function that starts a server with a script."""
    servers: list[Server] = []

    def start(script: Script) -> Server:
        servers.append(Server(script))
        return servers[-1]

    yield start
    for one in servers:
        one.stop()


Open = Callable[..., Source]


@pytest.fixture
def opened(warnings: list[str]) -> Iterator[Open]:
    """Return a function that opens a source, which is closed at the end of the test."""
    sources: list[Source] = []

    def start(url: str, timeout: float = 5) -> Source:
        sources.append(parse_source(url, CaptureSettings(timeout=timeout), warn=warnings.append))
        sources[-1].open()
        return sources[-1]

    yield start
    for source in sources:
        source.close()


def answering(*chunks: bytes) -> Script:
    """Return a script that sends bytes and hangs up."""
    return lambda connection: connection.sendall(b"".join(chunks))


def sending(*parts: bytes, then: Script = lambda _: None) -> Script:
    """Return a script that sends a multipart response and then hangs up, or does something else."""

    def script(connection: socket.socket) -> None:
        connection.sendall(HEADER + b"".join(parts))
        then(connection)

    return script


def silence(connection: socket.socket) -> None:
    """Send nothing until the other side hangs up."""
    connection.recv(1)


def forever(connection: socket.socket) -> None:
    """Send pictures until the connection breaks."""
    connection.sendall(HEADER)
    for number in range(100_000):
        connection.sendall(part(jpeg(number % 200)))
        time.sleep(0.005)


def values(source: Source, count: int) -> list[int]:
    """Return the grey values of the next frames."""
    return [round(float(frame.mean())) for frame in (source.read() for _ in range(count)) if frame is not None]


@pytest.mark.parametrize("length", [True, False])
def test_every_picture_comes_in_order(server: Callable[..., Server], opened: Open, length: bool) -> None:
    source = opened(server(sending(*(part(jpeg(value), length=length) for value in (10, 20, 30)))).url)
    assert (source.realtime, source.pausable) == (True, False)
    assert values(source, 3) == [10, 20, 30]
    with pytest.raises(SourceError, match=r"127\.0\.0\.1:\d+/stream: the stream broke off .the server closed the conn"):
        source.read()


def test_a_multipart_response_that_is_not_named_so(server: Callable[..., Server], opened: Open) -> None:
    header = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n"
    assert values(opened(server(answering(header, part(jpeg(40)))).url), 1) == [40]


def test_a_picture_without_length_does_not_wait_for_the_next(server: Callable[..., Server], opened: Open) -> None:
    started = time.perf_counter()
    assert values(opened(server(sending(part(jpeg(50), length=False), then=silence)).url), 1) == [50]
    assert time.perf_counter() - started < 4


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(b"\r\n--other\r\nContent-Type: image/jpeg\r\n\r\n", b"\r\n", id="undeclared boundary"),
        pytest.param(b"--frame\r\n\r\n", b"\r\n", id="no headers"),
        pytest.param(b"--frame\nContent-type: image/jpeg\ncontent-length: LENGTH\n\n", b"\n", id="line feeds only"),
        pytest.param(b"--frame\r\nContent-Length: none\r\n\r\n", b"\r\n", id="length that is no number"),
        pytest.param(b"--frame\r\nContent-Length: 0\r\n\r\n\r\n--frame\r\n\r\n", b"\r\n", id="empty part before"),
        pytest.param(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n", b"", id="boundary right after the picture"),
        pytest.param(b"--frame\r\nContent-Length: LENGTH\r\n\r\n", b"", id="the same, with length"),
    ],
)
def test_servers_with_other_framing(server: Callable[..., Server], opened: Open, before: bytes, after: bytes) -> None:
    content = b"".join(
        before.replace(b"LENGTH", b"%d" % len(jpeg(value))) + jpeg(value) + after for value in (40, 80, 120)
    )
    assert values(opened(server(sending(content, b"--frame\r\n")).url), 3) == [40, 80, 120]


def test_frames_of_any_size_and_format(server: Callable[..., Server], opened: Open) -> None:
    grey = cv2.imencode(".jpg", np.full((8, 8), 60, np.uint8))[1].tobytes()
    source = opened(server(sending(*map(part, (jpeg(90, (32, 24)), jpeg(90, (48, 16)), grey)))).url)
    shapes = [frame.shape for frame in (source.read() for _ in range(3)) if frame is not None]
    assert shapes == [(24, 32, 3), (16, 48, 3), (8, 8, 3)]


def test_damaged_pictures_are_unusable_frames(server: Callable[..., Server], opened: Open) -> None:
    parts = [part(content) for content in (b"not yet", jpeg(10), b"no picture", jpeg(20)[:-40], jpeg(30))]
    source = opened(server(sending(*parts)).url)
    frames = [frame for frame in (source.read() for _ in range(4)) if frame is not None]
    assert [round(float(frame.mean())) if frame.size else None for frame in frames] == [10, None, None, 30]
    assert re.fullmatch(r"http://127.*damaged JPEG.*", str(source.problem))


def test_unusable_frames_of_a_stream_are_counted_and_explained_once(server: Callable[..., Server]) -> None:
    def script(connection: socket.socket) -> None:
        connection.sendall(HEADER)
        for number in range(100_000):
            connection.sendall(part(jpeg(60)[: -40 if number % 2 else None]))
            time.sleep(0.01)

    warnings: list[str] = []
    loop = live(server(script).url, model="nano", seconds=20, warn=warnings.append)
    results = []
    for result in loop:
        results.append(result)
        if loop.stats.unusable > 2:
            loop.stop()
    assert loop.stats.unusable > 2
    assert loop.stats.seen >= len(results) + loop.stats.unusable
    assert len(warnings) == 1
    assert re.search("skipped, further ones without a message .*damaged JPEG", warnings[0])


def test_a_stream_of_anything_but_pictures(server: Callable[..., Server], opened: Open) -> None:
    with pytest.raises(SourceError, match=rf"not a picture; .* \({mjpeg.MAX_DAMAGED} in a row\)"):
        opened(server(sending(*([part(b"text")] * 20))).url)


def test_other_parts_between_the_images_are_left_out(server: Callable[..., Server], opened: Open) -> None:
    other = part(b'{"degrees": 21}').replace(b"image/jpeg", b"application/json")
    plain = part(jpeg(20)).replace(b"image/jpeg", b"text/plain")
    source = opened(server(sending(part(jpeg(10)), other, plain, *[other] * 20, part(jpeg(30)))).url)
    assert values(source, 3) == [10, 20, 30]


def test_interrupting_leaves_the_response_to_its_reader(server: Callable[..., Server], opened: Open) -> None:
    source = opened(server(sending(part(jpeg(10)), part(jpeg(20))[:-100], then=silence)).url)
    values(source, 1)
    assert isinstance(source, ChosenSource)
    assert isinstance(source.chosen, mjpeg.MjpegStream)
    source.chosen.interrupt()
    threading.Timer(0.05, source.interrupt).start()
    with pytest.raises(SourceError, match="in the middle of an image"):
        source.read()


def test_empty_parts_keep_a_stream_open(server: Callable[..., Server], opened: Open) -> None:
    source = opened(server(sending(part(jpeg(10)), part(b"") * 40, part(jpeg(20)), part(b"") * 40)).url)
    assert values(source, 2) == [10, 20]
    with pytest.raises(SourceError, match="the server closed the connection"):
        source.skip()


def test_skipped_pictures_are_not_decoded(
    server: Callable[..., Server], opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [part(jpeg(value)) for value in (10, 20, 30, 40)]
    source = opened(server(sending(*parts[:2], part(b""), part(b"damaged"), *parts[2:])).url)
    decoded: list[int] = []

    def counted(content: bytes, name: str) -> np.ndarray:
        decoded.append(len(content))
        return decode_picture(content, name)

    monkeypatch.setattr(mjpeg, "decode_picture", counted)
    # The first was decoded in opening; a damaged one counts if it is not decoded.
    assert [source.skip() for _ in range(4)] == [True] * 4
    assert decoded == []
    assert values(source, 1) == [40]


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: multipart/x-mixed-replace\r\n\r\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER + part(b"x").replace(b"Length: 1", b"Length: 99999999999"), "an image of 99999999999 bytes"),
        (HEADER + part(b"x" * 300_000, length=False), "an image of more than 100000 bytes"),
        (HEADER + b"x\n" * 1_000_000, "no boundary between parts"),
        (HEADER + b"--frame\r\n" + b"A: b\r\n" * 1000, "got more than 100 headers"),
        (HEADER + part(jpeg())[:-100], "in the middle of an image"),
        (CHUNKED + b"ffffffffffffffff\r\n" + part(jpeg()), "stream"),
        (b"HTTP/1.0 401 No\r\nWWW-Authenticate: Digest realm=\r\n\r\n", "rejects the user name or password"),
        (b"HTTP/1.0 404 Not Found\r\n\r\n", "the server answers 404 Not Found"),
        (b"hello\r\n\r\n", "cannot be reached .BadStatusLine"),
        (b"", "cannot be reached"),
        (b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<html></html>", "Content-Type is text/html"),
    ],
)
def test_a_bad_answer_is_a_source_error(
    server: Callable[..., Server], opened: Open, monkeypatch: pytest.MonkeyPatch, content: bytes, message: str
) -> None:
    monkeypatch.setattr(mjpeg, "MAX_IMAGE_BYTES", 100_000)
    url = server(answering(content)).url
    with pytest.raises(SourceError, match=message):
        values(opened(url.replace("://", "://user:secret@")), 3)


def test_a_bad_answer_in_the_middle_is_reopened(server: Callable[..., Server]) -> None:
    answers = iter([CHUNKED + b"ffffffffffffffff\r\n", HEADER + part(jpeg(40)), HEADER + part(jpeg(80))])
    first = HEADER + part(jpeg(10))

    def script(connection: socket.socket) -> None:
        connection.sendall(first if len(running.requests) == 1 else next(answers, HEADER))

    running = server(script)
    reader = ReaderThread(parse_source(running.url), retry=Retry(first_delay=0.001, longest_delay=0.01))
    reader.open()
    end = time.perf_counter() + 10
    while reader.reconnects < 2 and time.perf_counter() < end:
        reader.next(0.05)
    reader.close()
    assert reader.reconnects == 2


def test_a_server_stopped_and_restarted(server: Callable[..., Server], opened: Open) -> None:
    streaming = server(forever)
    source = opened(streaming.url)
    assert len(values(source, 3)) == 3
    streaming.stop()
    with pytest.raises(SourceError, match="the stream broke off"):
        values(source, 100_000)
    with pytest.raises(SourceError, match=r"cannot be reached .Connection refused"):
        source.open()
    streaming.start()
    source.open()
    assert len(values(source, 3)) == 3


def test_interrupting_ends_a_read_that_waits(server: Callable[..., Server], opened: Open) -> None:
    source = opened(server(sending(part(jpeg(10)), part(jpeg(20))[:-100], then=silence)).url)
    values(source, 1)
    threading.Timer(0.05, source.interrupt).start()
    started = time.perf_counter()
    with pytest.raises(SourceError, match=r"the server closed the connection|broke off"):
        source.read()
    assert time.perf_counter() - started < 4


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_a_server_that_never_answers(server: Callable[..., Server], opened: Open, scheme: str) -> None:
    url = server(silence).url.replace("http", scheme)
    started = time.perf_counter()
    with pytest.raises(SourceError, match=r"/stream: (no answer in time|the server answers|.*timed out)"):
        opened(url, 0.3)
    assert time.perf_counter() - started < 4


def test_headers_that_trickle_do_not_block(server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_fmnist.pipeline.reader_thread.CLOSE_TIMEOUT", 0.1)
    ended = threading.Event()

    def trickle(connection: socket.socket) -> None:
        while not ended.wait(0.05):
            connection.sendall(b"X")

    reader = ReaderThread(parse_source(server(trickle).url, CaptureSettings(timeout=0.1)))
    started = time.perf_counter()
    with pytest.raises(SourceError, match=r"no frame within 0\.1 s"):
        reader.open()
    assert time.perf_counter() - started < 4
    ended.set()
    reader.close()


@pytest.mark.parametrize("start", [b"", HEADER])
def test_a_stream_that_trickles_when_it_is_reopened(
    server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, start: bytes
) -> None:
    monkeypatch.setattr("edge_fmnist.pipeline.reader_thread.STALL_MARGIN", 0.1)

    def script(connection: socket.socket) -> None:
        if len(running.requests) == 2:
            connection.sendall(start)
            while True:
                connection.sendall(b"X")
                time.sleep(0.05)
        connection.sendall(HEADER + part(jpeg(10)))

    running = server(script)
    reader = ReaderThread(parse_source(running.url, CaptureSettings(timeout=0.3)), retry=Retry(first_delay=0.01))
    reader.open()
    deadline = time.perf_counter() + 10
    while len(running.requests) < 3 and time.perf_counter() < deadline:
        reader.next(0.05)
    reader.close()
    assert len(running.requests) >= 3


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_nobody_listens(closed_port: str, opened: Open, scheme: str) -> None:
    url = closed_port.replace("http://", f"{scheme}://user:secret@") + "cam?token=hidden"
    with pytest.raises(SourceError, match=rf"^{scheme}://127.*cannot be reached .Connection refused") as caught:
        opened(url)
    assert not re.search("user|secret|hidden", str(caught.value))


def test_a_path_with_umlauts(server: Callable[..., Server], opened: Open) -> None:
    running = server(sending(part(jpeg(70))))
    assert values(opened(running.url + "/tür%20(1)?größe=1&a=%20"), 1) == [70]
    assert running.requests[0].startswith(b"GET /stream/t%C3%BCr%20(1)?gr%C3%B6%C3%9Fe=1&a=%20 HTTP")


# Logging in.


class Login:
    """The script of a server that asks for a login, and a list of those it received."""

    def __init__(self, challenge: str, accepts: Callable[[str], bool]) -> None:
        self.challenge, self.accepts = challenge, accepts
        self.received: list[str] = []
        self.requests: list[bytes] = []

    def __call__(self, connection: socket.socket) -> None:
        match = re.search(rb"^Authorization: (.*)\r$", self.requests[-1], re.MULTILINE)
        if match:
            self.received.append(match[1].decode("latin-1"))
        if match and self.accepts(self.received[-1]):
            connection.sendall(HEADER + part(jpeg(70)))
        else:
            connection.sendall(f"HTTP/1.0 401 Unauthorized\r\n{self.challenge}\r\n\r\n".encode("latin-1"))


def digest(received: str, algorithm: str, user: str, password: str) -> bool:
    """Return whether a Digest login is right, after RFC 7616."""
    scheme, _, text = received.partition(" ")
    fields = parse_keqv_list(parse_http_list(text))

    def hashed(*parts: str) -> str:
        return hashlib.new(algorithm.replace("-", ""), ":".join(parts).encode("latin-1")).hexdigest()

    secret = hashed(user, fields["realm"], password)
    if "sess" in fields.get("algorithm", ""):
        secret = hashed(secret, "n0", fields["cnonce"])
    method = hashed("GET", "/stream?a=1")
    middle = [fields["nc"], fields["cnonce"], "auth"] if "qop" in fields else []
    return (scheme, fields["username"], fields["uri"], fields["response"], fields.get("opaque")) == (
        *("Digest", user, "/stream?a=1", hashed(secret, "n0", *middle, method), "op"),
    )


MD5 = 'WWW-Authenticate: Digest realm="ca,m", nonce="n0", opaque="op", qop="auth,auth-int"'
SHA256 = MD5 + ", algorithm=SHA-256"
BASIC = 'WWW-Authenticate: Basic realm="ca,m"'


@pytest.mark.parametrize(
    ("challenge", "algorithm"),
    [
        (MD5, "md5"),
        (SHA256, "sha-256"),
        (SHA256 + "-sess", "sha-256"),
        (MD5.replace(', qop="auth,auth-int"', ""), "md5"),
        (MD5.replace("realm", "Realm").replace("nonce", "NONCE"), "md5"),
        # The strongest of several, in one header or in several.
        (f"{BASIC}\r\n{MD5}\r\n{SHA256}", "sha-256"),
        (f"{MD5}, {SHA256.partition(' ')[2]}, Basic realm=x", "sha-256"),
        (f"{BASIC}, {MD5.partition(' ')[2]}", "md5"),
        (BASIC, "basic"),
        # Bytes of the server's, which need not be UTF-8, go back as they came.
        (SHA256.replace("ca,m", "K\xfcche"), "sha-256"),
        (MD5.replace("ca,m", "K\xc3\xbcche"), "md5"),
    ],
)
def test_one_login_by_the_strongest_method(
    server: Callable[..., Server], opened: Open, challenge: str, algorithm: str
) -> None:
    def accepts(received: str) -> bool:
        if algorithm == "basic":
            return received == "Basic " + base64.b64encode("us@er:pässword".encode()).decode()
        return digest(received, algorithm, "us@er", "pässword".encode().decode("latin-1"))

    login = Login(challenge, accepts)
    running = server(login)
    login.requests = running.requests
    source = opened(running.url.replace("://", "://us%40er:p%C3%A4ssword@") + "?a=1")
    assert values(source, 1) == [70]
    assert len(login.received) == 1
    assert "ssword" not in source.name


@pytest.mark.parametrize("challenge", [MD5, SHA256, BASIC, 'WWW-Authenticate: Negotiate, NTLM realm="x"'])
def test_a_wrong_password_is_sent_once(server: Callable[..., Server], opened: Open, challenge: str) -> None:
    login = Login(challenge, lambda _: False)
    running = server(login)
    login.requests = running.requests
    with pytest.raises(SourceError, match="the server rejects the user name or password"):
        opened(running.url.replace("://", "://user:wrong@"))
    assert len(login.received) == ("Negotiate" not in challenge)


def test_a_password_is_not_sent_to_another_server(server: Callable[..., Server], opened: Open) -> None:
    other = server(answering(f"HTTP/1.0 401 Unauthorized\r\n{BASIC}\r\n\r\n".encode()))
    redirect = server(answering(f"HTTP/1.0 302 Found\r\nLocation: {other.url}\r\n\r\n".encode()))
    with pytest.raises(SourceError, match="rejects the user name or password"):
        opened(redirect.url.replace("://", "://user:secret@"))
    assert b"Authorization" not in b"".join(other.requests)


# What is not Motion JPEG.


LENGTH = b"\r\nContent-Length: %d" % len(jpeg(60))


@pytest.mark.parametrize("kind", [b"image/jpeg", b"application/octet-stream" + LENGTH, b"text/plain" + LENGTH])
def test_an_image_is_requested_again_and_again(server: Callable[..., Server], kind: bytes) -> None:
    running = server(answering(b"HTTP/1.0 200 OK\r\nContent-Type: " + kind + b"\r\n\r\n", jpeg(60)))
    source = parse_source(running.url, CaptureSettings(fps=100))
    source.open()
    assert values(source, 3) == [60, 60, 60]
    source.close()
    with pytest.raises(SourceError, match="not open"):
        source.read()
    assert len(running.requests) == 3


def test_a_damaged_image_is_an_unusable_frame(server: Callable[..., Server]) -> None:
    header = b"HTTP/1.0 200 OK\r\nContent-Type: image/jpeg\r\n\r\n"
    contents = iter([jpeg(60), jpeg(60)[:-40], jpeg(80), *[b"none"] * MAX_DAMAGED])

    def script(connection: socket.socket) -> None:
        connection.sendall(header + next(contents))

    source = parse_source(server(script).url, CaptureSettings(fps=100))
    with closing(source):
        source.open()
        frames = [source.read() for _ in range(MAX_DAMAGED + 2)]
        assert [frame.size > 0 for frame in frames if frame is not None] == [True, False, True, *[False] * 9]
        with pytest.raises(SourceError, match=f"{MAX_DAMAGED} in a row"):
            source.read()


def test_an_image_that_drips_is_interrupted_and_reopened(
    server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_fmnist.sources.stream.READ_TIMEOUT", 0.2)
    monkeypatch.setattr("edge_fmnist.pipeline.reader_thread.STALL_MARGIN", 0.09)
    slow = threading.Event()

    def script(connection: socket.socket) -> None:
        picture = jpeg(60)
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture))
        while slow.is_set():
            connection.sendall(picture[:1])
            time.sleep(0.02)
        connection.sendall(picture)

    lost: list[str] = []
    source = parse_source(server(script).url, CaptureSettings(fps=100))
    reader = ReaderThread(source, retry=Retry(first_delay=0.01), on_lost=lost.append)
    reader.open()
    assert reader.next(5) is not None
    assert source.read_timeout == 0.2 + 1 / 100
    slow.set()
    while not lost:
        reader.next(0.1)
    slow.clear()
    assert reader.next(5) is not None
    reader.close()
    assert "no frame for 0.3 s" in lost[0]


def test_video_over_http_is_read_by_ffmpeg(
    serve: Callable[..., str], tmp_path: Path, opened: Open, write_video: Callable[..., Path]
) -> None:
    frames = [np.full((48, 64, 3), number * 10, np.uint8) for number in range(5)]
    path = write_video(tmp_path / "clip.avi", frames)
    source = opened(serve({"clip.avi": path.read_bytes()}) + "clip.avi")
    assert values(source, 3) == pytest.approx([0, 10, 20], abs=4)


def test_nothing_leaks(server: Callable[..., Server]) -> None:
    source = parse_source(server(forever).url)

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    for _ in range(5):
        source.open()
        values(source, 2)
        source.close()
    # The server's side ends when it next writes.
    deadline = time.perf_counter() + 5
    while descriptors() > before and time.perf_counter() < deadline:
        time.sleep(0.01)
    assert descriptors() <= before


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://",
            "http://host:port/",
            "http://host:99999/",
            "ftp://host/x",
            "http://ho st/",
            "http://ho\x1bst/",
            "rtsp://[::1/x",
        ),
        # A password with a slash.
        *("http://user:123/secret@host/video", "http://user:/secret@10.0.0.2/video"),
    ],
)
def test_a_url_that_cannot_be_used(url: str) -> None:
    with pytest.raises(UsageError, match="source: this URL cannot be used; expected http://HOST"):
        parse_source(url)
    with pytest.raises(UsageError) as caught:
        parse_source("http://user:sec/ret@host:port/")
    assert "sec" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        *("http://cam:8080/img@2x.jpg", "http://10.0.0.2:81/video?user=a@b.de&pwd=x/y"),
        *("rtsp://10.0.0.2:554/user=admin_password=a@b_channel=1", "http://[fe80::1]:8080/a@b/c", "RTSP://cam/live"),
    ],
)
def test_a_url_with_an_at_sign_that_can_be_used(url: str) -> None:
    assert isinstance(parse_source(url), Stream)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://admin:secret@10.0.0.2:554/live", "rtsp://10.0.0.2:554/live"),
        ("http://cam/video?user=a&pwd=b#c", "http://cam/video?***"),
        ("rtsp://cam/user=admin_password=a_b_channel=1", "rtsp://cam/user=admin_password=***"),
    ],
)
def test_redacted(url: str, shown: str) -> None:
    assert redacted(url) == shown


def test_damaged_frames_write_nothing_to_standard_error(server: Callable[..., Server]) -> None:
    whole = jpeg(100, (320, 240))
    noise = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8))[1].tobytes()
    damaged = noise[: len(noise) // 2] + bytes(len(noise) // 2)
    url = server(sending(part(whole), *([part(damaged)] * 5), part(whole), then=silence)).url
    code = (
        "import sys; from edge_fmnist.sources import parse_source\n"
        "source = parse_source(sys.argv[1], warn=lambda text: None); source.open()\n"
        "for _ in range(2): source.read()\n"
    )
    run = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")


def test_a_password_does_not_follow_a_redirect_to_another_server(server: Callable[..., Server], opened: Open) -> None:
    other = server(answering(HEADER, part(jpeg(40))))

    def script(connection: socket.socket) -> None:
        answer = f"302 Found\r\nLocation: {other.url}" if len(first.requests) > 1 else f"401 Unauthorized\r\n{BASIC}"
        connection.sendall(f"HTTP/1.0 {answer}\r\n\r\n".encode())

    first = server(script)
    opened(first.url.replace("://", "://user:secret@"))
    assert b"Authorization: Basic" in first.requests[1]
    assert b"Authorization" not in b"".join(other.requests)


@pytest.mark.parametrize(("length", "picture"), [(1000, True), (None, False)])
def test_a_jpeg_of_no_length_may_be_the_first_of_a_stream(length: int | None, picture: bool) -> None:
    response: Any = SimpleNamespace(length=length, isclosed=lambda: False, peek=lambda _: jpeg())
    stream = parse_source("http://camera.local/stream")
    assert stream._is_picture(response, "application/octet-stream") is picture  # type: ignore[attr-defined]


def test_a_short_boundary_may_occur_within_an_image(server: Callable[..., Server], opened: Open) -> None:
    # A comment with the boundary in it.
    image = jpeg(60)
    image = image[:2] + b"\xff\xfe\0\x07a--bc" + image[2:]
    head = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=b\r\n\r\n"
    one = b"--b\r\nContent-Type: image/jpeg\r\n\r\n" + image + b"\r\n"
    assert values(opened(server(answering(head, one, one, one)).url), 2) == [60, 60]


def test_a_server_that_does_not_answer_a_login(server: Callable[..., Server], opened: Open) -> None:
    def script(connection: socket.socket) -> None:
        if len(running.requests) > 1:
            time.sleep(2)
        connection.sendall(f"HTTP/1.0 401 Unauthorized\r\n{BASIC}\r\n\r\n".encode())

    running = server(script)
    with pytest.raises(SourceError, match="no answer in time"):
        opened(running.url.replace("://", "://user:secret@"), 0.3)


def test_a_login_for_a_url_without_a_path() -> None:
    header = authorization([MD5.partition(": ")[2]], "http://camera.local?a=1", Credentials("user", "secret"))
    assert header is not None
    assert ' uri="/?a=1"' in header


def test_a_login_without_a_password(server: Callable[..., Server], opened: Open) -> None:
    login = Login(BASIC, lambda received: received == "Basic " + base64.b64encode(b"admin:").decode())
    running = server(login)
    login.requests = running.requests
    assert values(opened(running.url.replace("://", "://admin@")), 1) == [70]


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "503 Busy"])
def test_a_password_is_sent_only_where_it_is_asked_for(
    server: Callable[..., Server], opened: Open, status: str
) -> None:
    running = server(answering(f"HTTP/1.0 {status}\r\n{BASIC}\r\n\r\n".encode()))
    with pytest.raises(SourceError, match=f"the server answers {status}"):
        opened(running.url.replace("://", "://user:secret@"))
    assert b"Authorization" not in b"".join(running.requests)


def test_damaged_pictures_are_counted_in_a_row(server: Callable[..., Server], opened: Open) -> None:
    parts = [*[part(b"no picture")] * (MAX_DAMAGED - 1), part(jpeg(60))]
    source = opened(server(sending(*parts, *parts)).url)
    frames = [source.read() for _ in range(MAX_DAMAGED + 1)]
    assert [frame.size > 0 for frame in frames if frame is not None] == [True, *[False] * (MAX_DAMAGED - 1), True]


@pytest.mark.parametrize("kind", ["application/octet-stream", "image/jpeg"])
def test_a_server_that_stops_after_its_headers(server: Callable[..., Server], opened: Open, kind: str) -> None:
    def script(connection: socket.socket) -> None:
        connection.sendall(f"HTTP/1.0 200 OK\r\nContent-Type: {kind}\r\n\r\n".encode())
        silence(connection)

    with pytest.raises(SourceError, match="no answer in time"):
        opened(server(script).url, 0.3)


def test_a_host_name_that_cannot_be(opened: Open) -> None:
    with pytest.raises(SourceError, match="not a valid host name"):
        opened(f"http://{'a' * 70}.local/")


@pytest.mark.parametrize(("scheme", "port"), [("rtsp", 554), ("rtsps", 322)])
def test_the_usual_port(monkeypatch: pytest.MonkeyPatch, opened: Open, scheme: str, port: int) -> None:
    asked: list[object] = []

    def refused(address: object, timeout: float) -> None:
        asked.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refused)
    with pytest.raises(SourceError, match="cannot be reached"):
        opened(f"{scheme}://camera.local/live")
    assert asked == [("camera.local", port)]


def test_the_rate_of_an_image_that_is_requested_again(server: Callable[..., Server]) -> None:
    source = parse_source(
        server(answering(b"HTTP/1.0 200 OK\r\nContent-Type: image/jpeg\r\n\r\n", jpeg(60))).url, CaptureSettings(fps=5)
    )
    with closing(source):
        source.open()
        started = time.perf_counter()
        assert values(source, 3) == [60, 60, 60]
        assert 0.3 < time.perf_counter() - started < 0.9
        assert source.fps == 5


def test_interrupting_ends_the_pause_between_two_requests(server: Callable[..., Server]) -> None:
    source = parse_source(
        server(answering(b"HTTP/1.0 200 OK\r\nContent-Type: image/jpeg\r\n\r\n", jpeg(60))).url,
        CaptureSettings(fps=0.3),
    )
    with closing(source):
        source.open()
        values(source, 1)
        threading.Timer(0.05, source.interrupt).start()
        started = time.perf_counter()
        with pytest.raises(SourceError, match="not open"):
            source.read()
        assert time.perf_counter() - started < 2


def test_a_damaged_first_image_is_no_source(server: Callable[..., Server], opened: Open) -> None:
    with pytest.raises(SourceError, match="damaged JPEG"):
        opened(server(answering(b"HTTP/1.0 200 OK\r\nContent-Type: image/jpeg\r\n\r\n", jpeg(60)[:-40])).url)


def test_a_host_with_umlauts() -> None:
    assert split_credentials(urlsplit("http://u:p@küche.local:81/a#b"))[0] == "http://xn--kche-0ra.local:81/a"


def test_a_login_that_was_not_given(server: Callable[..., Server], opened: Open) -> None:
    with pytest.raises(SourceError, match="rejects the user name or password: give them as http://USER:PASSWORD@HOST"):
        opened(server(answering(f"HTTP/1.0 401 Unauthorized\r\n{BASIC}\r\n\r\n".encode())).url)
