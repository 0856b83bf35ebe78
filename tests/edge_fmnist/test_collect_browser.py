"""The page of ``--collect`` in headless Chromium: collect two new classes, teach them, swap the model.

Chromium is driven through a pipe by the Chrome DevTools Protocol, which needs no driver and no library.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_fmnist import LABELS, Classifier, LiveLoop, live
from edge_fmnist.sources.base import Source
from edge_fmnist.sources.demo import CYCLE, Scene
from edge_fmnist_export.web.browser import BROWSERS

PHOTOGRAPHS = 10
# On a machine that has nothing else to do it takes three; the process gives way to others.
TEACHING_SECONDS = 240
SIZES = ((390, 844), (1280, 900))
# Keeps the screenshots, to be looked at.
SHOTS = os.environ.get("EDGE_FMNIST_SHOTS")
SECONDS = 60


class Tab:
    """A page in the browser.

    Attributes:
        problems: errors that the page has logged.
    """

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive = send, receive
        self._buffer, self._number, self._session = b"", 0, ""
        self.problems: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def open(self, url: str, *, width: int, height: int, dark: bool = False, phone: bool = False) -> None:
        """Open a URL in a window of this size."""
        self.resize(width, height, dark=dark, phone=phone)
        self._call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def resize(self, width: int, height: int, *, dark: bool = False, phone: bool = False) -> None:
        """Set the size of the window and the colour scheme."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])

    def run(self, script: str) -> Any:
        """Return the value of an expression."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def until(self, script: str, seconds: float = SECONDS) -> Any:
        """Return the value of an expression once it is true."""
        end = time.monotonic() + seconds
        while not (value := self.run(script)):
            label = self.run("document.getElementById('label')?.textContent")
            assert time.monotonic() < end, f"{script}: not within {seconds} s; the label is {label}; {self.problems}"
            time.sleep(0.05)
        return value

    def press(self, text: str) -> None:
        """Press the keys of a text, one after another."""
        for character in text:
            codes = {" ": "Space", "\r": "Enter"}
            code = codes.get(character, f"Key{character.upper()}")
            key = {"code": code, "key": "Enter" if character == "\r" else character}
            self._call("Input.dispatchKeyEvent", type="keyDown", text=character, **key)
            self._call("Input.dispatchKeyEvent", type="keyUp", **key)

    def screenshot(self) -> bytes:
        """Return the whole page as PNG."""
        answer = self._call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            if answer.get("method") == "Runtime.exceptionThrown":
                self.problems.append(str(answer["params"]["exceptionDetails"]))
            if answer.get("method") == "Log.entryAdded" and answer["params"]["entry"]["level"] == "error":
                self.problems.append(str(answer["params"]["entry"]))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            received = os.read(self._receive, 1 << 16)
            assert received, "the browser has ended"
            self._buffer += received
        message, _, self._buffer = self._buffer.partition(b"\0")
        value: dict[str, Any] = json.loads(message)
        return value


@contextmanager
def browser_tab(browser: str) -> Iterator[Tab]:
    """Start a browser and yield a tab."""
    # Chromium reads commands from file descriptor 3 and answers on 4.
    command_read, command_write = os.pipe()
    answer_read, answer_write = os.pipe()
    with tempfile.TemporaryDirectory(prefix="edge-fmnist-", ignore_cleanup_errors=True) as profile:
        # No sandbox: Chromium refuses it in containers, and the page is our own.
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe"]
        start = f'exec "$0" "$@" 3<&{command_read} 4>&{answer_write}'
        with subprocess.Popen(
            ["bash", "-c", start, browser, *flags, f"--user-data-dir={profile}"],
            pass_fds=(command_read, answer_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            os.close(command_read)
            os.close(answer_write)
            try:
                yield Tab(command_write, answer_read)
            finally:
                process.terminate()
                os.close(command_write)
                os.close(answer_read)


class Table(Source):
    """A camera over a table with one of the demo scene's garments on it; ``garment`` is its number."""

    def __init__(self) -> None:
        self.name, self.realtime, self.fps = "table", True, None
        self.garment = 0
        self._scene, self._number = Scene(640, 480), 0
        self._closed = threading.Event()

    def open(self) -> None:
        self._closed.clear()

    def read(self) -> np.ndarray | None:
        self._closed.wait(1 / 30)
        self._number += 1
        return self._scene.draw(self.garment * CYCLE + 1 + self._number / 30 % 4)

    def close(self) -> None:
        self._closed.set()


@pytest.fixture
def tab(need: Callable[..., str]) -> Iterator[Tab]:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None) or need("chromium", "chromium", "BROWSER")
    with browser_tab(browser) as tab:
        yield tab


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def served(table: Table, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[tuple[LiveLoop, str]]:
    caplog.set_level("INFO", "edge_fmnist")
    loop = live(table, serve="127.0.0.1:0", collect=tmp_path / "photos")
    loop.open()
    thread = threading.Thread(target=lambda: [None for _ in loop])
    thread.start()
    yield loop, caplog.messages[-1].removeprefix("Serving at ")
    loop.stop()
    thread.join()


def look(tab: Tab, name: str) -> None:
    """Check at each width, light and dark, that nothing is cut off and everything can be tapped."""
    for width, height in SIZES:
        for dark in (False, True):
            tab.resize(width, height, dark=dark, phone=width < 500)
            assert tab.run("document.documentElement.scrollWidth") <= width
            assert tab.run(
                "[...document.querySelectorAll('.collect button')].filter((b) => b.offsetParent)"
                # The counts lie on the corners of their buttons.
                ".every((b) => b.offsetHeight >= 44 && b.scrollWidth <= b.clientWidth + 8)"
            )
            picture = tab.screenshot()
            pixels = np.asarray(cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR))
            assert (pixels[2, 2].mean() < 64) == dark
            if SHOTS:
                Path(SHOTS, f"{name}-{width}-{'dark' if dark else 'light'}.png").write_bytes(picture)


def button(name: str) -> str:
    return f"document.querySelector('#classes [data-key={json.dumps(name)}]')"


def collect(tab: Tab, name: str) -> None:
    """Store photographs of a new class: the first by its name, the others by its button."""
    tab.run("document.getElementById('new-name').focus()")
    tab.press(f"{name}\r")
    tab.until(f"{button(name)}?.textContent === {json.dumps(f'{name}1')}")
    for count in range(2, PHOTOGRAPHS + 1):
        # The next frame, since a copy would not be taught.
        serial = tab.run("fetch('frame.jpg').then((answer) => answer.headers.get('X-Serial'))")
        tab.run(f"{button(name)}.click()")
        tab.until(f"{button(name)}.textContent === {json.dumps(f'{name}{count}')}")
        tab.run(f"fetch('frame.jpg?after={serial}').then((answer) => answer.status)")


@pytest.mark.slow
def test_a_page_opened_during_a_stall_says_since_when(tab: Tab, page: Any, make_result: Callable[..., Any]) -> None:
    page.write(make_result())
    assert page.ask("/frame.jpg?after=0").status == 200
    latest = page._latest
    latest.published = replace(latest.published, monotonic=time.monotonic() - 60)
    tab.open(page.url, width=390, height=844, phone=True)
    tab.until("document.body.dataset.state === 'stalled'")
    assert tab.run("document.getElementById('notice').textContent").startswith("No new frame for 6")
    assert tab.run("getComputedStyle(document.querySelector('.prediction')).filter") == "grayscale(1)"
    page.write(make_result(1))
    tab.until("document.body.dataset.state === 'live'")


@pytest.mark.slow
def test_two_new_classes_are_collected_taught_and_used(
    tab: Tab, served: tuple[LiveLoop, str], table: Table, tmp_path: Path
) -> None:
    loop, url = served
    tab.open(url, width=390, height=844, phone=True)
    tab.until("document.body.dataset.state === 'live' && document.getElementById('classes').children.length === 11")
    assert tab.run("document.getElementById('privacy').textContent").startswith(
        "Photographs that you choose are stored"
    )
    assert tab.run("document.getElementById('teach').disabled")
    collect(tab, "my hat")
    look(tab, "collect")
    # One answer is corrected with one tap; the tap is taken back.
    tab.until("document.querySelectorAll('#strip li').length")
    tab.run("document.querySelector('#strip li button:nth-child(2)').click()")
    # What was said before is "Stored as my hat: 10".
    tab.until("document.getElementById('said').textContent.endsWith(': 1')")
    tab.run("document.getElementById('undo').click()")
    tab.until("document.getElementById('said').textContent.startsWith('Removed from ')")

    table.garment = 1
    tab.until("document.getElementById('label').textContent === 'T-shirt/top'")
    collect(tab, "swim shorts")
    tab.until("!document.getElementById('teach').disabled")
    tab.run("document.getElementById('add').click(); document.getElementById('teach').click()")
    before = loop.stats.results
    tab.until("!document.getElementById('use').hidden", TEACHING_SECONDS)
    assert loop.stats.results > before
    look(tab, "taught")
    notice, verdict = (tab.run(f"document.getElementById('report').children[{place}].textContent") for place in (0, 1))
    assert notice.startswith("camera was itself trained with photographs")
    assert "by cross-validation" in verdict
    assert loop.labels == LABELS
    tab.run("document.getElementById('use').click()")
    tab.until("document.getElementById('label').textContent === 'swim shorts'")
    table.garment = 0
    tab.until("document.getElementById('label').textContent === 'my hat'")
    look(tab, "used")
    assert Classifier.load(tmp_path / "photos" / "taught.tflite").labels == ("my hat", "swim shorts")
    tab.run("document.getElementById('restore').click()")
    tab.until("document.getElementById('label').textContent === 'Trouser'")
    assert loop.labels == LABELS
    # A recent frame may be gone before the page asks for its picture, as when the model changes.
    assert [problem for problem in tab.problems if "/collect/r-" not in problem] == []
