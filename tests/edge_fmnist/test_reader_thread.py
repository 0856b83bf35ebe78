"""The reader thread: newest frame first, lost sources reopened, reads that never return."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from edge_fmnist.errors import ImageError, SourceError, UsageError
from edge_fmnist.pipeline import reader_thread
from edge_fmnist.pipeline.reader_thread import DRIVER_QUEUE, STALL_MARGIN, ReaderThread, Retry
from edge_fmnist.pipeline.results import Frame
from edge_fmnist.sources.base import NO_PICTURE, CaptureSettings, Source
from edge_fmnist.sources.demo import Demo

QUICK = Retry(first_delay=0.001, longest_delay=0.01, steady=0)
LOST = SourceError("camera: unplugged")
# One read of a fake source: a number is a frame of that grey, an event is waited for.
Step = int | Exception | threading.Event | None


class FakeSource(Source):
    """Follows a script of reads, and one of attempts to open."""

    def __init__(self, reads: list[Step], opens: list[Exception | None] | None = None) -> None:
        self.name = "camera"
        self.reads = iter(reads)
        self.opens = iter(opens or [])
        self.opened_at: list[float] = []
        self.skipped = self.closed = 0
        self.threads: set[str] = set()

    def open(self) -> None:
        self.threads.add(threading.current_thread().name)
        self.opened_at.append(time.perf_counter())
        if error := next(self.opens, None):
            raise error

    def read(self) -> np.ndarray | None:
        self.threads.add(threading.current_thread().name)
        step = next(self.reads, None)
        while isinstance(step, threading.Event):
            step.wait()
            step = next(self.reads, None)
        if isinstance(step, BaseException):
            raise step
        return None if step is None else np.full((4, 6, 3), step, np.uint8)

    def skip(self) -> bool:
        self.skipped += 1
        return super().skip()

    def close(self) -> None:
        self.closed += 1


class FakeFile(FakeSource):
    realtime = False
    fps: float | None = 100.0


class Messages:
    """What a reader reports, and in which thread."""

    def __init__(self) -> None:
        self.lost: list[str] = []
        self.back: list[str] = []
        self.threads: set[threading.Thread] = set()

    def on_lost(self, message: str) -> None:
        self.lost.append(message)
        self.threads.add(threading.current_thread())

    def on_back(self, message: str) -> None:
        self.back.append(message)
        self.threads.add(threading.current_thread())


@pytest.fixture
def messages() -> Messages:
    return Messages()


Start = Callable[..., ReaderThread]


@pytest.fixture
def start(messages: Messages, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Return a function that opens readers, which are closed at the end and must leave no thread."""
    monkeypatch.setattr(reader_thread, "CLOSE_TIMEOUT", 0.2)
    readers: list[ReaderThread] = []

    def make(source: Source, retry: Retry = QUICK) -> ReaderThread:
        reader = ReaderThread(source, retry=retry, on_lost=messages.on_lost, on_back=messages.on_back)
        readers.append(reader)
        reader.open()
        return reader

    before = set(threading.enumerate())
    yield make
    for reader in readers:
        reader.close()
    assert set(threading.enumerate()) - before == set()


def until(condition: Callable[[], Any]) -> None:
    end = time.perf_counter() + 10
    while not condition():
        assert time.perf_counter() < end, "waited in vain"
        time.sleep(0.001)


def drain(reader: ReaderThread) -> list[Frame]:
    """Return every frame until the end."""
    frames = []
    end = time.perf_counter() + 10
    while not reader.ended:
        assert time.perf_counter() < end, "the reader did not end"
        frame = reader.next(0.05)
        if frame is not None:
            frames.append(frame)
    return frames


def test_the_newest_frame_wins_and_one_thread_does_everything(start: Start) -> None:
    hold = threading.Event()
    source = FakeSource([1, 2, 3, hold, 4])
    before = time.perf_counter()
    reader = start(source)
    assert reader.next(0) is None or reader.seen
    until(lambda: reader.seen == 3)
    newest = reader.next(5)
    assert newest is not None
    assert (newest.index, newest.picture[0, 0, 0], newest.name) == (2, 3, "camera")
    assert before < newest.captured < time.perf_counter()
    assert reader.next(0) is None
    hold.set()
    # The last frame is returned before the end.
    assert [frame.index for frame in drain(reader)] == [3]
    assert source.threads == {"edge-fmnist-reader"}
    assert source.closed == 1


def test_an_unusable_frame_replaces_no_picture(start: Start) -> None:
    source = FakeFile([1, 2])
    pictures = iter([np.full((4, 6, 3), 1, np.uint8), NO_PICTURE, None])
    source.read = lambda: next(pictures)  # type: ignore[method-assign]
    reader = start(source)
    assert reader.next(0) is None
    until(lambda: reader.seen == 2)
    frame = reader.next(5)
    assert frame is not None
    assert frame.picture.shape == (4, 6, 3)


def test_nothing_is_read_before_the_first_frame_is_asked_for(start: Start) -> None:
    source = FakeFile([1, 2])
    reader = start(source)
    assert len(source.opened_at) == 1
    assert reader.seen == 0
    assert drain(reader)[-1].index == 1


def test_a_source_that_does_not_open(start: Start) -> None:
    with pytest.raises(SourceError, match="camera: unplugged"):
        start(FakeSource([], opens=[LOST]))


def test_an_open_that_blocks_is_given_up(start: Start) -> None:
    blocked = threading.Event()

    class Blocked(FakeSource):
        open_timeout = -0.9

        def open(self) -> None:
            blocked.wait()

        def interrupt(self) -> None:
            blocked.set()

    with pytest.raises(SourceError, match="camera: no frame within"):
        start(Blocked([]))


def test_a_lost_source_is_reopened(start: Start, messages: Messages) -> None:
    # Any exception counts, such as that of a library fed with nonsense.
    source = FakeSource([1, LOST, 2, OverflowError("chunk"), 3, LOST, 4], opens=[None, LOST, MemoryError(), LOST])
    reader = start(source)
    assert drain(reader)[-1].picture[0, 0, 0] == 4
    assert reader.reconnects == 3
    assert len(source.opened_at) == 7
    assert messages.lost[0] == "the source was lost, reconnecting (camera: unplugged)"
    assert messages.lost[1] == "the source was lost, reconnecting (camera: OverflowError: chunk)"
    assert [message.startswith("camera: reconnected after 0.") for message in messages.back] == [True] * 3
    assert messages.threads == {threading.main_thread()}


def test_delays_grow(start: Start) -> None:
    source = FakeSource([1, LOST, 2], opens=[None, *[LOST] * 4])
    drain(start(source, Retry(first_delay=0.02, longest_delay=0.08, steady=0)))
    assert (np.diff(source.opened_at)[1:] >= [0.04, 0.08, 0.08, 0.08]).all()
    assert [Retry().delay(failures) for failures in (1, 2, 5, 6, 100_000)] == [0.5, 1, 8, 10, 10]


@pytest.mark.parametrize("limit", [1, 3])
def test_it_stops_after_a_number_of_failures(start: Start, limit: int) -> None:
    source = FakeSource([1, LOST], opens=[None, *[LOST] * 10])
    with pytest.raises(SourceError, match=rf"camera: unplugged \({limit} consecutive failures\)"):
        drain(start(source, Retry(limit, 0.001, 0.01, 0)))
    assert len(source.opened_at) == limit


def test_failures_are_forgotten_only_after_a_while_of_frames(start: Start, messages: Messages) -> None:
    assert drain(start(FakeSource([1, LOST, 2, LOST, 3, LOST, 4]), Retry(2, 0.001, 0.01, 0)))[-1].index == 3
    messages.lost.clear()
    with pytest.raises(SourceError, match="4 consecutive failures"):
        drain(start(FakeSource([1, LOST] * 9), Retry(4, 0.001, 0.01, steady=60)))
    assert len(messages.lost) == 1


def test_a_damaged_file_is_not_read_again(start: Start) -> None:
    source = FakeFile([1, SourceError("file: damaged"), 3])
    with pytest.raises(SourceError, match=r"^file: damaged$"):
        drain(start(source))
    assert len(source.opened_at) == 1


@pytest.mark.parametrize("error", [OSError(5, "bus"), ZeroDivisionError("a bug"), ImageError("bad"), MemoryError()])
def test_any_other_error_of_a_live_source_is_a_loss(start: Start, error: Exception) -> None:
    reader = start(FakeSource([1, error, 2]))
    drain(reader)
    assert (reader.seen, reader.reconnects) == (2, 1)


@pytest.mark.parametrize("frames", [[SystemExit(4)], [1, KeyboardInterrupt()]])
def test_what_would_end_a_thread_is_an_error(start: Start, frames: list[Any]) -> None:
    with pytest.raises(SourceError, match=r"(SystemExit|KeyboardInterrupt) was raised"):
        drain(start(FakeSource(frames)))


def test_a_usage_error_is_not_a_loss(start: Start) -> None:
    with pytest.raises(UsageError, match="wrong"):
        drain(start(FakeSource([1, UsageError("wrong")])))


def test_a_file_is_read_at_its_rate_and_late_frames_are_dropped(start: Start) -> None:
    started = time.perf_counter()
    reader = start(FakeFile(list(range(1, 11))))
    reader.next(0)
    until(lambda: reader.seen == 10)
    assert time.perf_counter() - started >= 9 / 100
    assert [frame.index for frame in drain(reader)] == [9]


class Stuck(FakeSource):
    """Delivers a frame, then blocks in a read, which may take 0.05 seconds."""

    read_timeout = 0.05 - STALL_MARGIN

    def __init__(self, *, interruptible: bool) -> None:
        self.woken = threading.Event()
        super().__init__([1, self.woken, LOST, 2])
        self.interruptible = interruptible

    def interrupt(self) -> None:
        if self.interruptible:
            self.woken.set()


def test_a_stalled_read_is_interrupted_and_counts_as_a_loss(start: Start, messages: Messages) -> None:
    reader = start(Stuck(interruptible=True))
    assert [frame.index for frame in drain(reader)] == [0, 1]
    assert messages.lost == ["the source was lost, reconnecting (camera: no frame for 0.05 s)"]


def test_a_frame_that_comes_late_is_used(start: Start, messages: Messages) -> None:
    source = Stuck(interruptible=True)
    source.reads = iter([1, source.woken, 2])
    assert [frame.index for frame in drain(start(source))] == [0, 1]
    assert (messages.lost, len(source.opened_at)) == ([], 1)


def test_a_source_that_was_interrupted_at_a_late_frame_was_too_slow(start: Start, messages: Messages) -> None:
    source = Stuck(interruptible=True)
    source.reads = iter([1, source.woken, 2, SourceError("camera: not open"), 3])
    drain(start(source))
    assert messages.lost == ["the source was lost, reconnecting (camera: no frame for 0.05 s)"]


def test_a_source_says_how_long_a_read_may_take(
    start: Start, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_thread, "STALL_MARGIN", 0.05)
    source = Stuck(interruptible=True)
    source.read_timeout = 0.05
    drain(start(source))
    assert messages.lost == ["the source was lost, reconnecting (camera: no frame for 0.1 s)"]


class Reopening(FakeSource):
    """Loses its first frame's connection; blocks when it is reopened until it is interrupted."""

    open_timeout, read_timeout = 0.01, 60.0

    def __init__(self) -> None:
        super().__init__([1, LOST, 2])
        self.woken, self.interrupted = threading.Event(), False

    def open(self) -> None:
        super().open()
        if len(self.opened_at) == 2:
            self.woken.wait(10)
            if self.interrupted:
                raise LOST

    def interrupt(self) -> None:
        self.interrupted = True
        self.woken.set()


def test_reopening_that_takes_too_long_is_interrupted_and_tried_again(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_thread, "STALL_MARGIN", 0.05)
    source = Reopening()
    assert [frame.index for frame in drain(start(source))] == [0, 1]
    assert len(source.opened_at) == 3


def test_a_device_that_opens_slowly_is_waited_for(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_thread, "STALL_MARGIN", 0.05)
    monkeypatch.setattr(Reopening, "interrupt", lambda _: None)
    source = Reopening()
    threading.Timer(0.8, source.woken.set).start()
    assert [frame.index for frame in drain(start(source))] == [0, 1]
    assert len(source.opened_at) == 2


def test_a_read_that_cannot_be_interrupted_ends_with_an_error(start: Start) -> None:
    source = Stuck(interruptible=False)
    reader = start(source)
    with pytest.raises(SourceError, match=r"camera: no frame for .* the device does not respond; unplug it"):
        drain(reader)
    source.woken.set()


def test_a_drawn_scene_is_waited_for(start: Start, messages: Messages, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no device that could be unplugged."""
    monkeypatch.setattr(reader_thread, "STALL_MARGIN", -5)
    drawn = threading.Event()
    source = Demo(CaptureSettings(64, 48))
    monkeypatch.setattr(source, "read", lambda: drawn.wait(10) and Demo.read(source))
    reader = start(source)
    end = time.perf_counter() + 0.8
    while time.perf_counter() < end:
        assert reader.next(0.05) is None
    drawn.set()
    assert reader.next(5)
    assert messages.lost == []


def test_a_stream_whose_read_takes_long_is_reopened(start: Start, messages: Messages) -> None:
    source = Stuck(interruptible=False)
    source.pausable = False
    # As long as looking up a name may take, which cannot be interrupted.
    threading.Timer(0.8, source.woken.set).start()
    assert [frame.index for frame in drain(start(source))] == [0, 1]
    assert len(messages.lost) == 1


def test_closing_does_not_wait_for_a_blocked_read(start: Start) -> None:
    source = Stuck(interruptible=False)
    reader = start(source)
    assert reader.next(5) is not None
    started = time.perf_counter()
    reader.close()
    assert time.perf_counter() - started < 2
    (blocked,) = (thread for thread in threading.enumerate() if thread.name == "edge-fmnist-reader")
    assert blocked.daemon
    source.woken.set()


def test_closing_while_it_waits_to_reopen_is_quick(start: Start) -> None:
    source = FakeSource([1, LOST])
    reader = start(source, Retry(first_delay=60, longest_delay=60))
    reader.next(5)
    until(lambda: source.closed)
    started = time.perf_counter()
    reader.close()
    assert time.perf_counter() - started < 2


def test_messages_that_nobody_fetches_are_limited(start: Start, messages: Messages) -> None:
    reader = start(FakeSource([1, *[step for _ in range(50) for step in (LOST, 2)]]))
    reader.next(0)
    messages.lost.clear()
    until(lambda: reader.seen == 51)
    drain(reader)
    assert len(messages.lost) + len(messages.back) <= 18


class Steady(FakeSource):
    """A camera of 100 frames per second."""

    fps: float | None = 100.0

    def __init__(self, *, pausable: bool = True) -> None:
        super().__init__([])
        self.pausable = pausable
        self.count = 0

    def read(self) -> np.ndarray:
        time.sleep(0.01)
        self.count += 1
        return np.zeros((4, 6, 3), np.uint8)


def rested(start: Start, source: Steady, interval: float) -> tuple[ReaderThread, int, int]:
    """Return a reader that has rested for two frames, and how many were read and skipped for the second."""
    reader = start(source)
    until(lambda: reader.next(1) and reader.seen > 5)
    reader.rest(interval)
    until(lambda: reader.next(0.01) is None)
    assert reader.next(5)
    before = source.count, source.skipped
    assert reader.next(5)
    return reader, source.count - before[0], source.skipped - before[1]


@pytest.mark.alone
def test_a_resting_camera_is_not_read_and_old_frames_are_skipped(start: Start) -> None:
    reader, count, skipped = rested(start, Steady(), 0.3)
    assert (count, skipped) == (DRIVER_QUEUE + 1, DRIVER_QUEUE)
    reader.rest(60)
    reader.next(1)
    seen = reader.seen
    reader.wake()
    until(lambda: reader.seen > seen + 3)


def test_a_resting_network_stream_is_read_on_without_decoding(start: Start) -> None:
    _, count, skipped = rested(start, Steady(pausable=False), 0.15)
    assert count == skipped + 1 > 5


def test_a_short_rest_is_not_worth_pausing(start: Start) -> None:
    _, count, skipped = rested(start, Steady(), 0.05)
    assert count == skipped + 1
