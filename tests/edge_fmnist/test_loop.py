"""The loop: from frames to results, counts, ends, outputs, and what it leaves behind."""

from __future__ import annotations

import contextlib
import gc
import inspect
import json
import math
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.request import urlopen

import cv2
import numpy as np
import pytest
from PIL import Image

import edge_fmnist
from edge_fmnist import LABELS, Classifier, LiveLoop, LiveResult, Prediction, live
from edge_fmnist.errors import EdgeFmnistError, SinkError, SourceError, UsageError
from edge_fmnist.pipeline import loop, reader_thread, stats
from edge_fmnist.pipeline.observer import Observer, State
from edge_fmnist.pipeline.results import Stages
from edge_fmnist.pipeline.settings import LiveSettings, options
from edge_fmnist.sinks.jsonl import JsonLines
from edge_fmnist.sources.base import Source

Pictures = list[np.ndarray | Exception]
COAT, BAG = LABELS.index("Coat"), LABELS.index("Bag")


def grey(value: int, width: int = 8, height: int = 6) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


class FakeSource(Source):
    """Gives a list of pictures; an exception in it is raised."""

    def __init__(self, pictures: Pictures, *, realtime: bool = False, fps: float | None = None) -> None:
        self.name = "pictures"
        self.realtime = realtime
        self.fps = fps
        self.pictures = iter(pictures)
        self.opened = self.closed = 0

    def open(self) -> None:
        self.opened += 1

    def read(self) -> np.ndarray | None:
        picture = next(self.pictures, None)
        if isinstance(picture, Exception):
            raise picture
        return picture

    def close(self) -> None:
        self.closed += 1


class Endless(FakeSource):
    """A camera that never ends."""

    def __init__(self) -> None:
        super().__init__([], realtime=True)

    def read(self) -> np.ndarray:
        time.sleep(0.001)
        return grey(COAT)


pytestmark = pytest.mark.usefixtures("grey_preprocessing")
Make = Callable[..., LiveLoop]


@pytest.fixture
def make(grey_classifier: Callable[..., Any]) -> Iterator[Make]:
    """Return a function that makes a loop of a source or pictures; no thread and nothing open may be left by it."""
    sources: list[FakeSource] = []

    def make(source: FakeSource | Pictures, pause: float = 0, **settings: Any) -> LiveLoop:
        sources.append(source if isinstance(source, FakeSource) else FakeSource(source))
        return LiveLoop(sources[-1], cast(Classifier, grey_classifier(pause=pause)), **settings)

    before = set(threading.enumerate())
    yield make
    assert set(threading.enumerate()) - before == set()
    for source in sources:
        assert bool(source.opened) <= bool(source.closed)


def labels_of(results: Iterator[LiveResult] | LiveLoop) -> list[str | None]:
    return [result.label for result in results]


def test_every_picture_gives_a_result(make: Make) -> None:
    results = list(make([grey(COAT, 20, 10), grey(BAG), grey(0), grey(COAT)]))
    assert labels_of(iter(results)) == ["Coat", "Bag", None, "Coat"]
    assert [result.frame.index for result in results] == [0, 1, 2, 3]
    assert [(result.seen, result.dropped) for result in results] == [(1, 0), (2, 0), (3, 0), (4, 0)]
    assert results[0].score == pytest.approx(0.9)
    assert results[2].prediction is None
    assert results[2].score == 0
    facts = json.loads(json.dumps(results[0].as_dict()))
    assert (facts["label"], facts["size"]) == ("Coat", [20, 10])


def test_times_are_measured(make: Make) -> None:
    first, second = make([grey(COAT)] * 2, pause=0.01)
    assert 10 <= first.stages.classify <= first.stages.total <= first.age + 1
    assert first.fps == 0
    assert 1 < second.fps <= 100


def test_a_video_is_smoothed_in_its_own_time(make: Make) -> None:
    pictures: Pictures = [*[grey(COAT)] * 30, grey(BAG), *[grey(COAT)] * 5]
    assert set(labels_of(make(FakeSource(pictures, fps=30)))) == {"Coat"}
    # At one frame per second, a second of a bag is a change.
    assert "Bag" in labels_of(make(FakeSource(pictures, fps=1)))


@pytest.mark.parametrize(
    ("fps", "smoothing", "last"), [(None, None, "Bag"), (None, True, "Coat"), (30, None, "Coat"), (30, False, "Bag")]
)
def test_smoothing_is_for_streams_unless_set(make: Make, fps: float | None, smoothing: bool | None, last: str) -> None:
    source = FakeSource([grey(COAT), grey(BAG)], fps=fps)
    # Images have no time of their own: the second follows at once.
    assert labels_of(make(source, smoothing=smoothing))[-1] == last


def test_a_slow_loop_drops_frames_of_a_camera(make: Make) -> None:
    results = list(make(Endless(), pause=0.03, frames=6))
    assert [result.frame.index + 1 for result in results] == [result.seen for result in results]
    assert [result.seen - result.dropped for result in results] == list(range(1, 7))
    assert results[-1].dropped > 6
    assert 30 <= max(result.age for result in results) < 1000


def test_a_file_in_real_time_is_read_at_its_rate(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_thread, "SLIDE_SHOW_FPS", 100.0)
    for fps in (100.0, None):
        started = time.perf_counter()
        running = make(FakeSource([grey(COAT)] * 15, fps=fps), pause=0.04, realtime=True)
        results = list(running)
        assert 0.14 <= time.perf_counter() - started < 5
        assert results[-1].frame.index == 14
        assert running.stats.dropped == 15 - len(results) > 0


def test_it_stops_after_a_number_of_results_or_seconds(make: Make) -> None:
    unusable: Pictures = [grey(255), grey(COAT), grey(BAG), grey(COAT)]
    assert labels_of(make(unusable, frames=2, warn=lambda _: None)) == ["Coat", "Bag"]
    started = time.perf_counter()
    assert list(make(Endless(), seconds=0.1))
    assert 0.1 <= time.perf_counter() - started < 5


def test_it_stops_in_time_if_no_frame_arrives(make: Make) -> None:
    class Silent(FakeSource):
        blocked = threading.Event()

        def read(self) -> None:
            self.blocked.wait()

        def interrupt(self) -> None:
            self.blocked.set()

    assert list(make(Silent([], realtime=True), seconds=0.05)) == []


def test_stop_from_another_thread(make: Make) -> None:
    running = make(Endless())
    for _ in running:
        thread = threading.Thread(target=running.stop)
        thread.start()
        thread.join()
    assert running.stats.results == 1


def test_a_stop_leaves_the_outputs_a_short_time(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: now))
    told, ended = make([grey(COAT)]), make([grey(COAT)])
    assert told.time_left() == math.inf
    told.stop()
    now += 10
    # Counted from the moment when it begins to close.
    assert told.time_left() == loop.STOP_SECONDS
    told.close()
    ended.close()
    now += 1
    assert ended.time_left() == math.inf
    told.stop()
    ended.stop()
    assert (told.time_left(), ended.time_left()) == (loop.STOP_SECONDS - 1, loop.STOP_SECONDS)


def test_a_camera_that_stays_lost_is_given_up(make: Make) -> None:
    source = FakeSource([grey(COAT), SourceError("unplugged"), grey(COAT)], realtime=True)
    with pytest.raises(SourceError, match=r"unplugged \(1 consecutive failures\)"):
        list(make(source, max_failures=1, seconds=60))
    assert source.opened == 1


def test_a_score_below_the_threshold_is_unknown(make: Make) -> None:
    assert labels_of(make([grey(COAT)], threshold=0.95)) == ["unknown"]


def test_an_array_stays_its_sources_to_write_to(make: Make) -> None:
    picture = grey(COAT)
    list(make([picture]))
    picture[:] = 0


def test_an_observer_hears_of_each_frame_of_a_file(make: Make) -> None:
    states: list[State] = []

    class Heard(Observer):
        def turn(self, state: State) -> None:
            states.append(state)

    list(make([grey(COAT)] * 3, observer=Heard()))
    assert states == [State.RUNNING] * 3


def test_an_unusable_frame_is_reported_once_and_counted(make: Make) -> None:
    warnings: list[str] = []
    running = make([grey(COAT), grey(255), grey(255), grey(BAG)], warn=warnings.append)
    assert labels_of(running) == ["Coat", "Bag"]
    assert warnings == ["pictures: frame 1 skipped, further ones without a message (expected another picture)"]
    assert (running.stats.seen, running.stats.unusable, running.stats.dropped, running.stats.results) == (4, 2, 0, 2)


def test_items_of_a_list_that_are_no_pictures_are_skipped() -> None:
    picture = np.zeros((40, 30, 3), np.uint8)
    picture[..., 2] = 200

    class Tensor:
        def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
            return picture

    mixed = [picture, Image.fromarray(picture[..., ::-1]), [[1], [2, 3]], "text", None, Tensor()]
    results = list(live(source=mixed, warn=lambda _: None))
    assert [result.frame.index for result in results] == [0, 1, 5]
    # PIL has RGB.
    for result in results:
        np.testing.assert_array_equal(result.frame.picture, picture)


def test_a_frame_that_is_smaller_than_the_region_is_skipped() -> None:
    pictures = [np.zeros((size, size, 3), np.uint8) for size in (60, 20, 60)]
    running = live(source=pictures, roi="30,30,20,20", warn=lambda _: None)
    assert len(list(running)) == 2
    assert running.stats.unusable == 1


@pytest.mark.parametrize("source", [Endless, lambda: FakeSource([grey(COAT)] * 9)])
def test_every_end_closes_the_source(make: Make, source: Callable[[], FakeSource]) -> None:
    def leave_by_break(loop: LiveLoop) -> None:
        for _ in loop:
            break

    def leave_by_error(loop: LiveLoop) -> None:
        with contextlib.suppress(KeyError):
            for _ in loop:
                raise KeyError

    def leave_generator(loop: LiveLoop) -> None:
        results = iter(loop)
        next(results)
        results.close()  # type: ignore[attr-defined]

    def leave_block(loop: LiveLoop) -> None:
        with loop:
            assert next(iter(loop)).label == "Coat"

    for leave in (leave_by_break, leave_by_error, leave_generator, leave_block):
        opened = source()
        leave(make(opened))
        assert (opened.opened, bool(opened.closed)) == (1, True)


@pytest.mark.parametrize("realtime", [True, False])
@pytest.mark.parametrize("error", [SourceError("no such camera"), ValueError("no such camera")])
def test_a_source_that_does_not_exist(make: Make, realtime: bool, error: Exception) -> None:
    class Absent(FakeSource):
        def open(self) -> None:
            raise error

    source = Absent([], realtime=realtime)
    with pytest.raises(SourceError, match="no such camera") as caught:
        list(make(source))
    assert source.closed == 1
    assert caught.value.setting == "source"


def test_a_loop_runs_once(make: Make) -> None:
    running = make([grey(COAT)])
    assert len(list(running)) == 1
    with pytest.raises(UsageError, match="this loop was run before"):
        list(running)
    with pytest.raises(UsageError, match="this loop has ended"):
        running.open()


def test_stats(make: Make) -> None:
    running = make([grey(COAT), grey(COAT), grey(0)])
    assert (running.stats.seconds, running.stats.fps, running.stats.milliseconds) == (0, 0, {})
    list(running)
    stats = running.stats
    assert stats.labels == {"Coat": 2, "no garment": 1}
    assert set(stats.milliseconds) == {"preprocess", "classify", "smooth", "total", "age"}
    assert all(0 <= one.p50 <= one.p90 for one in stats.milliseconds.values())
    assert stats.seconds == running.stats.seconds > 0
    assert json.dumps(stats.as_dict())


def test_memory_does_not_grow(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_fmnist.pipeline.stats.WINDOW", 4)
    running = make(FakeSource([grey(COAT, 64, 48)] * 600, fps=30))
    tracemalloc.start()
    try:
        for result in running:
            if result.seen == 200:
                gc.collect()
                before = tracemalloc.get_traced_memory()[0]
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    # 400 pictures would be 3.7 MB.
    assert grown < 100_000


# The function live().


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0}, "width: expected a whole number from 1 to 16384, got 0"),
        ({"height": "48"}, "height: expected a whole number, got '48'"),
        ({"fps": float("nan")}, "fps: expected a number above zero, got nan"),
        ({"frames": True}, "frames: expected a whole number, got True"),
        ({"idle_fps": 0.5}, "idle_fps: expected 1 or more, got 0.5"),
        ({"threshold": 1.1}, "threshold: expected a number from 0 to 1, got 1.1"),
        ({"rotate": 45}, "rotate: expected 0, 90, 180 or 270 degrees, got 45"),
        ({"roi": "1,2,3"}, "roi: expected X,Y,WIDTH,HEIGHT"),
        ({"threads": 0}, "threads: expected a whole number from 1 to 64, got 0"),
        ({"interpreter": "onnx"}, "unknown interpreter 'onnx'"),
        ({"source": ""}, "source: expected auto"),
        ({"source": 1.5}, "source: expected text, a Source, .* got float"),
        ({"serve": "a b"}, "expected HOST:PORT"),
        ({"serve": 8000}, "serve: expected text, got 8000"),
        ({"roi": (0, 0, 9, 9)}, r"roi: expected text, got \(0, 0, 9, 9\)"),
        ({"mqtt_ca": "ca.pem"}, "mqtt_ca: needs --mqtt"),
        ({"overwrite": True}, "overwrite: needs --"),
        ({"save_segment": 60}, "save_segment: needs --save"),
        ({"no_token": True}, "no_token: needs --serve"),
        ({"tls_key": "key.pem", "serve": True}, "tls_key: needs --tls-cert"),
        ({"overwrite": True, "jsonl": "-"}, "overwrite: is for a file, not for standard output"),
        ({"collect_max_frames": 10}, "collect_max_frames: needs --collect"),
        ({"seconds": 10**400}, "seconds: expected a number above zero, got one of 401 digits"),
        ({"save": "a.mkv", "source": "a.recording.mkv"}, "save: a.mkv: is recorded to the file that is read"),
        ({"allow_host": "camera"}, "allow_host: needs --serve"),
        ({"model": "no-such-model"}, "no-such-model: neither a file nor a shipped model"),
        ({"watch_model": True}, r"watch_model: expected a \.tflite file"),
        ({"collect": "photos"}, "collect: needs --serve or --collect-below"),
        ({"collect": "photos", "serve": False}, "collect: needs --serve or --collect-below"),
        ({"insecure": "no"}, "insecure: expected True or False, got 'no'"),
        ({"jsonl": False}, "jsonl: expected text, got False"),
        *[({name: ""}, f"{name}: expected a path, got an empty text") for name in ("snapshot", "collect", "ca")],
        ({"save": "a\0.mp4"}, "save: expected text without a NUL character"),
        ({"model": 5}, "expected a name, a path or the bytes of a model file, got int"),
        ({"roi": Path("region")}, "roi: expected text, got"),
        ({"collect_max_mb": None, "collect": "photos", "serve": True}, "collect_max_mb: expected a number, got None"),
        ({"frames": 2.0}, r"frames: expected a whole number, got 2\.0"),
        ({"collect_below": 0.5}, "collect_below: needs --collect"),
        ({"collect_below": 1.5, "collect": "photos"}, "collect_below: expected a number from 0 to 1, got 1.5"),
        ({"collect_max_mb": 0, "collect": "photos", "serve": True}, "collect_max_mb: expected a number from 1 to"),
    ],
)
def test_live_checks_its_arguments(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(EdgeFmnistError, match=message) as caught:
        live(**{"source": "/dev/video0", "model": "edge", **settings})
    assert caught.value.setting == next(iter(settings))


def test_live_refuses_unknown_keywords() -> None:
    with pytest.raises(TypeError, match="widht"):
        live("demo", widht=640)


def test_every_setting_is_a_documented_keyword() -> None:
    parameters = inspect.signature(edge_fmnist.live).parameters
    for name, option in options().items():
        assert name in parameters
        assert parameters[name].default == getattr(LiveSettings, name)
        assert name == "source" or f"{name}: {option.help}" in str(live.__doc__)


def test_live_takes_a_source_of_ones_own_and_a_classifier() -> None:
    source = FakeSource([grey(1), grey(2)])
    with live(source, model=Classifier.load("edge"), rotate=90, threshold=0) as running:
        results = list(running)
    assert [result.frame.picture.shape for result in results] == [(8, 6, 3)] * 2
    assert all(isinstance(result.prediction, Prediction) for result in results)
    assert source.closed


def test_a_classifier_has_its_own_threads() -> None:
    with pytest.raises(UsageError, match="threads: the given Classifier has its own") as caught:
        live("demo", model=Classifier("edge"), threads=2)
    assert caught.value.setting == "threads"


def test_live_takes_a_number_or_a_path() -> None:
    assert live(99, model="edge").source.name == "/dev/video99"
    assert live(Path(__file__).parent, model="edge").source.name == str(Path(__file__).parent)


def test_live_takes_frames() -> None:
    frames = [grey(1), grey(2)[..., 0], np.full((6, 8, 4), 3, np.uint8)]
    for source in (frames, iter(frames), (frame for frame in frames)):
        assert [result.frame.index for result in live(source, model="edge")] == [0, 1, 2]
    assert len(list(live(np.stack([grey(1)] * 2), model="edge"))) == 2
    assert len(list(live(grey(1), model="edge"))) == 1
    assert live([np.zeros((28, 28), np.uint8)]).classifier.name == "edge"
    assert live([Image.new("L", (28, 28))]).classifier.name == "edge"


def test_frames_that_cannot_be_used_are_skipped() -> None:
    warnings: list[str] = []
    frames = [grey(1), grey(1) / 255, None, "a.png", grey(2)]
    results = list(live(frames, model="edge", warn=warnings.append))
    assert [result.frame.index for result in results] == [0, 4]
    assert warnings == [
        "frames: frame 1 skipped, further ones without a message (expected an image of uint8 or uint16, got float64)"
    ]
    assert len(list(live(FakeSource([grey(1)[..., 0]]), model="edge", mirror=True))) == 1


def test_frames_are_copied_and_those_of_results_read_only(tmp_path: Path) -> None:
    ended: list[bool] = []

    def frames() -> Iterator[np.ndarray]:
        buffer = grey(0)
        try:
            for value in (10, 20, 30):
                buffer[:] = value
                yield buffer
        finally:
            ended.append(True)

    results = []
    for result in live(frames(), model="edge", jsonl=tmp_path / "a.jsonl"):
        results.append(result)
        with pytest.raises(ValueError, match="read-only"):
            result.frame.picture[:] = 0
    assert [result.frame.picture[0, 0, 0] for result in results] == [10, 20, 30]
    (result,) = live([np.zeros((40, 30, 4), np.uint8)], model="edge")
    with pytest.raises(ValueError, match="read-only"):
        result.frame.picture[:] = 0
    with live(frames(), model="edge") as loop:
        next(iter(loop))
    assert ended == [True, True]


def test_an_observer_that_raises_leaves_no_output_open(tmp_path: Path) -> None:
    class Raises(Observer):
        def stopping(self) -> None:
            raise RuntimeError("observer")

    video = tmp_path / "a.avi"
    with pytest.raises(RuntimeError, match="observer"):
        list(live([grey(90, 64, 48)] * 3, model="edge", save=video, observer=Raises()))
    assert video.stat().st_size > 0


def test_live_takes_an_open_capture(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    capture = cv2.VideoCapture(str(write_video(tmp_path / "a.avi", [grey(90, 64, 48)] * 4)))
    with live(capture, model="edge") as running:
        assert not running.realtime
        assert len(list(running)) == 4
    # It stays the caller's.
    assert capture.isOpened()
    with pytest.raises(SourceError, match="no frame can be decoded"):
        list(live(capture, model="edge"))
    capture.release()
    with pytest.raises(SourceError, match="expected an opened capture"):
        list(live(capture, model="edge"))


def test_live_writes_to_outputs(tmp_path: Path) -> None:
    taken: list[LiveResult] = []
    lines, video = tmp_path / "a.jsonl", tmp_path / "a.avi"
    results = list(live([grey(90, 64, 48)] * 3, model="edge", jsonl=lines, save=video, on_result=taken.append))
    assert taken == results
    assert [json.loads(line)["frame"] for line in lines.read_text().splitlines()] == [0, 1, 2]
    assert video.stat().st_size > 0


@pytest.mark.parametrize(("settings", "fps"), [({}, 1), ({"fps": 4}, 4)])
def test_the_rate_of_a_video_of_pictures(tmp_path: Path, settings: dict[str, Any], fps: float) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), grey(90, 64, 48))
    list(live(tmp_path / "a.png", model="edge", save=tmp_path / "a.avi", **settings))
    assert cv2.VideoCapture(str(tmp_path / "a.avi")).get(cv2.CAP_PROP_FPS) == fps


def test_a_video_in_segments(tmp_path: Path) -> None:
    list(live([grey(90, 64, 48)] * 3, model="edge", save=tmp_path / "a.avi", save_segment=2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-000001.avi", "a-000002.avi"]


def test_a_slow_output_of_a_file_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = JsonLines.write

    def slow(self: JsonLines, line: Any) -> None:
        time.sleep(0.02)
        write(self, line)

    monkeypatch.setattr(JsonLines, "write", slow)
    monkeypatch.setattr("edge_fmnist.sinks.queued.MAX_ITEMS", 1)
    # Only beside other outputs, a wait has an end.
    monkeypatch.setattr("edge_fmnist.sinks.outputs.BLOCKED_SECONDS", 0.0)
    list(live([grey(COAT)] * 20, model="nano", jsonl=tmp_path / "a.jsonl"))
    assert len((tmp_path / "a.jsonl").read_text("utf-8").splitlines()) == 20


def test_live_serves_a_page(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "edge_fmnist")
    for _ in live([grey(90, 64, 48)] * 2, model="edge", serve=":0"):
        with urlopen(caplog.messages[0].rpartition(" ")[2] + "healthz") as response:
            assert response.status == 200


def test_warnings_go_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    assert list(live(FakeSource([grey(255)]), model="edge")) == []
    assert [(record.name, record.levelname) for record in caplog.records] == [("edge_fmnist", "WARNING")]


def test_percentiles_are_over_the_last_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "WINDOW", 10)
    meter = stats.Meter()
    for number in range(25):
        meter.add("Coat", Stages(float(number), 0.0, 0.0), 0.0)
    assert meter.stats(0, 1.0, {}).milliseconds["preprocess"].p50 == 19.5


def test_the_time_without_a_source_is_no_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 0.1, 0.2, 600.0, 600.1])
    monkeypatch.setattr(stats, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    meter, rates = stats.Meter(), []
    for number in range(5):
        if number == 3:
            meter.lost()
        rates.append(meter.add("Coat", Stages(0.0, 0.0, 0.0), 0.0)["fps"])
    assert rates == pytest.approx([0, 10, 10, 10, 10])


@pytest.mark.parametrize("pause", [0, 0.01])
def test_a_loop_of_python_goes_on_without_its_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pause: float
) -> None:
    def fail(*_: object) -> None:
        raise SinkError("the disk is full")

    monkeypatch.setattr("edge_fmnist.sinks.jsonl.JsonLines.write", fail)
    warnings: list[str] = []
    count = 0
    for _ in live([grey(COAT)] * 30, model="nano", jsonl=tmp_path / "out.jsonl", warn=warnings.append):
        count += 1
        time.sleep(pause)
    assert (count, warnings) == (30, ["the disk is full"])
