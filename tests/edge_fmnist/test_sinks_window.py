"""The window, with OpenCV's window functions replaced, and the errors without a display."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from edge_fmnist.errors import SinkClosedError, SinkError
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks import window
from edge_fmnist.sinks.annotate import annotate
from edge_fmnist.sinks.window import Window

MakeResult = Callable[..., LiveResult]


class Screen:
    """What OpenCV's window functions do, without a display."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.shown: list[np.ndarray] = []
        self.key = -1
        self.visible: float | None = 1.0
        self.broken = ""

    def function(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.calls.append((name, arguments))
            if name == self.broken:
                raise cv2.error(f"{name} failed")
            if name == "imshow":
                self.shown.append(arguments[1])
            return {"waitKey": self.key, "getWindowProperty": self.visible}.get(name)

        return call


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    screen = Screen()
    for name in ("namedWindow", "resizeWindow", "imshow", "waitKey", "getWindowProperty", "destroyWindow"):
        monkeypatch.setattr(cv2, name, screen.function(name))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, b"", b""))
    monkeypatch.setenv("DISPLAY", ":0")
    return screen


def test_shows_the_annotated_frames(screen: Screen, make_result: MakeResult) -> None:
    results = [make_result(index, label) for index, label in enumerate(("Coat", None))]
    with Window("title") as sink:
        for result in results:
            sink.write(result)
    assert all((shown == annotate(result)).all() for shown, result in zip(screen.shown, results, strict=True))
    assert [arguments for name, arguments in screen.calls if name == "resizeWindow"] == [("title", 640, 480)]
    assert [arguments for name, arguments in screen.calls if name == "destroyWindow"] == [("title",)]


@pytest.mark.parametrize("key", [ord("q"), ord("Q"), 27, 0x100000 + ord("q")])
def test_a_key_closes_it(screen: Screen, make_result: MakeResult, key: int) -> None:
    screen.key = key
    with Window() as sink, pytest.raises(SinkClosedError, match="the window was closed"):
        sink.write(make_result())


@pytest.mark.parametrize("broken", ["", "getWindowProperty"])
def test_the_close_button_closes_it(screen: Screen, make_result: MakeResult, broken: str) -> None:
    screen.visible, screen.broken = 0.0, broken
    with Window() as sink, pytest.raises(SinkClosedError):
        sink.write(make_result())


def test_closing_a_window_that_is_gone(screen: Screen) -> None:
    screen.broken = "destroyWindow"
    sink = Window()
    sink.close()
    sink.close()
    assert [name for name, _ in screen.calls].count("destroyWindow") == 1


@pytest.mark.parametrize(
    ("size", "expected"), [((1920, 1080), (1280, 720)), ((1440, 1080), (960, 720)), ((480, 1440), (240, 720))]
)
def test_a_large_frame_gets_a_window_that_fits(
    screen: Screen, make_result: MakeResult, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    with Window("title") as sink:
        sink.write(make_result(size=size, label=None))
    assert ("resizeWindow", ("title", *expected)) in screen.calls


def test_a_window_that_opencv_cannot_open(screen: Screen) -> None:
    screen.broken = "namedWindow"
    with pytest.raises(SinkError, match=r"cannot open a window .*--serve"):
        Window()


def test_a_frame_that_opencv_cannot_show(screen: Screen, make_result: MakeResult) -> None:
    screen.broken = "imshow"
    with Window() as sink, pytest.raises(SinkError, match=r"cannot show the frame .*--serve"):
        sink.write(make_result())


@pytest.mark.skipif(sys.platform != "linux", reason="other systems need no variable for their display")
def test_no_display(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(SinkError, match=r"no display for a window .*--serve"):
        Window()
    assert screen.calls == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems need no variable for their display")
def test_a_display_that_is_not_there_ends_a_trial_process_and_not_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", "localhost:9999")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(SinkError, match=r"cannot open a window on this display \(.+\); use --serve"):
        Window()


def test_a_display_that_does_not_answer(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(window, "PROBE", "import time; time.sleep(60)")
    monkeypatch.setattr(window, "PROBE_SECONDS", 0.2)
    with pytest.raises(SinkError, match=r"the display did not respond .*--serve"):
        Window()
