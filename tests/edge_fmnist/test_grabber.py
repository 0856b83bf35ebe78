"""The grabber: newest frame first, lost sources opened again, reads that never return."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from edge_fmnist.errors import SourceError, UsageError
from edge_fmnist.pipeline.reader_thread import Grabber, Retry
from edge_fmnist.pipeline.results import Frame
from edge_fmnist.sources.base import Source

QUICK = Retry(first_delay=0.001, longest_delay=0.01, steady=0)
LOST = SourceError("camera: unplugged")
# What a fake source does at one read: a number is a frame of that grey, an event is waited for.
Step = int | Exception | threading.Event | None


class FakeSource(Source):
    """Follows a script of reads, and one of attempts to open."""

    def __init__(self, reads: list[Step], opens: list[Exception] | None = None) -> None:
        self.name = "camera"
        self.reads = iter(reads)
        self.opens = iter(opens or [])
        self.opened_at: list[float] = []
        self.closed = 0

    def open(self) -> None:
        self.opened_at.append(time.perf_counter())
        for error in self.opens:
            raise error

    def read(self) -> np.ndarray | None:
        step = next(self.reads, None)
        while isinstance(step, threading.Event):
            step.wait()
            step = next(self.reads, None)
        if isinstance(step, Exception):
            raise step
        return None if step is None else np.full((4, 6, 3), step, np.uint8)

    def close(self) -> None:
        self.closed += 1


class FakeFile(FakeSource):
    """The same, as a file."""

    realtime = False


@pytest.fixture
def grab() -> Iterator[Callable[..., Grabber]]:
    """Return a function that makes grabbers, which are closed at the end and must leave no thread."""
    grabbers: list[Grabber] = []

    def make(source: Source, **settings: Any) -> Grabber:
        settings.setdefault("retry", QUICK)
        grabbers.append(Grabber(source, **settings))
        return grabbers[-1]

    before = set(threading.enumerate())
    yield make
    for grabber in grabbers:
        grabber.close()
    assert set(threading.enumerate()) - before == set()


def until(condition: Callable[[], Any], seconds: float = 10) -> None:
    end = time.perf_counter() + seconds
    while not condition():
        assert time.perf_counter() < end, "waited in vain"
        time.sleep(0.002)


def drain(grabber: Grabber) -> list[Frame]:
    """Return every frame that can be had until the end."""
    frames = []
    end = time.perf_counter() + 10
    while not grabber.ended:
        assert time.perf_counter() < end, "the grabber did not end"
        frame = grabber.next(0.05)
        if frame is not None:
            frames.append(frame)
    return frames


def test_the_newest_frame_wins(grab: Callable[..., Grabber]) -> None:
    hold = threading.Event()
    grabber = grab(FakeSource([1, 2, 3, hold, 4]))
    until(lambda: grabber.seen == 3)
    newest = grabber.next(5)
    assert newest is not None
    assert (newest.index, newest.picture[0, 0, 0], newest.name) == (2, 3, "camera")
    assert grabber.next(0) is None
    hold.set()
    assert [frame.index for frame in drain(grabber)] == [3]
    assert grabber.seen == 4


def test_a_frame_knows_when_it_came(grab: Callable[..., Grabber]) -> None:
    before = time.perf_counter()
    grabber = grab(FakeSource([1]))
    frame = grabber.next(5)
    assert frame is not None
    assert before < frame.captured < time.perf_counter()


def test_the_last_frame_is_delivered_before_the_end(grab: Callable[..., Grabber]) -> None:
    grabber = grab(FakeSource([1, 2]))
    until(lambda: grabber.seen == 2)
    time.sleep(0.02)
    assert not grabber.ended
    assert [frame.index for frame in drain(grabber)] == [1]
    assert grabber.next(0) is None


def test_a_lost_source_is_opened_again(grab: Callable[..., Grabber]) -> None:
    messages: list[str] = []
    hold = threading.Event()
    source = FakeSource([1, LOST, 2, hold, 3])
    grabber = grab(source, warn=messages.append)
    until(lambda: grabber.seen == 2)
    assert grabber.next(5) is not None
    hold.set()
    assert drain(grabber)[-1].index == 2
    assert grabber.reconnects == 1
    assert len(source.opened_at) == 1
    assert messages[0] == "the source was lost and is opened again when it answers (camera: unplugged)"
    assert messages[1].startswith("camera: back after 0.")
    assert len(messages) == 2


def test_one_message_for_many_failed_attempts(grab: Callable[..., Grabber]) -> None:
    messages: list[str] = []
    source = FakeSource([1, LOST, 2], opens=[LOST] * 5)
    grabber = grab(source, warn=messages.append)
    drain(grabber)
    assert [message.partition(":")[0] for message in messages] == [
        "the source was lost and is opened again when it answers (camera",
        "camera",
    ]
    assert len(source.opened_at) == 6


def test_messages_come_in_the_thread_of_the_reader(grab: Callable[..., Grabber]) -> None:
    threads: list[threading.Thread] = []
    drain(grab(FakeSource([1, LOST, 2]), warn=lambda _: threads.append(threading.current_thread())))
    assert threads == [threading.main_thread()] * 2


def test_it_waits_longer_each_time(grab: Callable[..., Grabber]) -> None:
    source = FakeSource([1, LOST, 2], opens=[LOST] * 4)
    drain(grab(source, retry=Retry(first_delay=0.02, longest_delay=0.08, steady=0)))
    waits = np.diff(source.opened_at)
    # 0.02 s passed before the first attempt; then twice as long each time, up to the longest.
    assert (waits >= [0.04, 0.08, 0.08, 0.08]).all()


@pytest.mark.parametrize(("failures", "delay"), [(1, 0.5), (2, 1), (5, 8), (6, 10), (100_000, 10)])
def test_delays(failures: int, delay: float) -> None:
    assert Retry().delay(failures) == delay


@pytest.mark.parametrize("limit", [1, 3])
def test_it_gives_up_after_so_many_failures(grab: Callable[..., Grabber], limit: int) -> None:
    source = FakeSource([1, LOST], opens=[LOST] * 10)
    grabber = grab(source, retry=Retry(limit, 0.001, 0.01, 0))
    with pytest.raises(SourceError, match=rf"camera: unplugged \(given up after {limit} failures in a row\)"):
        drain(grabber)
    assert len(source.opened_at) == limit - 1


def test_frames_that_flow_set_the_count_back(grab: Callable[..., Grabber]) -> None:
    grabber = grab(FakeSource([1, LOST, 2, LOST, 3, LOST, 4]), retry=Retry(2, 0.001, 0.01, 0))
    assert drain(grabber)[-1].index == 3
    assert grabber.reconnects == 3


def test_a_source_that_dies_after_each_frame_does_not_set_the_count_back(grab: Callable[..., Grabber]) -> None:
    messages: list[str] = []
    grabber = grab(FakeSource([1, LOST] * 9), retry=Retry(4, 0.001, 0.01, steady=60), warn=messages.append)
    with pytest.raises(SourceError, match="given up after 4 failures"):
        drain(grabber)
    assert grabber.seen == 4
    assert len(messages) == 1


def test_a_damaged_file_is_not_read_from_its_start_again(grab: Callable[..., Grabber]) -> None:
    source = FakeFile([1, 2, SourceError("file: damaged"), 3])
    with pytest.raises(SourceError, match=r"^file: damaged$"):
        drain(grab(source))
    assert source.opened_at == []


@pytest.mark.parametrize("error", [UsageError("roi outside"), RuntimeError("a bug")])
def test_other_errors_reach_the_reader(grab: Callable[..., Grabber], error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)):
        drain(grab(FakeSource([1, error])))


def test_a_file_is_read_at_its_pace(grab: Callable[..., Grabber]) -> None:
    started = time.perf_counter()
    frames = drain(grab(FakeFile([1, 2, 3, 4]), pace=50))
    assert time.perf_counter() - started >= 3 / 50
    assert frames[-1].index == 3


def test_a_late_reader_of_a_paced_file_skips(grab: Callable[..., Grabber]) -> None:
    grabber = grab(FakeFile(list(range(1, 11))), pace=200)
    until(lambda: grabber.seen == 10)
    assert [frame.index for frame in drain(grabber)] == [9]


class Stuck(FakeSource):
    """Delivers a frame, then sits in a read; ``wakes`` tells whether closing it ends that read."""

    def __init__(self, wakes: bool) -> None:
        self.woken = threading.Event()
        super().__init__([1, self.woken, SourceError("camera: closed"), 2])
        self.wakes = wakes

    def close(self) -> None:
        super().close()
        if self.wakes:
            self.woken.set()


def test_a_source_that_stalls_counts_as_lost(grab: Callable[..., Grabber]) -> None:
    messages: list[str] = []
    grabber = grab(Stuck(wakes=True), stall=0.05, warn=messages.append)
    frames = drain(grabber)
    assert [frame.index for frame in frames] == [0, 1]
    assert grabber.reconnects == 1
    assert "lost" in messages[0]


def test_a_frame_that_came_too_late_counts_as_lost_too(grab: Callable[..., Grabber]) -> None:
    woken = threading.Event()
    source = FakeSource([1, woken, 2, 3])
    messages: list[str] = []
    grabber = grab(source, stall=0.05, warn=messages.append)
    assert grabber.next(5) is not None
    until(lambda: (grabber.next(0.01), source.closed)[1])
    woken.set()
    assert drain(grabber)[-1].picture[0, 0, 0] == 3
    assert "no frame for 0.05 s" in messages[0]


def test_a_source_that_cannot_even_be_closed_ends_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_fmnist.pipeline.reader_thread.CLOSE_TIMEOUT", 0.05)
    source = Stuck(wakes=False)
    grabber = Grabber(source, stall=0.05)
    with pytest.raises(SourceError, match=r"camera: no frame for .* does not answer even to being closed"):
        drain(grabber)
    source.woken.set()
    grabber.close()


def test_closing_does_not_wait_for_a_read_that_never_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_fmnist.pipeline.reader_thread.CLOSE_TIMEOUT", 0.05)
    source = Stuck(wakes=False)
    grabber = Grabber(source)
    assert grabber.next(5) is not None
    started = time.perf_counter()
    grabber.close()
    assert time.perf_counter() - started < 2
    assert source.closed == 1
    stuck = [thread for thread in threading.enumerate() if thread.name == "edge-fmnist-grabber"]
    assert [thread.daemon for thread in stuck] == [True]
    source.woken.set()
    stuck[0].join(5)
    assert not stuck[0].is_alive()


def test_closing_while_it_waits_to_open_again_is_quick() -> None:
    source = FakeSource([1, LOST])
    grabber = Grabber(source, retry=Retry(first_delay=60, longest_delay=60))
    until(lambda: source.closed)
    started = time.perf_counter()
    grabber.close()
    grabber.close()
    assert time.perf_counter() - started < 2
    assert not [thread for thread in threading.enumerate() if thread.name == "edge-fmnist-grabber"]


def test_messages_that_nobody_reads_do_not_pile_up(grab: Callable[..., Grabber]) -> None:
    messages: list[str] = []
    grabber = grab(FakeSource([1, *[step for _ in range(50) for step in (LOST, 2)]]), warn=messages.append)
    until(lambda: grabber.seen == 51)
    drain(grabber)
    assert len(messages) == 16


def test_frames_that_are_not_wanted_are_passed_over_and_counted(grab: Callable[..., Grabber]) -> None:
    class Skipping(FakeFile):
        skipped = 0

        def skip(self) -> bool:
            self.skipped += 1
            return super().skip()

    go = threading.Event()
    source = Skipping([go, 1, 2, 3, 4])
    wanted = iter([True, False, False, True, False])
    grabber = grab(source, wanted=lambda: next(wanted), pace=50)
    go.set()
    frames = drain(grabber)
    assert (frames[-1].index, frames[-1].picture[0, 0, 0]) == (3, 4)
    assert {frame.index for frame in frames} <= {0, 3}
    # The third is the one that found the end.
    assert (source.skipped, grabber.seen) == (3, 4)


def test_end_of_a_file_that_is_passed_over(grab: Callable[..., Grabber]) -> None:
    grabber = grab(FakeFile([1, 2]), wanted=lambda: False)
    until(lambda: grabber.ended)
    assert grabber.seen == 2
    assert grabber.next(0) is None


def test_source_that_is_lost_while_frames_are_passed_over(grab: Callable[..., Grabber]) -> None:
    grabber = grab(FakeSource([1, LOST]), wanted=lambda: False, retry=Retry(max_failures=1))
    with pytest.raises(SourceError, match="unplugged"):
        until(lambda: grabber.next(0.1))
