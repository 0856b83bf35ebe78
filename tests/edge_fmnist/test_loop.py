"""The loop: from frames to results, the counts, the ends, and what it leaves behind."""

from __future__ import annotations

import gc
import json
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from edge_fmnist import LABELS, Classifier, Garment, LiveLoop, LiveResult, Prediction, live
from edge_fmnist.errors import ImageError, ModelNotFoundError, SourceError, UsageError
from edge_fmnist.pipeline import loop
from edge_fmnist.pipeline.reader_thread import Retry
from edge_fmnist.sources.base import Source
from edge_fmnist.vision.detection import Box

Pictures = list[np.ndarray | Exception]
COAT, BAG = LABELS.index("Coat"), LABELS.index("Bag")


def grey(value: int, width: int = 8, height: int = 6) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


class FakeSource(Source):
    """Gives a list of pictures; an exception in it is raised. Counts what is open."""

    def __init__(
        self, pictures: Pictures, *, realtime: bool = False, fps: float | None = None, pause: float = 0.0
    ) -> None:
        self.name = "pictures"
        self.realtime = realtime
        self.fps = fps
        self.pictures = iter(pictures)
        self.pause = pause
        self.opened = self.closed = 0

    def open(self) -> None:
        self.opened += 1

    def read(self) -> np.ndarray | None:
        time.sleep(self.pause)
        picture = next(self.pictures, None)
        if isinstance(picture, Exception):
            raise picture
        return picture

    def close(self) -> None:
        self.closed += 1


class Endless(FakeSource):
    """A camera that never ends."""

    def __init__(self, pause: float = 0.001) -> None:
        super().__init__([], realtime=True, pause=pause)

    def read(self) -> np.ndarray:
        time.sleep(self.pause)
        return grey(COAT)


class Silent(FakeSource):
    """A camera whose read does not return until the test allows it."""

    def __init__(self) -> None:
        super().__init__([], realtime=True)
        self.release = threading.Event()

    def read(self) -> None:
        self.release.wait()


class FakeClassifier:
    """Answers with the class that the image is filled with; sure of it, but for ``doubt``."""

    labels = LABELS
    threshold = 0.5

    def __init__(self, doubt: float = 0.1, pause: float = 0.0) -> None:
        self.doubt = doubt
        self.pause = pause

    def predict(self, image: np.ndarray) -> Any:
        time.sleep(self.pause)
        index = int(image[0, 0])
        scores = np.full(len(LABELS), self.doubt / (len(LABELS) - 1), np.float32)
        scores[index] = 1 - self.doubt
        return SimpleNamespace(
            label=LABELS[index], index=index, score=1 - self.doubt, scores=scores, threshold=self.threshold
        )


@pytest.fixture
def previous(monkeypatch: pytest.MonkeyPatch) -> list[Garment | None]:
    """Replace preprocessing: black is no garment, white cannot be used. Return the list of what it started from."""
    seen: list[Garment | None] = []

    def preprocess(picture: np.ndarray, previous: Garment | None = None) -> Garment:
        seen.append(previous)
        value = int(picture[0, 0, 0])
        if value == 255:
            raise ImageError("expected another picture")
        height, width = picture.shape[:2]
        image = np.full((28, 28), value, np.uint8)
        return Garment(value > 0, image, np.zeros((4, 4), np.uint8), Box(0, 0, width, height), 0.9, (height, width))

    monkeypatch.setattr("edge_fmnist.vision.preprocess.preprocess", preprocess)
    return seen


Make = Callable[..., LiveLoop]


@pytest.fixture
def make(previous: list[Garment | None]) -> Iterator[Make]:
    """Return a function that makes a loop of a source or pictures; no thread and nothing open may be left by it."""
    sources: list[Source] = []

    def make(source: Source | Pictures, classifier: Any = None, **settings: Any) -> LiveLoop:
        sources.append(source if isinstance(source, Source) else FakeSource(source))
        made = LiveLoop(sources[-1], cast(Classifier, classifier or FakeClassifier()), **settings)
        # Of its warm-up.
        previous.clear()
        return made

    before = set(threading.enumerate())
    yield make
    assert set(threading.enumerate()) - before == set()
    for source in sources:
        assert isinstance(source, FakeSource)
        assert bool(source.opened) <= bool(source.closed)


def shown(results: Iterator[LiveResult] | LiveLoop) -> list[str | None]:
    return [result.label for result in results]


def test_every_picture_gives_a_result(make: Make) -> None:
    pictures: Pictures = [grey(COAT), grey(BAG), grey(0), grey(COAT)]
    results = list(make(pictures))
    assert [result.label for result in results] == ["Coat", "Bag", None, "Coat"]
    assert [result.frame.index for result in results] == [0, 1, 2, 3]
    assert [(result.seen, result.dropped) for result in results] == [(1, 0), (2, 0), (3, 0), (4, 0)]
    assert results[0].score == pytest.approx(0.9)
    assert results[0].labels == LABELS
    assert results[2].prediction is None
    assert results[2].score == 0
    assert results[1].prediction is not None
    assert results[1].prediction.label == "Bag"


def test_results_can_be_written_as_json(make: Make) -> None:
    facts = json.loads(json.dumps(next(iter(make([grey(COAT, 20, 10)]))).as_dict()))
    assert facts["label"] == "Coat"
    assert facts["size"] == [20, 10]


def test_times_are_measured(make: Make) -> None:
    first, second = make([grey(COAT)] * 2, FakeClassifier(pause=0.01))
    assert 10 <= first.stages.classify <= first.stages.total <= first.age + 1
    assert first.fps == 0
    assert 1 < second.fps <= 100


def test_age_counts_from_the_capture(make: Make) -> None:
    for result in make(Endless(), FakeClassifier(pause=0.02), frames=3):
        assert result.age >= 20
        assert result.age < 2000


def test_pictures_are_taken_each_for_itself(make: Make, previous: list[Garment | None]) -> None:
    list(make([grey(COAT)] * 3))
    assert previous == [None] * 3


def test_a_stream_starts_from_the_garment_before(make: Make, previous: list[Garment | None]) -> None:
    results = list(make(FakeSource([grey(COAT), grey(BAG), grey(0), grey(BAG)], fps=30)))
    assert previous == [None, results[0].garment, results[1].garment, None]


def test_frames_of_another_size_in_mid_stream(make: Make, previous: list[Garment | None]) -> None:
    results = list(make(FakeSource([grey(COAT), grey(COAT, 30, 20), grey(COAT, 30, 20)], fps=30)))
    assert previous == [None, None, results[1].garment]
    assert [result.as_dict()["size"] for result in results] == [[8, 6], [30, 20], [30, 20]]


def test_a_video_is_smoothed_in_its_own_time(make: Make) -> None:
    pictures: Pictures = [*[grey(COAT)] * 30, grey(BAG), *[grey(COAT)] * 5]
    assert set(shown(make(FakeSource(pictures, fps=30)))) == {"Coat"}
    # At one frame a second a second bag is news.
    assert "Bag" in shown(make(FakeSource(pictures, fps=1)))


@pytest.mark.parametrize(("smoothing", "labels"), [(None, {"Coat", "Bag"}), (False, {"Coat", "Bag"}), (True, {"Coat"})])
def test_smoothing_of_pictures(make: Make, smoothing: bool | None, labels: set[str]) -> None:
    assert set(shown(make([grey(COAT), grey(BAG), grey(COAT)], smoothing=smoothing))) == labels


def test_smoothing_can_be_turned_off_for_a_video(make: Make) -> None:
    assert shown(make(FakeSource([grey(COAT), grey(BAG)], fps=30), smoothing=False)) == ["Coat", "Bag"]


@pytest.mark.parametrize(("threshold", "label"), [(None, "unknown"), (0.3, "Coat"), (0, "Coat"), (1, "unknown")])
def test_the_threshold_is_the_models_unless_given(make: Make, threshold: float | None, label: str) -> None:
    assert shown(make([grey(COAT)], FakeClassifier(doubt=0.55), threshold=threshold)) == [label]


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_that_cannot_be(make: Make, threshold: float) -> None:
    with pytest.raises(UsageError, match="threshold: expected a number from 0 to 1, got"):
        make([], threshold=threshold)


def test_a_slow_loop_drops_frames_of_a_camera(make: Make) -> None:
    running = make(Endless(pause=0.001), FakeClassifier(pause=0.03), frames=8)
    results = list(running)
    assert [result.frame.index + 1 for result in results] == [result.seen for result in results]
    assert [result.seen - result.dropped for result in results] == list(range(1, 9))
    assert results[-1].dropped > 8
    # What is named is never older than the frame that came while the one before was named.
    assert max(result.age for result in results) < 1000


def test_a_slow_loop_drops_no_frame_of_a_file(make: Make) -> None:
    running = make([grey(COAT)] * 8, FakeClassifier(pause=0.005))
    assert [result.frame.index for result in running] == list(range(8))
    assert running.stats.dropped == 0


def test_realtime_reads_a_file_at_its_rate_and_drops(make: Make) -> None:
    started = time.perf_counter()
    running = make(FakeSource([grey(COAT)] * 20, fps=100), FakeClassifier(pause=0.04), realtime=True)
    results = list(running)
    assert 0.19 <= time.perf_counter() - started < 5
    assert results[-1].frame.index == 19
    assert running.stats.dropped == 20 - len(results) > 0


def test_it_ends_after_so_many_results(make: Make) -> None:
    source = Endless()
    running = make(source, frames=3)
    assert len(list(running)) == 3
    assert source.closed
    assert running.stats.results == 3


def test_frames_that_cannot_be_used_are_no_results(make: Make) -> None:
    running = make([grey(255), grey(COAT), grey(BAG), grey(COAT)], frames=2, warn=lambda _: None)
    assert shown(running) == ["Coat", "Bag"]


def test_it_ends_after_so_many_seconds(make: Make) -> None:
    started = time.perf_counter()
    assert list(make(Endless(), seconds=0.2))
    assert 0.2 <= time.perf_counter() - started < 5


def test_it_ends_in_time_though_no_frame_comes(make: Make) -> None:
    source = Silent()
    threading.Timer(0.3, source.release.set).start()
    assert list(make(source, seconds=0.1)) == []
    until_no_timer()


def until_no_timer() -> None:
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join()


def test_stop_from_another_thread(make: Make) -> None:
    running = make(Endless())
    threading.Timer(0.1, running.stop).start()
    assert list(running)
    until_no_timer()


def test_a_frame_that_cannot_be_used_is_told_of_once_and_counted(make: Make) -> None:
    told: list[str] = []
    running = make([grey(COAT), grey(255), grey(255), grey(BAG)], warn=told.append)
    assert shown(running) == ["Coat", "Bag"]
    assert told == ["pictures: frame 1 is passed over, and others like it (expected another picture)"]
    assert (running.stats.seen, running.stats.unusable, running.stats.dropped, running.stats.results) == (4, 2, 0, 2)


def test_a_break_closes_the_source(make: Make) -> None:
    for source in (Endless(), FakeSource([grey(COAT)] * 9)):
        running = make(source)
        for _ in running:
            break
        assert source.closed


def test_an_exception_closes_the_source(make: Make) -> None:
    source = Endless()

    def use() -> None:
        for _ in make(source):
            raise KeyError

    with pytest.raises(KeyError):
        use()
    assert source.closed


def test_closing_the_generator_closes_the_source(make: Make) -> None:
    source = Endless()
    results = iter(make(source))
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert source.closed
    assert not [thread for thread in threading.enumerate() if thread.name == "edge-fmnist-grabber"]


def test_as_a_context_manager(make: Make) -> None:
    source = Endless()
    with make(source) as running:
        assert source.opened == 1
        assert next(iter(running)).label == "Coat"
    assert source.opened == 1
    assert source.closed


def test_nothing_is_open_before_it_is_used(make: Make) -> None:
    source = Endless()
    iter(make(source))
    assert (source.opened, source.closed) == (0, 0)


def test_a_source_that_is_not_there(make: Make) -> None:
    class Absent(FakeSource):
        def open(self) -> None:
            raise SourceError("no such camera")

    source = Absent([], realtime=True)
    with pytest.raises(SourceError, match="no such camera"):
        list(make(source, retry=Retry(first_delay=0)))
    assert source.closed == 1


def test_a_loop_runs_once(make: Make) -> None:
    running = make([grey(COAT)])
    assert len(list(running)) == 1
    with pytest.raises(UsageError, match="this loop was run before"):
        list(running)
    with pytest.raises(UsageError, match="this loop has ended"):
        running.open()


def test_a_lost_camera_goes_on(make: Make) -> None:
    told: list[str] = []
    lost = SourceError("camera: unplugged")
    source = FakeSource([grey(COAT), lost, grey(COAT), lost, grey(COAT)], realtime=True, pause=0.02)
    running = make(source, retry=Retry(first_delay=0.001, steady=0), warn=told.append)
    assert shown(running)[-1] == "Coat"
    assert running.stats.reconnects == 2
    assert (source.opened, running.stats.seen) == (3, 3)
    assert [("lost" in message, "back" in message) for message in told] == [(True, False), (False, True)] * 2


def test_a_camera_that_stays_away_ends_the_loop(make: Make) -> None:
    source = FakeSource([grey(COAT), SourceError("camera: unplugged")], realtime=True, pause=0.02)
    with pytest.raises(SourceError, match="given up after 1 failures"):
        list(make(source, retry=Retry(1), warn=lambda _: None))
    assert source.closed


def test_a_damaged_file_ends_the_loop(make: Make) -> None:
    with pytest.raises(SourceError, match="damaged"):
        list(make([grey(COAT), SourceError("damaged")]))


def test_stats(make: Make) -> None:
    running = make([grey(COAT), grey(0), grey(COAT), grey(255)], FakeClassifier(pause=0.005), warn=lambda _: None)
    assert (running.stats.seconds, running.stats.milliseconds, running.stats.fps) == (0, {}, 0)
    list(running)
    stats = running.stats
    assert stats.labels == {"Coat": 2, "no garment": 1}
    assert (stats.seen, stats.results, stats.unusable, stats.reconnects) == (4, 3, 1, 0)
    assert set(stats.milliseconds) == {"preprocess", "classify", "smooth", "total", "age"}
    assert 5 <= stats.milliseconds["classify"].p50 <= stats.milliseconds["classify"].p90 < 2000
    assert stats.fps == pytest.approx(3 / stats.seconds)
    assert running.stats.seconds == stats.seconds
    assert json.loads(json.dumps(stats.as_dict()))["milliseconds"]["age"]["p90"] > 0


def test_percentiles_are_of_the_last_results(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_fmnist.pipeline.stats.WINDOW", 4)
    classifier = FakeClassifier(pause=0.02)
    running = make([grey(COAT)] * 12, classifier)
    for result in running:
        classifier.pause = 0.0 if result.frame.index >= 5 else 0.02
    assert running.stats.milliseconds["classify"].p90 < 15
    assert running.stats.results == 12


@pytest.mark.parametrize("realtime", [False, True])
def test_memory_stays_flat(make: Make, previous: list[Garment | None], realtime: bool) -> None:
    picture = grey(COAT, 64, 48)

    class Many(FakeSource):
        def read(self) -> np.ndarray:
            return picture.copy()

    running = make(Many([], realtime=realtime, fps=30), frames=1500)
    tracemalloc.start()
    try:
        for result in running:
            previous.clear()
            if result.seen - result.dropped == 500:
                gc.collect()
                before = tracemalloc.get_traced_memory()[0]
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    # One picture more or less may be under way; 1,000 of them would be 9 MB.
    assert grown < 100_000


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0}, "width: expected a number above zero, got 0"),
        ({"fps": float("nan")}, "fps: expected a number above zero, got nan"),
        ({"frames": 0}, "frames: expected a number above zero, got 0"),
        ({"seconds": -1}, "seconds: expected a number above zero, got -1"),
        ({"max_failures": 0}, "max_failures: expected a number above zero, got 0"),
        ({"rotate": 45}, "--rotate: expected 0, 90, 180 or 270 degrees, got 45"),
        ({"roi": "1,2,3"}, "--roi: expected X,Y,WIDTH,HEIGHT"),
        ({"roi": ""}, "--roi: expected X,Y,WIDTH,HEIGHT"),
        ({"threads": 0}, "expected at least 1 thread, got 0"),
        ({"source": ""}, "source: expected"),
    ],
)
def test_live_checks_its_arguments(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        live(**{"source": "/dev/video0", "model": "edge", **settings})


def test_live_without_its_model() -> None:
    with pytest.raises(ModelNotFoundError, match="no-such-model"):
        live("/dev/video0", model="no-such-model")


def test_live_takes_a_source_of_ones_own(previous: list[Garment | None]) -> None:
    source = FakeSource([grey(1, 8, 6), grey(2, 8, 6)])
    with live(source, model="edge", rotate=90, threshold=0) as running:
        results = list(running)
    assert [result.frame.picture.shape for result in results] == [(8, 6, 3)] * 2
    assert all(isinstance(result.prediction, Prediction) for result in results)
    assert source.closed


def test_live_takes_a_number_for_a_camera() -> None:
    assert live(99, model="edge").source.name == "/dev/video99"


def test_live_warns_through_the_log(previous: list[Garment | None], caplog: pytest.LogCaptureFixture) -> None:
    assert list(live(FakeSource([grey(255)]), model="edge")) == []
    assert [(record.name, record.levelname) for record in caplog.records] == [("edge_fmnist", "WARNING")]


def test_the_slide_show_of_pictures_has_a_rate(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SLIDE_SHOW_FPS", 50.0)
    started = time.perf_counter()
    assert list(make([grey(COAT)] * 4, realtime=True))
    assert time.perf_counter() - started >= 3 / 50
