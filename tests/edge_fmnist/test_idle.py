"""Idling: without motion the last result is repeated at a low rate, until something moves."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest

from edge_fmnist import LABELS, Classifier, LiveLoop, live
from edge_fmnist.errors import SourceError
from edge_fmnist.pipeline.observer import Observer, State
from edge_fmnist.pipeline.reader_thread import Retry
from edge_fmnist.sources.base import Source
from edge_fmnist.sources.demo import Scene
from edge_fmnist.vision.motion import MotionDetector

FPS = 50.0
SETTLE = 0.15


class Camera(Source):
    """Delivers what the test puts in front of it at its rate."""

    realtime = True
    fps: float | None = FPS

    def __init__(self) -> None:
        self.name = "camera"
        self.picture = np.full((48, 64, 3), 90, np.uint8)
        self.reads = 0
        self.lost = False
        self._closed = threading.Event()

    def open(self) -> None:
        self._closed.clear()

    def read(self) -> np.ndarray:
        if self._closed.wait(1 / FPS) or self.lost:
            self.lost = False
            raise SourceError("camera: unplugged")
        self.reads += 1
        return self.picture.copy()

    def close(self) -> None:
        self._closed.set()


class Recorder(Observer):
    """Keeps what it receives."""

    def __init__(self) -> None:
        self.states: list[State] = []
        self.messages: list[str] = []

    def turn(self, state: State) -> None:
        self.states.append(state)

    def lost(self, message: str) -> None:
        self.messages.append(message)

    back = lost


Make = Callable[..., tuple[LiveLoop, Any]]


@pytest.fixture
def make(
    monkeypatch: pytest.MonkeyPatch, grey_preprocessing: object, grey_classifier: Callable[..., Any]
) -> Iterator[Make]:
    """Return a function that makes a loop, which settles quickly, and its classifier; no thread may be left."""
    monkeypatch.setattr("edge_fmnist.pipeline.loop.MotionDetector", lambda: MotionDetector(settle=SETTLE))
    before = set(threading.enumerate())

    def build(source: Source, **settings: Any) -> tuple[LiveLoop, Any]:
        classifier = grey_classifier()
        settings = {"idle_fps": 5, "seconds": 20, "warn": lambda _: None, **settings}
        loop = LiveLoop(source, cast(Classifier, classifier), **settings)
        classifier.calls = 0
        return loop, classifier

    yield build
    assert set(threading.enumerate()) - before == set()


def test_a_still_scene_is_not_classified_again(make: Make) -> None:
    camera = Camera()
    loop, classifier = make(camera, idle_fps=2.5)
    repeated = []
    for result in loop:
        if result.stages.classify == 0:
            repeated.append((result, classifier.calls, camera.reads))
            if len(repeated) == 4:
                break
    (first, calls, reads), *_, (last, last_calls, last_reads) = repeated
    assert last_calls == calls
    # Three intervals of 0.4 s have 60 frames; a resting camera is read five times for each.
    assert last_reads - reads <= 30
    assert last.label == first.label == LABELS[0]
    assert last.stages.smooth == 0 < last.stages.preprocess
    assert last.prediction is first.prediction
    assert last.frame.captured - first.frame.captured >= 0.7
    assert 0 <= last.age < 500
    assert last.seen == last.frame.index + 1


def test_motion_wakes_it_and_it_stays_awake(make: Make) -> None:
    camera, recorder = Camera(), Recorder()
    loop, _ = make(camera, observer=recorder)
    classified: list[bool] | None = None
    for result in loop:
        if classified is not None:
            # Something moves in every frame from now on.
            camera.picture = np.full((48, 64, 3), result.frame.index * 30 % 200, np.uint8)
            classified.append(result.stages.classify > 0)
            if len(classified) == 20:
                break
        elif result.stages.classify == 0:
            classified = []
            camera.picture = np.full((48, 64, 3), 30, np.uint8)
    assert State.IDLE in recorder.states
    assert recorder.states[-1] is State.RUNNING
    assert classified is not None
    # A frame from before the motion, or one that was read twice, may be among them.
    assert sum(classified) > 15


def test_without_the_option_every_frame_is_classified(make: Make) -> None:
    loop, classifier = make(Camera(), idle_fps=None, frames=20)
    assert len(list(loop)) == classifier.calls == 20


def test_an_unusable_still_picture_is_not_repeated(make: Make) -> None:
    camera = Camera()
    camera.picture = np.full((48, 64, 3), 255, np.uint8)
    loop, _ = make(camera, seconds=0.5)
    assert list(loop) == []
    assert loop.stats.unusable > 5


def test_it_ends_quickly_while_it_rests(make: Make) -> None:
    loop, _ = make(Camera(), idle_fps=1)
    for result in loop:
        if result.stages.classify == 0:
            break
    started = time.perf_counter()
    loop.close()
    assert time.perf_counter() - started < 0.9


def test_a_lost_source_is_reported_and_its_next_frame_classified(make: Make) -> None:
    camera, recorder = Camera(), Recorder()
    loop, classifier = make(camera, observer=recorder, retry=Retry(first_delay=0.3, steady=0.1))
    calls = 0
    for result in loop:
        if not calls and result.stages.classify == 0:
            camera.lost, calls = True, classifier.calls
        if len(recorder.messages) == 2:
            break
    assert [message.partition(" ")[0] for message in recorder.messages] == ["the", "camera:"]
    assert classifier.calls > calls
    assert State.LOST in recorder.states


@pytest.mark.parametrize(("fps", "fewest"), [(None, 2), (1.5, 0)])
def test_silence_is_reported_unless_the_source_is_slow(make: Make, fps: float | None, fewest: int) -> None:
    class Silent(Camera):
        def read(self) -> np.ndarray:
            if self.reads == 3:
                self._closed.wait(0.5)
            return super().read()

    recorder, source = Recorder(), Silent()
    source.fps = fps
    loop, _ = make(source, frames=6, observer=recorder)
    list(loop)
    # About ten times a second.
    assert fewest <= recorder.states.count(State.WAITING) < 30 * fewest + 1


def test_the_maximum_rate_drops_frames_of_a_camera_and_none_of_a_file(make: Make) -> None:
    loop, _ = make(Camera(), idle_fps=None, max_fps=20, frames=6)
    started = time.perf_counter()
    results = list(loop)
    assert time.perf_counter() - started >= 5 / 20
    assert results[-1].dropped > 0

    class File(Camera):
        realtime = False

        def read(self) -> np.ndarray | None:  # type: ignore[override]
            return None if self.reads == 5 else super().read()

    loop, _ = make(File(), max_fps=20)
    started = time.perf_counter()
    assert len(list(loop)) == 5
    assert time.perf_counter() - started >= 4 / 20


# What a still scene costs.


class StillCamera(Source):
    """A camera of 30 fps in front of a garment that lies still; each read costs what drawing does."""

    name = "still"
    fps: float | None = 30.0

    def open(self) -> None:
        self._scene = Scene(640, 480)

    def read(self) -> np.ndarray:
        time.sleep(1 / 40)
        return self._scene.draw(3.0)

    def close(self) -> None:
        pass


@pytest.fixture
def still_video(tmp_path: Path, write_video: Callable[..., Path]) -> str:
    """Return a video of a minute of the same scene with a little noise, 30 frames per second."""
    still, rng = Scene(640, 480).draw(3.0), np.random.default_rng(0)
    noisy = [cv2.add(still, rng.integers(0, 4, still.shape, dtype=np.uint8)) for _ in range(10)]
    return str(write_video(tmp_path / "still.mp4", noisy * 180, "mp4v", 30))


def cpu_time(source: str | Source, idle_fps: float | None) -> float:
    """Return the CPU time per second of a source, once the loop idles, or at 30 results per second if it does not."""
    begun: tuple[float, float, int] | None = None
    loop = live(source, model="edge", realtime=True, idle_fps=idle_fps, seconds=55)
    for result in loop:
        if begun is None and (idle_fps is None or result.stages.classify == 0):
            begun = time.perf_counter(), time.process_time(), loop.stats.results
        if begun is not None and time.perf_counter() - begun[0] >= 2.5:
            break
    assert begun is not None
    spent = time.process_time() - begun[1]
    return spent / (time.perf_counter() - begun[0] if idle_fps else (loop.stats.results - begun[2]) / 30)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("kind", ["camera", "video"])
def test_a_still_scene_costs_a_fifth_at_most(kind: str, request: pytest.FixtureRequest) -> None:
    video = request.getfixturevalue("still_video") if kind == "video" else ""
    share = math.inf
    # Other work on the machine only ever adds to the share.
    for _ in range(3):
        idle, full = (cpu_time(video or StillCamera(), idle_fps) for idle_fps in (1.0, None))
        share = min(share, idle / full)
        if share <= 0.2:
            break
    assert share <= 0.2


def test_the_maximum_rate_is_kept_while_it_idles(make: Make) -> None:
    loop, _ = make(Camera(), idle_fps=20, max_fps=5)
    repeated = []
    for result in loop:
        if result.stages.classify == 0:
            repeated.append(time.perf_counter())
            if len(repeated) == 4:
                break
    assert repeated[-1] - repeated[0] > 3 / 5 - 0.1
