"""The loop while nothing moves: what it does not do, what it repeats, and that it wakes at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from edge_fmnist import LABELS, Classifier, Garment, LiveLoop
from edge_fmnist.errors import ImageError, SourceError, UsageError
from edge_fmnist.pipeline.observer import State, Watcher
from edge_fmnist.pipeline.reader_thread import Retry
from edge_fmnist.sources.base import Source
from edge_fmnist.sources.paced import PILED, PacedSource
from edge_fmnist.vision.detection import Box
from edge_fmnist.vision.motion import MotionDetector

FPS = 50.0


class Camera(Source):
    """Delivers at its rate what the test puts in front of it, and counts."""

    realtime = True

    def __init__(self, name: str = "camera") -> None:
        self.name = name
        self.fps = FPS
        self.picture = np.full((48, 64, 3), 90, np.uint8)
        self.reads = 0
        self.lost = False
        self._due = 0.0
        self._closed = threading.Event()

    def open(self) -> None:
        self._closed.clear()
        self._due = time.perf_counter()

    def read(self) -> np.ndarray:
        now = time.perf_counter()
        self._closed.wait(max(0.0, self._due - now))
        self._due = max(self._due, now) + 1 / FPS
        if self._closed.is_set() or self.lost:
            self.lost = False
            raise SourceError("camera: unplugged")
        self.reads += 1
        return self.picture.copy()

    def close(self) -> None:
        self._closed.set()


class CountingClassifier:
    """Answers with the class whose number is a tenth of the image's brightness."""

    labels = LABELS
    threshold = 0.5

    def __init__(self) -> None:
        self.calls = 0

    def predict(self, image: np.ndarray) -> Any:
        self.calls += 1
        scores = np.full(len(LABELS), 0.01, np.float32)
        scores[int(image[0, 0]) // 10 % 10] = 0.91
        return SimpleNamespace(label="", score=0.91, scores=scores, threshold=0.5)


class Told(Watcher):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.states: list[State] = []
        self.messages: list[str] = []

    def turn(self, state: State) -> None:
        self.states.append(state)

    def lost(self, message: str) -> None:
        self.messages.append(message)

    back = lost


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settle within a moment, and replace preprocessing; white is no picture."""

    def preprocess(picture: np.ndarray, previous: Garment | None = None) -> Garment:
        value = int(picture[0, 0, 0])
        if value == 255:
            raise ImageError("expected another picture")
        image = np.full((28, 28), value, np.uint8)
        return Garment(True, image, np.zeros((4, 4), np.uint8), Box(0, 0, 1, 1), 0.9, picture.shape[:2])

    monkeypatch.setattr("edge_fmnist.vision.preprocess.preprocess", preprocess)
    monkeypatch.setattr("edge_fmnist.pipeline.loop.MotionDetector", lambda: MotionDetector(settle=0.3))


Make = Callable[..., tuple[LiveLoop, CountingClassifier]]


@pytest.fixture
def make() -> Iterator[Make]:
    """Return a function that makes a loop and its classifier; no thread may be left."""
    before = set(threading.enumerate())

    def build(source: Source, **settings: Any) -> tuple[LiveLoop, CountingClassifier]:
        classifier = CountingClassifier()
        loop = LiveLoop(source, cast(Classifier, classifier), **{"idle_fps": 2, "warn": lambda _: None, **settings})
        classifier.calls = 0
        return loop, classifier

    yield build
    assert set(threading.enumerate()) - before == set()


def test_a_still_scene_is_not_classified_again(make: Make) -> None:
    camera = Camera()
    loop, classifier = make(camera, seconds=3.5)
    calls = reads = results = 0
    for result in loop:
        if not calls and loop.stats.seconds > 1:
            calls, reads, results = classifier.calls, camera.reads, loop.stats.results
        assert result.label == LABELS[9]
    assert classifier.calls == calls
    # A twentieth of the results, and a fifth of the reads: two a second, with what has piled up before each.
    assert 2 <= loop.stats.results - results <= 8
    assert camera.reads - reads <= 0.3 * 2.5 * FPS


def test_a_repeated_result_has_the_new_frame(make: Make) -> None:
    loop, _ = make(Camera(), seconds=2.2)
    results = list(loop)
    last, before = results[-1], results[-2]
    assert (last.stages.classify, last.stages.smooth) == (0, 0)
    assert last.stages.preprocess > 0
    assert last.prediction is before.prediction
    assert last.frame.index > before.frame.index
    assert last.frame.captured > before.frame.captured
    assert 0 <= last.age < 500
    assert last.seen == last.frame.index + 1
    assert loop.stats.results == len(results)


def test_motion_wakes_it_at_the_next_look(make: Make) -> None:
    camera = Camera()
    told = Told()
    loop, classifier = make(camera, idle_fps=5, seconds=20, watcher=told)
    moved_at = seen_at = 0.0
    for _ in loop:
        now = time.perf_counter()
        if not moved_at and loop.stats.seconds > 1:
            assert State.IDLE in told.states
            camera.picture = np.full((48, 64, 3), 30, np.uint8)
            moved_at, calls = now, classifier.calls
        elif moved_at and classifier.calls > calls:
            seen_at = now
            break
    assert 0 < seen_at - moved_at < 2


def test_awake_it_takes_every_frame_again(make: Make) -> None:
    camera = Camera()
    loop, classifier = make(camera, seconds=4)
    woken = False
    for _ in loop:
        if not woken and loop.stats.seconds > 1.5:
            woken, calls = True, classifier.calls
        if woken:
            # Something moves from now on in every frame.
            camera.picture = np.full((48, 64, 3), int(time.perf_counter() * 1000) % 200, np.uint8)
    assert classifier.calls - calls > 20


def test_without_the_option_every_frame_is_named(make: Make) -> None:
    loop, classifier = make(Camera(), idle_fps=None, seconds=1)
    assert len(list(loop)) == classifier.calls > 10


def test_a_still_picture_that_cannot_be_used_is_not_repeated(make: Make) -> None:
    camera = Camera()
    camera.picture = np.full((48, 64, 3), 255, np.uint8)
    loop, _ = make(camera, seconds=1)
    assert list(loop) == []
    assert loop.stats.unusable > 5


def test_it_ends_quickly_while_it_rests(make: Make) -> None:
    loop, _ = make(Camera(), idle_fps=1, seconds=60)
    for _ in loop:
        if loop.stats.seconds > 1.2:
            break
    started = time.perf_counter()
    loop.close()
    assert time.perf_counter() - started < 0.9


def test_a_lost_source_is_told_and_looked_at_anew(make: Make) -> None:
    camera, told = Camera(), Told()
    loop, classifier = make(camera, seconds=20, watcher=told, retry=Retry(first_delay=1.5, steady=0.2))
    lost = False
    for _ in loop:
        if not lost and loop.stats.seconds > 1:
            camera.lost = lost = True
            calls = classifier.calls
        if len(told.messages) == 2:
            break
    assert [message.partition(" ")[0] for message in told.messages] == ["the", "camera:"]
    assert classifier.calls > calls
    assert State.LOST in told.states
    assert told.states[-1] is not State.WAITING


def test_silence_is_told(make: Make) -> None:
    class Silent(Camera):
        def read(self) -> np.ndarray:
            if self.reads == 3:
                self._closed.wait(1)
            return super().read()

    told = Told()
    loop, _ = make(Silent(), frames=6, watcher=told)
    list(loop)
    # Told about ten times a second.
    assert 3 <= told.states.count(State.WAITING) < 60


@pytest.mark.parametrize("rate", [0.5, 0, -1, float("nan")])
def test_an_idle_rate_that_cannot_be(make: Make, rate: float) -> None:
    with pytest.raises(UsageError, match="idle_fps: expected 1 or more frames a second, got"):
        make(Camera(), idle_fps=rate)


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_highest_rate_that_cannot_be(make: Make, rate: float) -> None:
    with pytest.raises(UsageError, match="max_fps: expected a number above zero"):
        make(Camera(), max_fps=rate)


def test_the_highest_rate_of_a_camera(make: Make) -> None:
    loop, _ = make(Camera(), idle_fps=None, max_fps=10, seconds=1.5)
    results = list(loop)
    assert 3 <= len(results) <= 16
    assert results[-1].dropped > 0


def test_the_highest_rate_of_a_file_drops_nothing(make: Make) -> None:
    class File(Camera):
        realtime = False

        def read(self) -> np.ndarray | None:  # type: ignore[override]
            return None if self.reads == 5 else super().read()

    started = time.perf_counter()
    loop, _ = make(File(), max_fps=20)
    assert len(list(loop)) == 5
    assert time.perf_counter() - started >= 4 / 20


# The source that rests.


def rested(name: str, interval: float) -> tuple[int, float]:
    """Return how many reads one frame of a resting source takes, and how long."""
    camera = Camera(name)
    source = PacedSource(camera)
    source.open()
    for _ in range(5):
        source.read()
    source.rest(interval)
    before, started = camera.reads, time.perf_counter()
    source.read()
    source.close()
    return camera.reads - before, time.perf_counter() - started


def test_a_camera_rests_and_passes_over_old_frames() -> None:
    # Long beside the time between two frames, also of a machine that stalls.
    reads, seconds = rested("/dev/video0", 3.0)
    assert reads == PILED + 1
    assert seconds > 1


def test_a_network_stream_is_read_on() -> None:
    assert rested("rtsp://camera/", 1.0)[0] == 1


def test_frames_of_a_stream_that_come_in_its_rest_are_not_wanted() -> None:
    source = PacedSource(Camera("rtsp://camera/"))
    source.open()
    assert source.wanted()
    source.read()
    source.rest(0.3)
    assert not source.wanted()
    assert source.skip()
    time.sleep(0.3)
    assert source.wanted()
    source.read()
    assert not source.wanted()
    source.wake()
    assert source.wanted()
    source.close()


def test_a_camera_that_rests_wants_every_frame_that_it_takes() -> None:
    source = PacedSource(Camera("/dev/video0"))
    source.open()
    for _ in range(5):
        source.read()
    source.rest(1.0)
    assert source.wanted()
    source.close()


def test_a_short_rest_is_not_worth_it() -> None:
    assert rested("/dev/video0", 2 / FPS)[0] == 1


def test_waking_ends_a_rest() -> None:
    camera = Camera()
    source = PacedSource(camera)
    source.open()
    for _ in range(5):
        source.read()
    source.rest(30)
    threading.Timer(0.2, source.wake).start()
    started = time.perf_counter()
    source.read()
    assert time.perf_counter() - started < 10
    source.close()
    while threading.active_count() > 1 and any(isinstance(t, threading.Timer) for t in threading.enumerate()):
        time.sleep(0.01)
