"""The browser page: responses, headers, and static files."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.resources import files
from typing import Any

import numpy as np
import pytest

from edge_fmnist import extras
from edge_fmnist.errors import MissingExtraError
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.web import WebPage
from edge_fmnist.sinks.web import app as web_app

MakeResult = Callable[..., LiveResult]
STATIC = files("edge_fmnist.sinks.web").joinpath("static")


@pytest.fixture(scope="module")
def idle_page(page_class: Any) -> Iterator[Any]:
    """One page for the tests that write no result."""
    with closing(page_class(port=0)) as page:
        yield page


def get_result(page: Any, path: str, serial: int = 1) -> Any:
    """Return the answer once the result with this number is published, a moment after it was written."""
    assert page.ask(f"/frame.jpg?after={serial - 1}").headers["x-serial"] == str(serial)
    return page.ask(path)


@pytest.mark.parametrize(
    ("path", "name", "media_type"),
    [
        ("/app.js", "app.js", "text/javascript; charset=utf-8"),
        ("/display.js", "display.js", "text/javascript; charset=utf-8"),
        ("/style.css", "style.css", "text/css; charset=utf-8"),
        ("/icon.svg", "icon.svg", "image/svg+xml"),
    ],
)
def test_static_files(idle_page: Any, path: str, name: str, media_type: str) -> None:
    answer = idle_page.ask(path)
    assert (answer.status, answer.headers["content-type"]) == (200, media_type)
    assert answer.body == STATIC.joinpath(name).read_bytes()


def test_the_page_has_no_external_address_and_nothing_inline() -> None:
    for file in STATIC.iterdir():
        text = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(
            r"https?:|src=[\"']?//|url\(|@import|<style|style=|<script(?! type=\"module\" src)", text
        ), file.name


def test_the_script_finds_every_element_that_it_names(idle_page: Any) -> None:
    scripts = "".join(STATIC.joinpath(name).read_text("utf-8") for name in ("app.js", "display.js"))
    named = set(re.findall(r'element\("([a-z-]+)"\)', scripts))
    answer = idle_page.ask("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert len(named) > 10
    assert named <= set(re.findall(r'id="([a-z-]+)"', answer.body.decode()))


@pytest.mark.parametrize("path", ["/", "/result.json", "/metrics", "/absent"])
def test_security_headers(idle_page: Any, path: str) -> None:
    headers = idle_page.ask(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"
    assert not {"access-control-allow-origin", "server"} & {name.lower() for name in headers}


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9", "[::1]:8000", "LOCALHOST"])
def test_names_of_this_machine_are_accepted(idle_page: Any, host: str) -> None:
    assert idle_page.ask("/", Host=host).status == 200


@pytest.mark.parametrize("host", ["example.com", "localhost.example.com", "192.168.1.5:8000", "", "[::1", "a b"])
def test_names_of_other_machines_are_rejected(idle_page: Any, host: str) -> None:
    answer = idle_page.ask("/metrics", Host=host)
    assert answer.status == 400
    assert b"Use localhost on this machine; for other machines start it with --serve 0.0.0.0" in answer.body
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/frame.jpg", "/seen.png", "/result.json"])
def test_before_the_first_result(idle_page: Any, path: str) -> None:
    answer = idle_page.ask(path)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert b"No frame received yet" in answer.body


def test_latest_result(page: Any, make_result: MakeResult) -> None:
    before = time.time()
    result = make_result()
    page.write(result)
    answer = get_result(page, "/result.json").json()
    expected = result.as_dict()
    assert {name: answer[name] for name in expected} == expected
    assert answer["serial"] == 1
    assert before - 0.01 <= answer["shown_at"] <= time.time() + 0.01


def test_names_and_labels_are_shown_escaped(page: Any, make_result: MakeResult) -> None:
    result = make_result(label="x\x1b[31m")
    name = "caf\udce9\n.jpg"
    page.write(make_result(label="x\x1b[31m", frame=type(result.frame)(result.frame.picture, 0, 100.0, name)))
    answer = get_result(page, "/result.json").json()
    assert (answer["label"], answer["name"]) == (r"x\x1b[31m", r"caf\udce9\n.jpg")


def test_latest_frame(page: Any, make_result: MakeResult) -> None:
    flat = np.full((240, 320, 3), (40, 120, 200), np.uint8)
    page.write(make_result(picture=flat))
    outlined = get_result(page, "/frame.jpg")
    plain = page.ask("/frame.jpg?plain=1").picture()
    assert (outlined.headers["content-type"], outlined.headers["x-serial"]) == ("image/jpeg", "1")
    assert np.abs(plain.astype(int) - flat).max() < 8
    assert outlined.picture().shape == flat.shape
    assert np.abs(outlined.picture().astype(int) - flat).max() > 60


@pytest.mark.parametrize(("size", "expected"), [((1080, 3840, 3), (360, 1280, 3)), ((1, 1, 3), (1, 1, 3))])
def test_frames_of_unusual_size(
    page: Any, make_result: MakeResult, size: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    page.write(make_result(picture=np.zeros(size, np.uint8), label=None))
    assert get_result(page, "/frame.jpg").picture().shape == expected


def test_model_input(page: Any, make_result: MakeResult) -> None:
    result = make_result()
    page.write(result)
    answer = get_result(page, "/seen.png")
    assert answer.headers["content-type"] == "image/png"
    assert np.array_equal(answer.picture(), result.garment.image)


def test_the_next_frame_is_awaited(page: Any, make_result: MakeResult) -> None:
    page.write(make_result())
    get_result(page, "/frame.jpg")
    timer = threading.Timer(0.1, page.write, (make_result(1),))
    timer.start()
    assert page.ask("/frame.jpg?after=1").headers["x-serial"] == "2"
    timer.join()


def test_waiting_for_a_frame_ends(page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_app, "LONG_POLL", 0.05)
    assert page.ask("/frame.jpg?after=0").status == 204


@pytest.mark.parametrize("after", ["x", "-1", "", "1.5", "%C2%B2", "9" * 6000, "%00"])
def test_bad_serial(idle_page: Any, after: str) -> None:
    assert idle_page.ask(f"/frame.jpg?after={after}").status == 400


@pytest.mark.parametrize("plain", ["", "2", "yes", "1" * 6000, "%00"])
def test_bad_choice_of_the_outline(idle_page: Any, plain: str) -> None:
    assert idle_page.ask(f"/stream.mjpg?plain={plain}").status == 400


def test_health_from_start_to_stall(page: Any, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch) -> None:
    def health() -> tuple[int, str]:
        answer = page.ask("/healthz")
        return answer.status, answer.json()["state"]

    assert health() == (200, "starting")
    page.write(make_result())
    get_result(page, "/healthz")
    assert health() == (200, "running")
    monkeypatch.setattr(web_app, "STALLED_AFTER", 0.0)
    assert health() == (200, "stalled")
    monkeypatch.setattr(web_app, "UNHEALTHY_AFTER", 0.0)
    assert health() == (503, "stalled")


def test_the_age_of_the_latest_result_is_in_milliseconds(page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page._latest, "age", lambda: 1.5)
    assert page.ask("/healthz").json()["age"] == 1500


def test_a_slow_source_is_healthy(page: Any, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("STALLED_AFTER", "UNHEALTHY_AFTER"):
        monkeypatch.setattr(web_app, limit, 0.0)
    page.write(make_result(1, fps=0.02))
    get_result(page, "/result.json")
    answer = page.ask("/healthz")
    assert (answer.status, answer.json()["state"]) == (200, "running")


def test_unknown_paths_and_methods(idle_page: Any) -> None:
    assert idle_page.ask("/absent").status == 404
    # No redirection, which would leave out the path below which a proxy serves the page.
    assert idle_page.ask("/result.json/").status == 404
    assert idle_page.ask("/../pyproject.toml").status == 404
    assert idle_page.ask("/metrics", "POST").status == 405


@pytest.mark.parametrize("path", ["/stream.mjpg", "/events", "/", "/metrics"])
def test_head_requests_end(idle_page: Any, path: str) -> None:
    answer = idle_page.ask(path, "HEAD")
    assert (answer.status, answer.body) == (200, b"")


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"The browser page needs .*pip install 'edge-fmnist\[web\]'"):
        WebPage(port=0)
