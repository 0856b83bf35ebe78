"""The browser page: its answers, its headers, and the files it is made of."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.resources import files
from typing import NamedTuple
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from edge_fmnist import extras
from edge_fmnist.errors import MissingExtraError, SinkError
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.web import WebPage
from edge_fmnist.sinks.web import app as web_app

MakeResult = Callable[..., LiveResult]
STATIC = files("edge_fmnist.sinks.web").joinpath("static")


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, object]:
        value: dict[str, object] = json.loads(self.body)
        return value

    def picture(self) -> np.ndarray:
        decoded = cv2.imdecode(np.frombuffer(self.body, np.uint8), cv2.IMREAD_UNCHANGED)
        assert decoded is not None
        return np.asarray(decoded)


@pytest.fixture
def page() -> Iterator[WebPage]:
    with closing(WebPage(port=0)) as page:
        yield page


@pytest.fixture(scope="module")
def idle_page() -> Iterator[WebPage]:
    """One page for the tests that write no result."""
    with closing(WebPage(port=0)) as page:
        yield page


def get(page: WebPage, path: str, *, host: str | None = None, method: str = "GET") -> Answer:
    connection = http.client.HTTPConnection(urlsplit(page.url).netloc, timeout=10)
    try:
        connection.request(method, path, headers={} if host is None else {"Host": host})
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())
    finally:
        connection.close()


def get_until(page: WebPage, path: str, done: Callable[[Answer], bool]) -> Answer:
    """Return the first answer that is as expected: results are shown a moment after they are written."""
    for _ in range(500):
        answer = get(page, path)
        if done(answer):
            return answer
        time.sleep(0.01)
    pytest.fail(f"{path} did not answer as expected: {answer.status} {answer.body[:200]!r}")


@pytest.mark.parametrize(
    ("path", "name", "media_type"),
    [
        ("/", "index.html", "text/html; charset=utf-8"),
        ("/app.js", "app.js", "text/javascript; charset=utf-8"),
        ("/style.css", "style.css", "text/css; charset=utf-8"),
        ("/icon.svg", "icon.svg", "image/svg+xml"),
    ],
)
def test_the_page_is_served(idle_page: WebPage, path: str, name: str, media_type: str) -> None:
    answer = get(idle_page, path)
    assert (answer.status, answer.headers["content-type"]) == (200, media_type)
    assert answer.body == STATIC.joinpath(name).read_bytes()


def test_the_page_has_no_external_address_and_nothing_inline() -> None:
    for file in STATIC.iterdir():
        text = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(
            r"https?:|src=[\"']?//|url\(|@import|<style|style=|<script(?! type=\"module\" src)", text
        ), file.name


def test_the_script_finds_every_element_that_it_names() -> None:
    script, markup = (STATIC.joinpath(name).read_text("utf-8") for name in ("app.js", "index.html"))
    named = set(re.findall(r'element\("([a-z-]+)"\)', script))
    assert len(named) > 10
    assert named <= set(re.findall(r'id="([a-z-]+)"', markup))


@pytest.mark.parametrize("path", ["/", "/result.json", "/healthz", "/absent"])
def test_security_headers(idle_page: WebPage, path: str) -> None:
    headers = get(idle_page, path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:9", "[::1]:8000", "LOCALHOST"])
def test_names_of_this_machine_are_answered(idle_page: WebPage, host: str) -> None:
    assert get(idle_page, "/", host=host).status == 200


@pytest.mark.parametrize("host", ["example.com", "localhost.example.com", "192.168.1.5:8000", "", "[::1", "a b"])
def test_names_of_other_machines_are_refused(idle_page: WebPage, host: str) -> None:
    assert get(idle_page, "/healthz", host=host).status == 400


def test_a_refusal_says_what_to_do(idle_page: WebPage) -> None:
    answer = get(idle_page, "/", host="example.com")
    assert b"answers to localhost and 127.0.0.1 only; serve it with --serve 0.0.0.0" in answer.body
    assert answer.headers["cache-control"] == "no-store"


def test_a_page_for_every_network_answers_to_any_name(make_result: MakeResult) -> None:
    with closing(WebPage("0.0.0.0", 0)) as page:
        port = urlsplit(page.url).port
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/healthz", headers={"Host": "raspberrypi.local"})
        assert connection.getresponse().status == 200
        connection.close()


@pytest.mark.parametrize("path", ["/frame.jpg", "/seen.png", "/result.json"])
def test_before_the_first_result(idle_page: WebPage, path: str) -> None:
    answer = get(idle_page, path)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert b"No frame has come yet" in answer.body


def test_newest_result(page: WebPage, make_result: MakeResult) -> None:
    before = time.time()
    results = [make_result(index) for index in range(3)]
    for result in results:
        page.write(result)
    answer = get_until(page, "/result.json", lambda answer: answer.status == 200 and answer.json()["frame"] == 2).json()
    expected = results[2].as_dict()
    assert {name: answer[name] for name in expected} == expected
    assert answer["serial"] == 3
    shown_at = answer["shown_at"]
    assert isinstance(shown_at, float)
    assert before - 0.01 <= shown_at <= time.time() + 0.01


def test_newest_picture(page: WebPage, make_result: MakeResult) -> None:
    flat = np.full((90, 120, 3), (40, 120, 200), np.uint8)
    page.write(make_result(picture=flat, label=None))
    answer = get_until(page, "/frame.jpg", lambda answer: answer.status == 200)
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-serial"] == "1"
    assert answer.picture().shape == flat.shape
    assert np.abs(answer.picture().astype(int) - flat).max() < 8


def test_the_outline_is_drawn_unless_told(page: WebPage, make_result: MakeResult) -> None:
    flat = np.full((240, 320, 3), 128, np.uint8)
    page.write(make_result(picture=flat))
    outlined = get_until(page, "/frame.jpg", lambda answer: answer.status == 200).picture()
    plain = get(page, "/frame.jpg?plain=1").picture()
    assert np.ptp(plain) < 8
    assert np.ptp(outlined) > 60


def test_large_frames_are_shrunk(page: WebPage, make_result: MakeResult) -> None:
    page.write(make_result(picture=np.zeros((1080, 3840, 3), np.uint8)))
    assert get_until(page, "/frame.jpg", lambda answer: answer.status == 200).picture().shape == (360, 1280, 3)


def test_smallest_frame(page: WebPage, make_result: MakeResult) -> None:
    page.write(make_result(picture=np.zeros((1, 1, 3), np.uint8), label=None))
    assert get_until(page, "/frame.jpg", lambda answer: answer.status == 200).picture().shape == (1, 1, 3)


def test_what_the_model_sees(page: WebPage, make_result: MakeResult) -> None:
    result = make_result()
    page.write(result)
    answer = get_until(page, "/seen.png", lambda answer: answer.status == 200)
    assert answer.headers["content-type"] == "image/png"
    assert np.array_equal(answer.picture(), result.garment.image)


def test_the_next_picture_is_waited_for(page: WebPage, make_result: MakeResult) -> None:
    page.write(make_result())
    first = get_until(page, "/frame.jpg?after=0", lambda answer: answer.status == 200)
    timer = threading.Timer(0.3, page.write, (make_result(1),))
    timer.start()
    second = get(page, f"/frame.jpg?after={first.headers['x-serial']}")
    timer.join()
    assert (second.status, second.headers["x-serial"]) == (200, "2")


def test_waiting_for_a_picture_ends(page: WebPage, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_app, "LONG_POLL", 0.05)
    assert get(page, "/frame.jpg?after=0").status == 204


@pytest.mark.parametrize("after", ["x", "-1", "", "1.5", "%C2%B2"])
def test_bad_serial(idle_page: WebPage, after: str) -> None:
    assert get(idle_page, f"/frame.jpg?after={after}").status == 400


def test_health_from_start_to_stall(page: WebPage, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = get(page, "/healthz")
    assert (answer.status, answer.json()["state"]) == (200, "starting")
    page.write(make_result())
    answer = get_until(page, "/healthz", lambda answer: answer.json()["state"] == "running")
    assert answer.status == 200
    assert answer.json()["viewers"] == 0
    monkeypatch.setattr(web_app, "STALLED_AFTER", 0.0)
    answer = get(page, "/healthz")
    assert (answer.status, answer.json()["state"]) == (200, "stalled")
    monkeypatch.setattr(web_app, "UNHEALTHY_AFTER", 0.0)
    assert get(page, "/healthz").status == 503


def test_unknown_paths_and_methods(idle_page: WebPage) -> None:
    assert get(idle_page, "/absent").status == 404
    assert get(idle_page, "/../pyproject.toml").status == 404
    assert get(idle_page, "/", method="POST").status == 405


@pytest.mark.parametrize("path", ["/stream.mjpg", "/events", "/", "/healthz"])
def test_head_ends(page: WebPage, path: str) -> None:
    answer = get(page, path, method="HEAD")
    assert (answer.status, answer.body) == (200, b"")


def test_port_in_use(idle_page: WebPage) -> None:
    with pytest.raises(SinkError, match=f"port {urlsplit(idle_page.url).port} is in use"):
        WebPage("127.0.0.1", urlsplit(idle_page.url).port or 0)


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"The browser page needs .*pip install 'edge-fmnist\[web\]'"):
        WebPage(port=0)


def test_importing_needs_no_extra() -> None:
    script = "import sys, edge_fmnist.sinks.web; sys.exit(bool({'starlette', 'uvicorn', 'anyio'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_nothing_is_printed(page: WebPage, make_result: MakeResult, capfd: pytest.CaptureFixture[str]) -> None:
    page.write(make_result())
    get(page, "/")
    get(page, "/absent")
    page.close()
    assert capfd.readouterr() == ("", "")
