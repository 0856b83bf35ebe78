"""Sinks in threads of their own: a slow, blocked or failing one holds nothing else up."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from edge_fmnist.errors import SinkClosedError, SinkError, UsageError
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks import queued
from edge_fmnist.sinks.base import Sink
from edge_fmnist.sinks.queued import QueuedSink

MakeResult = Callable[..., LiveResult]


class Gate(Sink):
    """A sink that can be held: writing waits for ``open``; each step is recorded."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.steps: list[Any] = []
        self.error: Exception | None = None

    def write(self, result: LiveResult) -> None:
        self.entered.set()
        self.open.wait()
        if self.error is not None:
            raise self.error
        self.steps.append(result.frame.index)

    def reopen(self) -> None:
        self.steps.append("reopened")

    def close(self) -> None:
        self.steps.append("closed")


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    monkeypatch.setattr(queued, "COMPLETE_SECONDS", 0.1)
    sink = Gate()
    yield sink
    sink.open.set()


def test_every_result_in_order_then_closed(gate: Gate, make_result: MakeResult) -> None:
    gate.open.set()
    sink = QueuedSink("file", lambda: gate)
    for index in range(20):
        sink.write(make_result(index, size=(16, 16)))
    sink.close()
    sink.close()
    assert gate.steps == [*range(20), "closed"]
    assert sink.dropped == 0


def fill(sink: QueuedSink, gate: Gate, make_result: MakeResult, count: int) -> None:
    """Give a sink whose file is blocked by the first result this many small ones."""
    for index in range(count):
        sink.write(make_result(index, size=(16, 16)))
        assert gate.entered.wait(5)


def test_a_blocked_sink_drops_its_oldest_results_and_says_so(
    gate: Gate, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queued, "MAX_ITEMS", 3)
    warnings: list[str] = []
    sink = QueuedSink("file", lambda: gate, warn=warnings.append)
    fill(sink, gate, make_result, 10)
    assert sink.dropped == 6
    assert warnings == ["file: too slow or blocked, so results are dropped; the count follows at the end"]
    gate.open.set()
    sink.close()
    assert gate.steps == [0, 7, 8, 9, "closed"]
    assert warnings[1:] == ["file: 6 results were dropped, because it was too slow"]


def test_the_queue_is_limited_in_bytes(gate: Gate, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queued, "MAX_BYTES", 2 * 16 * 16 * 3)
    sink = QueuedSink("file", lambda: gate)
    fill(sink, gate, make_result, 5)
    sink.write(make_result(5, size=(640, 480)))  # larger than the limit, but it is the only one
    gate.open.set()
    sink.close()
    assert gate.steps == [0, 5, "closed"]


def test_for_files_the_loop_waits_for_room(
    gate: Gate, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queued, "MAX_ITEMS", 1)
    sink = QueuedSink("file", lambda: gate)
    sink.patience = math.inf
    threading.Timer(0.2, gate.open.set).start()
    for index in range(5):
        sink.write(make_result(index, size=(16, 16)))
    sink.close()
    assert gate.steps == [0, 1, 2, 3, 4, "closed"]


def test_for_files_a_sink_without_progress_is_given_up(
    gate: Gate, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queued, "MAX_ITEMS", 1)
    monkeypatch.setattr(queued, "CLOSE_SECONDS", 0.2)
    sink = QueuedSink("file", lambda: gate)
    sink.patience = 0.1
    for index in range(5):
        sink.write(make_result(index, size=(16, 16)))
    assert sink.dropped >= 3
    with pytest.raises(SinkError, match="file: does not respond; 4 results were not written"):
        sink.close()


@pytest.mark.parametrize("patience", [0.0, math.inf])
def test_a_stop_ends_the_wait_for_a_blocked_sink(gate: Gate, make_result: MakeResult, patience: float) -> None:
    stopped: list[float] = []
    sink = QueuedSink("file", lambda: gate, time_left=lambda: stopped[0] - time.monotonic() if stopped else math.inf)
    sink.patience = patience
    sink.write(make_result(size=(16, 16)))
    assert gate.entered.wait(5)
    sink.write(make_result(size=(16, 16)))
    started = time.monotonic()
    stopped.append(started + 0.2)
    with pytest.raises(SinkError, match="does not respond; 1 results were not written"):
        sink.close()
    assert time.monotonic() - started < 2


def test_a_sink_that_is_not_open_yet(gate: Gate, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queued, "OPEN_SECONDS", 0.1)
    reader = threading.Event()
    warnings: list[str] = []

    def open_fifo() -> Gate:
        reader.wait()
        return gate

    sink = QueuedSink("fifo", open_fifo, warn=warnings.append)
    assert warnings == ["fifo: waiting until it can be opened (a FIFO without reader, or a disk that does not respond)"]
    sink.write(make_result(0, size=(16, 16)))
    reader.set()
    gate.open.set()
    sink.close()
    assert gate.steps == [0, "closed"]


def test_a_sink_that_cannot_be_opened() -> None:
    def refuse() -> Sink:
        raise UsageError("a folder")

    with pytest.raises(UsageError, match="a folder"):
        QueuedSink("file", refuse)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (SinkError("disk full"), SinkError("disk full")),
        (SinkClosedError("gone"), SinkClosedError("gone")),
        (OSError(28, "No space left"), OSError(28, "No space left")),
        (ValueError("a bug"), SinkError("file: ValueError: a bug")),
    ],
)
@pytest.mark.parametrize("at_close", [False, True])
def test_a_sink_that_fails(
    gate: Gate, make_result: MakeResult, error: Exception, expected: Exception, at_close: bool
) -> None:
    gate.error = error
    sink = QueuedSink("file", lambda: gate)
    sink.write(make_result(size=(16, 16)))
    gate.open.set()

    def raise_it() -> None:
        if not at_close:
            for _ in range(1000):
                sink.write(make_result(size=(16, 16)))
                time.sleep(0.005)
        sink.close()

    with pytest.raises(type(expected)) as caught:
        raise_it()
    assert str(caught.value) == str(expected)
    sink.close()
    assert gate.steps == ["closed"]


def test_files_are_reopened_before_the_next_result(gate: Gate, make_result: MakeResult) -> None:
    gate.open.set()
    sink = QueuedSink("file", lambda: gate)
    sink.reopen()
    sink.write(make_result(0, size=(16, 16)))
    sink.close()
    assert gate.steps == ["reopened", 0, "closed"]


def test_what_was_dropped_makes_room(gate: Gate, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queued, "MAX_BYTES", 3 * 16 * 16 * 3)
    sink = QueuedSink("file", lambda: gate)
    fill(sink, gate, make_result, 7)
    gate.open.set()
    sink.close()
    assert gate.steps == [0, 4, 5, 6, "closed"]


def test_the_first_error_is_the_one_reported(gate: Gate, make_result: MakeResult) -> None:
    def fail() -> None:
        raise SinkError("cannot be closed either")

    gate.error, gate.close = SinkError("the disk is full"), fail  # type: ignore[method-assign]
    gate.open.set()
    sink = QueuedSink("file", lambda: gate)
    sink.write(make_result(size=(16, 16)))
    with pytest.raises(SinkError, match="the disk is full"):
        sink.close()
