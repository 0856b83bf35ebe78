"""Streams of the browser page: several viewers, slow viewers, and closing while they watch."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from edge_fmnist.errors import SinkError
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.web import WebPage, encoding, streams
from edge_fmnist.sinks.web.address import SEND_BUFFER_BYTES
from edge_fmnist.sinks.web.latest import MAX_RATE, LatestResult

MakeResult = Callable[..., LiveResult]
TIMEOUT = 10


@pytest.fixture
def feed(page: Any, make_result: MakeResult) -> Iterator[list[float]]:
    """Write 100 results a second while the test runs; yields how long each write took, in seconds."""
    results = [make_result(index) for index in range(8)]
    ended = threading.Event()
    times: list[float] = []

    def write() -> None:
        while not ended.wait(0.01):
            start = time.perf_counter()
            page.write(results[len(times) % len(results)])
            times.append(time.perf_counter() - start)

    thread = threading.Thread(target=write)
    thread.start()
    yield times
    ended.set()
    thread.join()


class Viewer:
    """A connection that requests a stream and reads it on demand."""

    def __init__(self, page: Any, path: str) -> None:
        address = urlsplit(page.url)
        self.socket = socket.create_connection((str(address.hostname), address.port or 0), timeout=TIMEOUT)
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()

    def head(self) -> str:
        """Read status and headers."""
        return b"".join(iter(self.file.readline, b"\r\n")).decode()

    def chunk(self) -> bytes:
        """Read one chunk of the body; empty at the end of the stream."""
        size = int(self.file.readline() or b"0", 16)
        return self.file.read(size + 2)[:-2] if size else b""

    def event(self) -> dict[str, Any]:
        """Read the next event that is a result."""
        while not (chunk := self.chunk()).startswith(b"data: "):
            assert chunk
        value: dict[str, Any] = json.loads(chunk.removeprefix(b"data: "))
        return value


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(TIMEOUT * 100):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("timeout")


def test_mjpeg(page: Any, feed: list[float]) -> None:
    with Viewer(page, "/stream.mjpg") as viewer:
        head = viewer.head()
        assert head.startswith("HTTP/1.1 200")
        assert "content-type: multipart/x-mixed-replace; boundary=frame" in head
        assert viewer.chunk() == b"--frame\r\n"
        for _ in range(3):
            headers, _, body = viewer.chunk().partition(b"\r\n\r\n")
            jpeg, end = body[:-11], body[-11:]
            assert end == b"\r\n--frame\r\n"
            assert headers == f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}".encode()
            picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
            assert picture is not None
            assert picture.shape == (480, 640, 3)


def test_opencv_reads_the_stream(page: Any, feed: list[float]) -> None:
    capture = cv2.VideoCapture(f"{page.url}stream.mjpg?plain=1", cv2.CAP_FFMPEG)
    try:
        assert capture.isOpened()
        for _ in range(3):
            ok, picture = capture.read()
            assert ok
            assert picture.shape == (480, 640, 3)
    finally:
        capture.release()


def test_events(page: Any, make_result: MakeResult) -> None:
    result = make_result(7)
    page.write(result)
    with Viewer(page, "/events") as viewer:
        assert "content-type: text/event-stream" in viewer.head()
        event = viewer.event()
        expected = result.as_dict()
        assert {name: event[name] for name in expected} == expected
        image = np.frombuffer(base64.b64decode(event["image"]), np.uint8).reshape(28, 28)
        assert np.array_equal(image, result.garment.image)
        assert abs(event["shown_at"] - time.time()) < TIMEOUT


def test_the_first_event_says_how_old_its_result_is(page: Any, make_result: MakeResult) -> None:
    page.write(make_result())
    latest = page._latest
    wait_for(lambda: latest.published is not None)
    latest.published = replace(latest.published, monotonic=time.monotonic() - 60)
    with Viewer(page, "/events") as viewer:
        viewer.head()
        assert 60_000 <= viewer.event()["age"] < 60_000 + 1000 * TIMEOUT
        page.write(make_result(1))
        assert 0 <= viewer.event()["age"] < 1000 * TIMEOUT


def test_a_heartbeat_comes_while_there_is_no_result(page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT", 0.05)
    with Viewer(page, "/events") as viewer:
        viewer.head()
        assert viewer.chunk().startswith(b"event: heartbeat\n")
        assert viewer.chunk().startswith(b"event: heartbeat\n")


def test_an_image_is_repeated_while_there_is_no_other(
    page: Any, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "REPEAT", 0.05)
    page.write(make_result())
    with Viewer(page, "/stream.mjpg") as viewer:
        viewer.head()
        viewer.chunk()
        assert viewer.chunk() == viewer.chunk()


def test_viewers_see_at_most_30_results_a_second(make_result: MakeResult) -> None:
    results = [make_result(number, size=(28, 28)) for number in range(4)]

    async def seconds_for_all() -> float:
        loop = asyncio.get_running_loop()
        latest, started = LatestResult(loop), loop.time()
        for number, result in enumerate(results):
            latest.put(result)
            await latest.wait(number, TIMEOUT)
        return loop.time() - started

    assert asyncio.run(seconds_for_all()) > 2.9 / MAX_RATE


def test_images_are_encoded_once_for_all_viewers(
    page: Any, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []

    def encode(result: LiveResult, kind: encoding.Kind) -> bytes:
        encoded.append(result.frame.index)
        return encode_image(result, kind)

    encode_image = encoding.encode_image
    monkeypatch.setattr(encoding, "encode_image", encode)
    page.write(make_result(4))
    with Viewer(page, "/events") as watching:
        watching.head()
        assert watching.event()["serial"] == 1
    assert encoded == []  # nobody has requested an image
    with (
        Viewer(page, "/stream.mjpg") as one,
        Viewer(page, "/stream.mjpg") as other,
        Viewer(page, "/frame.jpg") as third,
    ):
        for viewer in (one, other):
            viewer.head()
            viewer.chunk()
            assert viewer.chunk().startswith(b"Content-Type: image/jpeg")
        assert "200 OK" in third.head()
        page.write(make_result(5))
        assert one.chunk() == other.chunk()
    assert encoded == [4, 5]


def test_a_slow_viewer_delays_nobody(page: Any, feed: list[float]) -> None:
    with Viewer(page, "/stream.mjpg"), Viewer(page, "/stream.mjpg") as quick, Viewer(page, "/events") as events:
        quick.head()
        events.head()
        first = events.event()["serial"]
        # Noise is large as JPEG: the buffers of the one that does not read are full long before the end.
        received = sum(len(quick.chunk()) for _ in range(25))
        assert received > 8 * SEND_BUFFER_BYTES
        assert events.event()["serial"] > first
    assert np.median(feed) < 0.001


def test_the_number_of_viewers_is_limited(page: Any, feed: list[float]) -> None:
    viewers = [Viewer(page, "/events") for _ in range(streams.MAX_VIEWERS)]
    try:
        assert all("200 OK" in viewer.head() for viewer in viewers)
        with Viewer(page, "/stream.mjpg") as refused:
            head = refused.head()
            assert head.startswith("HTTP/1.1 503")
            assert "retry-after" in head
        viewers.pop().__exit__()

        def place_is_free() -> bool:
            with Viewer(page, "/events") as next_one:
                return "200 OK" in next_one.head()

        wait_for(place_is_free)
    finally:
        for viewer in viewers:
            viewer.__exit__()


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def test_closing_ends_streams_threads_and_descriptors(make_result: MakeResult) -> None:
    WebPage(port=0).close()  # what is imported and opened once
    threads, descriptors = threading.active_count(), open_descriptors()
    for _ in range(2):
        page = WebPage(port=0)
        page.write(make_result())
        paths = ("/stream.mjpg", "/stream.mjpg", "/events", "/frame.jpg?after=1", "/healthz")
        viewers = [Viewer(page, path) for path in paths]
        heads = [viewer.head() for viewer in viewers[:3]]
        assert all("200 OK" in head for head in heads)
        start = time.perf_counter()
        page.close()
        assert time.perf_counter() - start < 3
        assert viewers[0].file.read().endswith(b"0\r\n\r\n")
        for viewer in viewers:
            viewer.__exit__()
    assert threading.active_count() == threads
    assert open_descriptors() == descriptors


def test_closing_disconnects_a_viewer_that_does_not_read(page: Any, make_result: MakeResult) -> None:
    results = [make_result(index, size=(1280, 960)) for index in range(2)]
    with Viewer(page, "/stream.mjpg"):
        with Viewer(page, "/stream.mjpg") as reading:
            reading.head()
            # Both viewers receive the same frames: 20 of them fill all buffers of the one that does not read.
            for index in range(20):
                page.write(results[index % 2])
                reading.chunk()
        start = time.perf_counter()
        page.close()
        assert time.perf_counter() - start < 2
    assert not {thread.name for thread in threading.enumerate()} & {"web-server", "web-encoder_0"}


def test_a_viewer_that_disconnects_does_not_cancel_the_image_of_others(
    page: Any, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, leave = threading.Event(), threading.Event()

    def encode(result: LiveResult, kind: encoding.Kind) -> bytes:
        started.set()
        leave.wait(TIMEOUT)
        return encode_image(result, kind)

    encode_image = encoding.encode_image
    monkeypatch.setattr(encoding, "encode_image", encode)
    page.write(make_result())
    with Viewer(page, "/stream.mjpg") as other:
        with Viewer(page, "/stream.mjpg"):
            assert started.wait(TIMEOUT)
            wait_for(lambda: page.ask("/healthz").json()["viewers"] == 2)
        wait_for(lambda: page.ask("/healthz").json()["viewers"] == 1)
        leave.set()
        other.head()
        other.chunk()
        assert other.chunk().startswith(b"Content-Type: image/jpeg")


def test_writing_after_closing(page: Any, make_result: MakeResult) -> None:
    page.close()
    page.close()
    with pytest.raises(SinkError, match=r"the browser page at http://127\.0\.0\.1:\d+/ has stopped"):
        page.write(make_result())
