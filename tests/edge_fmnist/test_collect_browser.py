"""The page of ``--collect`` in headless Chromium: collect two new classes, teach them, swap the model."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from chromium import Tab, browser_tab, find_browser

from edge_fmnist import LABELS, Classifier, LiveLoop, live
from edge_fmnist.sources.base import Source
from edge_fmnist.sources.demo import CYCLE, Scene

PHOTOGRAPHS = 10
# On a machine that has nothing else to do it takes three; the process gives way to others.
TEACHING_SECONDS = 240
SIZES = ((390, 844), (1280, 900))
# Keeps the screenshots, to be looked at.
SHOTS = os.environ.get("EDGE_FMNIST_SHOTS")


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
def tab() -> Iterator[Tab]:
    browser = find_browser()
    if browser is None:
        reason = "no browser is installed"
        pytest.fail(reason) if os.environ.get("EDGE_FMNIST_REQUIRE_BROWSER") == "1" else pytest.skip(reason)
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
            corner = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)[2, 2]
            assert (corner.mean() < 64) is dark
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
    tab.until("document.querySelector('#strip li')")
    tab.run("document.querySelector('#strip li button:nth-child(2)').click()")
    tab.until("document.getElementById('said').textContent.startsWith('Stored as ')")
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
    assert "by cross-validation" in tab.run("document.getElementById('verdict').textContent")
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
    assert tab.problems == []
