"""Streams: Motion JPEG over HTTP from servers that die, stall, lie and come back; RTSP that nobody answers."""

from __future__ import annotations

import base64
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_fmnist.errors import SourceError, UsageError
from edge_fmnist.sources import guard, mjpeg, parse_source
from edge_fmnist.sources.base import Source, Wishes
from edge_fmnist.sources.stream import redacted
from edge_fmnist.vision.read_image import decode_picture

SOON = Wishes(timeout=5)
HEADER = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"
Script = Callable[[socket.socket], None]


def jpeg(value: int = 100, size: tuple[int, int] = (32, 24)) -> bytes:
    """Return a JPEG of one grey value; ``size`` is width and height."""
    return bytes(cv2.imencode(".jpg", np.full((size[1], size[0], 3), value, np.uint8))[1].tobytes())


def part(content: bytes, *, length: bool = True, boundary: bytes = b"--frame") -> bytes:
    size = b"Content-Length: %d\r\n" % len(content) if length else b""
    return boundary + b"\r\nContent-Type: image/jpeg\r\n" + size + b"\r\n" + content + b"\r\n"


class Server:
    """Answers each connection with a script, on a port that it keeps when it is killed and started again."""

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

    def kill(self) -> None:
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
        one.kill()


@pytest.fixture
def opened() -> Iterator[Callable[..., Source]]:
    """Return a function that opens a source, which is closed at the end of the test."""
    sources: list[Source] = []

    def start(url: str, wishes: Wishes = SOON) -> Source:
        sources.append(parse_source(url, wishes))
        sources[-1].open()
        return sources[-1]

    yield start
    for source in sources:
        source.close()


def sending(*parts: bytes, then: Script | None = None) -> Script:
    """Return a script that sends a multipart answer and then hangs up, or does something else."""

    def script(connection: socket.socket) -> None:
        connection.sendall(HEADER + b"".join(parts))
        if then:
            then(connection)

    return script


def forever(connection: socket.socket) -> None:
    """Send pictures until the connection breaks."""
    connection.sendall(HEADER)
    for number in range(100_000):
        connection.sendall(part(jpeg(number % 200)))
        time.sleep(0.005)


def silence(connection: socket.socket) -> None:
    """Send nothing until the other side hangs up."""
    connection.recv(1)


def values(source: Source, count: int) -> list[int]:
    """Return the grey values of the next frames."""
    return [round(float(frame.mean())) for frame in (source.read() for _ in range(count)) if frame is not None]


@pytest.mark.parametrize("length", [True, False], ids=["with length", "without length"])
def test_every_picture_comes_in_order(
    server: Callable[..., Server], opened: Callable[..., Source], length: bool
) -> None:
    parts = [part(jpeg(value), length=length) for value in (10, 20, 30)]
    source = opened(server(sending(*parts)).url)
    assert source.realtime
    assert values(source, 3) == [10, 20, 30]
    with pytest.raises(SourceError, match=r"127\.0\.0\.1:\d+/stream: the stream broke off .the server closed the conn"):
        source.read()


def test_multipart_answer_that_is_not_named_so(server: Callable[..., Server], opened: Callable[..., Source]) -> None:
    def script(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n" + part(jpeg(40)))

    assert values(opened(server(script).url), 1) == [40]


def test_picture_without_length_does_not_wait_for_the_next(
    server: Callable[..., Server], opened: Callable[..., Source]
) -> None:
    started = time.perf_counter()
    source = opened(server(sending(part(jpeg(50), length=False), then=silence)).url)
    assert values(source, 1) == [50]
    assert time.perf_counter() - started < SOON.timeout


@pytest.mark.parametrize(
    "framed",
    [
        pytest.param(b"\r\n--other\r\nContent-Type: image/jpeg\r\n\r\n", id="boundary that the header does not name"),
        pytest.param(b"--frame\r\n\r\n", id="part without headers"),
        pytest.param(b"--frame\nContent-type: image/jpeg\ncontent-length: LENGTH\n\n", id="line feeds only"),
        pytest.param(b"--frame\r\nContent-Length: none\r\n\r\n", id="length that is no number"),
        pytest.param(b"--frame\r\nContent-Length: 0\r\n\r\n\r\n--frame\r\n\r\n", id="empty part before"),
    ],
)
def test_servers_that_frame_their_own_way(
    server: Callable[..., Server], opened: Callable[..., Source], framed: bytes
) -> None:
    content = b"".join(
        framed.replace(b"LENGTH", b"%d" % len(jpeg(value))) + jpeg(value) + b"\r\n" for value in (40, 80, 120)
    )
    assert values(opened(server(sending(content)).url), 3) == [40, 80, 120]


def test_frames_of_another_size_pass_as_they_are(server: Callable[..., Server], opened: Callable[..., Source]) -> None:
    source = opened(server(sending(*(part(jpeg(90, size)) for size in ((32, 24), (48, 16), (1, 1))))).url)
    shapes = [frame.shape for frame in (source.read() for _ in range(3)) if frame is not None]
    assert shapes == [(24, 32, 3), (16, 48, 3), (1, 1, 3)]


def test_grey_and_transparent_pictures_become_bgr(server: Callable[..., Server], opened: Callable[..., Source]) -> None:
    grey = cv2.imencode(".jpg", np.full((8, 8), 60, np.uint8))[1].tobytes()
    clear = cv2.imencode(".png", np.zeros((8, 8, 4), np.uint8))[1].tobytes()
    source = opened(server(sending(part(grey), part(clear))).url)
    frames = [source.read(), source.read()]
    assert [(frame.shape, str(frame.dtype), int(frame[0, 0, 0])) for frame in frames if frame is not None] == [
        ((8, 8, 3), "uint8", 60),
        ((8, 8, 3), "uint8", 255),
    ]


def test_damaged_picture_is_passed_over(server: Callable[..., Server], opened: Callable[..., Source]) -> None:
    source = opened(server(sending(part(jpeg(10)), part(b"no picture"), part(jpeg(30)))).url)
    assert values(source, 2) == [10, 30]


def test_stream_of_anything_but_pictures(server: Callable[..., Server], opened: Callable[..., Source]) -> None:
    with pytest.raises(SourceError, match=f"{mjpeg.MAX_DAMAGED} parts in a row that are no pictures"):
        opened(server(sending(*([part(b"text")] * 20))).url)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            part(b"x").replace(b"Length: 1", b"Length: 99999999999"), "a picture of 99999999999 bytes", id="length"
        ),
        pytest.param(part(b"x" * 300_000, length=False), "a picture of more than 100000 bytes", id="no boundary after"),
        pytest.param(b"x\n" * 1_000_000, "no boundary between parts", id="no boundary before"),
        pytest.param(b"--frame\r\n" + b"A: b\r\n" * 1000, "got more than 100 headers", id="headers"),
    ],
)
def test_sizes_have_limits(
    server: Callable[..., Server],
    opened: Callable[..., Source],
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
    message: str,
) -> None:
    monkeypatch.setattr(mjpeg, "MAX_PICTURE", 100_000)
    with pytest.raises(SourceError, match=message):
        opened(server(sending(content)).url)


def test_server_killed_and_restarted_twice(server: Callable[..., Server], opened: Callable[..., Source]) -> None:
    streaming = server(forever)
    source = opened(streaming.url)
    for _ in range(2):
        assert len(values(source, 3)) == 3
        streaming.kill()
        with pytest.raises(SourceError, match="the stream broke off"):
            values(source, 100_000)
        with pytest.raises(SourceError, match=r"cannot be reached .Connection refused"):
            source.open()
        streaming.start()
        source.open()
    assert len(values(source, 3)) == 3


def test_server_that_stops_in_mid_picture(
    server: Callable[..., Server], opened: Callable[..., Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "READ_TIMEOUT", 0.3)
    source = opened(server(sending(part(jpeg(10)), part(jpeg(20))[:-100], then=silence)).url)
    assert values(source, 1) == [10]
    with pytest.raises(SourceError, match=r"/stream: no picture within 0\.3 s$"):
        source.read()


def test_server_that_hangs_up_in_mid_picture(server: Callable[..., Server], opened: Callable[..., Source]) -> None:
    source = opened(server(sending(part(jpeg(10)), part(jpeg(20))[:-100])).url)
    assert values(source, 1) == [10]
    with pytest.raises(SourceError, match="in the middle of a picture"):
        source.read()


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_server_that_accepts_and_never_answers(
    server: Callable[..., Server], opened: Callable[..., Source], scheme: str
) -> None:
    url = server(silence).url.replace("http", scheme)
    started = time.perf_counter()
    with pytest.raises(SourceError, match=r"/stream: (no answer in time|no picture within 0\.5 s|the server answers)"):
        opened(url, Wishes(timeout=0.5))
    assert time.perf_counter() - started < 4


def test_headers_without_pictures(server: Callable[..., Server], opened: Callable[..., Source]) -> None:
    with pytest.raises(SourceError, match=r"no picture within 0\.5 s|broke off .timed out"):
        opened(server(sending(then=silence)).url, Wishes(timeout=0.5))


def test_headers_that_trickle(server: Callable[..., Server], opened: Callable[..., Source]) -> None:
    def trickle(connection: socket.socket) -> None:
        for byte in b"HTTP/1.0 200 OK\r\n" + b"X" * 1000:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    started = time.perf_counter()
    with pytest.raises(SourceError, match=r"no picture within 0\.5 s"):
        opened(server(trickle).url, Wishes(timeout=0.5))
    assert time.perf_counter() - started < 4


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_nobody_listens(closed_port: str, opened: Callable[..., Source], scheme: str) -> None:
    url = closed_port.replace("http://", f"{scheme}://user:secret@") + "cam?token=hidden"
    started = time.perf_counter()
    with pytest.raises(SourceError, match=rf"^{scheme}://127.*cannot be reached .Connection refused") as caught:
        opened(url)
    assert time.perf_counter() - started < 4
    assert not re.search("user|secret|hidden", str(caught.value))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        pytest.param(b"HTTP/1.0 404 Not Found\r\n\r\n", "the server answers 404 Not Found", id="not found"),
        pytest.param(b"HTTP/1.0 401 Unauthorized\r\n\r\n", "wants another user name or password", id="unauthorized"),
        pytest.param(b"hello\r\n\r\n", "cannot be reached .BadStatusLine", id="no web server"),
        pytest.param(b"", "cannot be reached", id="hangs up"),
        pytest.param(
            b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<html></html>", "Content-Type is text/html", id="a page"
        ),
    ],
)
def test_answer_that_is_no_stream(
    server: Callable[..., Server], opened: Callable[..., Source], answer: bytes, message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        opened(server(lambda connection: connection.sendall(answer)).url)


def test_user_name_and_password_are_sent_when_asked_for(
    server: Callable[..., Server], opened: Callable[..., Source]
) -> None:
    def script(connection: socket.socket) -> None:
        if b"Authorization" not in running.requests[-1]:
            connection.sendall(b'HTTP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic realm="camera"\r\n\r\n')
        else:
            connection.sendall(HEADER + part(jpeg(70)))

    running = server(script)
    source = opened(running.url.replace("://", "://us%40er:pass@"))
    assert values(source, 1) == [70]
    assert b"Authorization: Basic " + base64.b64encode(b"us@er:pass") in running.requests[-1]
    assert "pass" not in source.name


def test_video_over_http_is_left_to_ffmpeg(serve: Callable[..., str], video: bytes) -> None:
    source = parse_source(serve({"clip.avi": video}) + "clip.avi", SOON)
    source.open()
    assert values(source, 3) == pytest.approx([0, 10, 20], abs=4)
    source.close()


@pytest.fixture
def video(tmp_path: Path) -> bytes:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for number in range(5):
        writer.write(np.full((48, 64, 3), number * 10, np.uint8))
    writer.release()
    return path.read_bytes()


def test_closing_ends_a_read_that_waits(
    server: Callable[..., Server], opened: Callable[..., Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "PATIENCE", 5)
    source = opened(server(sending(part(jpeg(10)), then=silence)).url)
    values(source, 1)
    caught: list[str] = []

    def read() -> None:
        try:
            source.read()
        except SourceError as error:
            caught.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.1)
    started = time.perf_counter()
    source.close()
    reader.join(5)
    assert time.perf_counter() - started < 4
    assert len(caught) == 1
    assert not [thread for thread in threading.enumerate() if thread.name == f"source {source.name}"]


def test_nothing_leaks(server: Callable[..., Server]) -> None:
    def resources() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    source = parse_source(server(forever).url, SOON)
    before = resources()
    for _ in range(5):
        source.open()
        values(source, 2)
        source.close()
    # The server's side ends when it next writes.
    deadline = time.perf_counter() + 5
    while resources() != before and time.perf_counter() < deadline:
        time.sleep(0.02)
    assert resources() == before


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http:///path",
        "http://host:port/",
        "http://host:99999/",
        "ftp://host/x",
        "http://ho st/",
        "rtsp://[::1/x",
    ],
)
def test_url_that_cannot_be_used(url: str) -> None:
    with pytest.raises(UsageError, match="this URL cannot be used; expected http://HOST"):
        parse_source(url)


def test_unusable_url_does_not_show_its_password() -> None:
    with pytest.raises(UsageError) as caught:
        parse_source("http://user:sec/ret@host:port/")
    assert "sec" not in str(caught.value).replace("second", "")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://admin:secret@10.0.0.2:554/live", "rtsp://10.0.0.2:554/live"),
        ("http://cam/video?user=a&pwd=b#c", "http://cam/video?***"),
        ("http://cam:8080/", "http://cam:8080/"),
    ],
)
def test_redacted(url: str, shown: str) -> None:
    assert redacted(url) == shown


def test_skipped_pictures_are_not_decoded(
    server: Callable[..., Server], opened: Callable[..., Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [part(jpeg(value)) for value in (10, 20, 30, 40)]
    source = opened(server(sending(*parts[:2], part(b""), part(b"damaged"), *parts[2:])).url)
    decoded: list[int] = []

    def counted(content: bytes, name: str) -> np.ndarray:
        decoded.append(len(content))
        return decode_picture(content, name)

    monkeypatch.setattr(mjpeg, "decode_picture", counted)
    # The first was decoded in opening; an empty part is none, a damaged one counts when nobody looks at it.
    assert [source.skip() for _ in range(4)] == [True] * 4
    assert decoded == []
    assert values(source, 1) == [40]
    assert len(decoded) == 1
    with pytest.raises(SourceError, match="broke off"):
        source.skip()
    with pytest.raises(SourceError, match="not open"):
        source.skip()


def test_skipping_what_is_no_stream(server: Callable[..., Server], opened: Callable[..., Source]) -> None:
    source = opened(server(sending(part(jpeg()), part(b"") * 20)).url)
    assert source.skip()
    with pytest.raises(SourceError, match="10 parts in a row that are no pictures"):
        source.skip()
