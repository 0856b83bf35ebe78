"""The browser page: responses, headers, and static files."""

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
from typing import Any, NamedTuple
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

    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.body)
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
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(page.url).port, timeout=20)
    try:
        connection.request(method, path, headers={} if host is None else {"Host": host})
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())
    finally:
        connection.close()


def get_result(page: WebPage, path: str, serial: int = 1) -> Answer:
    """Return the answer once the result with this number is published, a moment after it was written."""
    assert get(page, f"/frame.jpg?after={serial - 1}").headers["x-serial"] == str(serial)
    return get(page, path)


@pytest.mark.parametrize(
    ("path", "name", "media_type"),
    [
        ("/app.js", "app.js", "text/javascript; charset=utf-8"),
        ("/display.js", "display.js", "text/javascript; charset=utf-8"),
        ("/style.css", "style.css", "text/css; charset=utf-8"),
        ("/icon.svg", "icon.svg", "image/svg+xml"),
    ],
)
def test_static_files(idle_page: WebPage, path: str, name: str, media_type: str) -> None:
    answer = get(idle_page, path)
    assert (answer.status, answer.headers["content-type"]) == (200, media_type)
    assert answer.body == STATIC.joinpath(name).read_bytes()


def test_the_page_has_no_external_address_and_nothing_inline() -> None:
    for file in STATIC.iterdir():
        text = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(
            r"https?:|src=[\"']?//|url\(|@import|<style|style=|<script(?! type=\"module\" src)", text
        ), file.name


def test_the_script_finds_every_element_that_it_names(idle_page: WebPage) -> None:
    scripts = "".join(STATIC.joinpath(name).read_text("utf-8") for name in ("app.js", "display.js"))
    named = set(re.findall(r'element\("([a-z-]+)"\)', scripts))
    answer = get(idle_page, "/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert len(named) > 10
    assert named <= set(re.findall(r'id="([a-z-]+)"', answer.body.decode()))


@pytest.mark.parametrize("path", ["/", "/result.json", "/metrics", "/absent"])
def test_security_headers(idle_page: WebPage, path: str) -> None:
    headers = get(idle_page, path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert not {"access-control-allow-origin", "server"} & set(headers)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9", "[::1]:8000", "LOCALHOST"])
def test_names_of_this_machine_are_accepted(idle_page: WebPage, host: str) -> None:
    assert get(idle_page, "/", host=host).status == 200


@pytest.mark.parametrize("host", ["example.com", "localhost.example.com", "192.168.1.5:8000", "", "[::1", "a b"])
def test_names_of_other_machines_are_rejected(idle_page: WebPage, host: str) -> None:
    answer = get(idle_page, "/metrics", host=host)
    assert answer.status == 400
    assert b"Use localhost on this machine; for other machines start it with --serve 0.0.0.0" in answer.body
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/frame.jpg", "/seen.png", "/result.json"])
def test_before_the_first_result(idle_page: WebPage, path: str) -> None:
    answer = get(idle_page, path)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert b"No frame received yet" in answer.body


def test_latest_result(page: WebPage, make_result: MakeResult) -> None:
    before = time.time()
    result = make_result()
    page.write(result)
    answer = get_result(page, "/result.json").json()
    expected = result.as_dict()
    assert {name: answer[name] for name in expected} == expected
    assert answer["serial"] == 1
    assert before - 0.01 <= answer["shown_at"] <= time.time() + 0.01


def test_names_and_labels_are_shown_escaped(page: WebPage, make_result: MakeResult) -> None:
    result = make_result(label="x\x1b[31m")
    name = "caf\udce9\n.jpg"
    page.write(make_result(label="x\x1b[31m", frame=type(result.frame)(result.frame.picture, 0, 100.0, name)))
    answer = get_result(page, "/result.json").json()
    assert (answer["label"], answer["name"]) == (r"x\x1b[31m", r"caf\udce9\n.jpg")


def test_latest_frame(page: WebPage, make_result: MakeResult) -> None:
    flat = np.full((240, 320, 3), (40, 120, 200), np.uint8)
    page.write(make_result(picture=flat))
    outlined = get_result(page, "/frame.jpg")
    plain = get(page, "/frame.jpg?plain=1").picture()
    assert (outlined.headers["content-type"], outlined.headers["x-serial"]) == ("image/jpeg", "1")
    assert np.abs(plain.astype(int) - flat).max() < 8
    assert outlined.picture().shape == flat.shape
    assert np.abs(outlined.picture().astype(int) - flat).max() > 60


@pytest.mark.parametrize(("size", "expected"), [((1080, 3840, 3), (360, 1280, 3)), ((1, 1, 3), (1, 1, 3))])
def test_frames_of_unusual_size(
    page: WebPage, make_result: MakeResult, size: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    page.write(make_result(picture=np.zeros(size, np.uint8), label=None))
    assert get_result(page, "/frame.jpg").picture().shape == expected


def test_model_input(page: WebPage, make_result: MakeResult) -> None:
    result = make_result()
    page.write(result)
    answer = get_result(page, "/seen.png")
    assert answer.headers["content-type"] == "image/png"
    assert np.array_equal(answer.picture(), result.garment.image)


def test_the_next_frame_is_awaited(page: WebPage, make_result: MakeResult) -> None:
    page.write(make_result())
    get_result(page, "/frame.jpg")
    timer = threading.Timer(0.1, page.write, (make_result(1),))
    timer.start()
    assert get(page, "/frame.jpg?after=1").headers["x-serial"] == "2"
    timer.join()


def test_waiting_for_a_frame_ends(page: WebPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_app, "LONG_POLL", 0.05)
    assert get(page, "/frame.jpg?after=0").status == 204


@pytest.mark.parametrize("after", ["x", "-1", "", "1.5", "%C2%B2", "9" * 6000, "%00"])
def test_bad_serial(idle_page: WebPage, after: str) -> None:
    assert get(idle_page, f"/frame.jpg?after={after}").status == 400


@pytest.mark.parametrize("plain", ["", "2", "yes", "1" * 6000, "%00"])
def test_bad_choice_of_the_outline(idle_page: WebPage, plain: str) -> None:
    assert get(idle_page, f"/stream.mjpg?plain={plain}").status == 400


def test_health_from_start_to_stall(page: WebPage, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch) -> None:
    def health() -> tuple[int, str]:
        answer = get(page, "/healthz")
        return answer.status, answer.json()["state"]

    assert health() == (200, "starting")
    page.write(make_result())
    get_result(page, "/healthz")
    assert health() == (200, "running")
    monkeypatch.setattr(web_app, "STALLED_AFTER", 0.0)
    assert health() == (200, "stalled")
    monkeypatch.setattr(web_app, "UNHEALTHY_AFTER", 0.0)
    assert health() == (503, "stalled")


def test_unknown_paths_and_methods(idle_page: WebPage) -> None:
    assert get(idle_page, "/absent").status == 404
    assert get(idle_page, "/../pyproject.toml").status == 404
    assert get(idle_page, "/metrics", method="POST").status == 405


@pytest.mark.parametrize("path", ["/stream.mjpg", "/events", "/", "/metrics"])
def test_head_requests_end(idle_page: WebPage, path: str) -> None:
    answer = get(idle_page, path, method="HEAD")
    assert (answer.status, answer.body) == (200, b"")


def test_port_in_use(idle_page: WebPage) -> None:
    with pytest.raises(SinkError, match=f"port {urlsplit(idle_page.url).port} is in use"):
        WebPage("127.0.0.1", urlsplit(idle_page.url).port or 0)


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"The browser page needs .*pip install 'edge-fmnist\[web\]'"):
        WebPage(port=0)


def test_importing_needs_no_extra() -> None:
    extra = "{'starlette', 'uvicorn', 'anyio', 'prometheus_client', 'paho'}"
    script = f"import sys, edge_fmnist.sinks.web, edge_fmnist.sinks.mqtt; sys.exit(bool({extra} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
