"""The status line, on a terminal and in a log."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from rich.cells import cell_len

from edge_fmnist.pipeline.results import LiveResult, Stages
from edge_fmnist.sinks import status
from edge_fmnist.sinks.status import StatusLine, describe

MakeResult = Callable[..., LiveResult]


class Terminal(io.StringIO):
    """Standard error that says it is a terminal of 60 columns."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream = io.StringIO()
    monkeypatch.setattr(status, "sys", SimpleNamespace(stderr=stream))
    return stream


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    stream = Terminal()
    monkeypatch.setattr(status, "sys", SimpleNamespace(stderr=stream))
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((60, 24)))
    return stream


def run(sink: StatusLine, clock: Any, make_result: MakeResult, labels: Sequence[str | None], seconds: float) -> None:
    """Write results with these labels, ``seconds`` apart."""
    for index, label in enumerate(labels):
        sink.write(make_result(index, label, size=(28, 28)))
        clock.now += seconds


def test_what_it_says(make_result: MakeResult) -> None:
    result = make_result(9, score=0.934, stages=Stages(2.04, 0.21, 0.01), age=12.3, dropped=4, fps=29.96)
    assert describe(result) == (
        "Coat 93 %           30.0 fps  latency   12 ms  "
        "preprocess 2.0 + classify 0.2 + smooth 0.0 ms  10 frames, 4 dropped"
    )


def test_control_characters_of_a_label_are_escaped(make_result: MakeResult) -> None:
    assert describe(make_result(label="\x1b[31mred\r\udcff")).startswith(r"\x1b[31mred\r\udcff ")


def test_wide_characters_do_not_wrap(terminal: Terminal, clock: Any, make_result: MakeResult) -> None:
    label = "Tシャツ・カットソー"
    StatusLine(clock).write(replace(make_result(), label=label, labels=(label,)))
    assert cell_len(terminal.getvalue().removeprefix("\r")) == 59


def test_log_has_a_line_every_five_seconds(log: io.StringIO, clock: Any, make_result: MakeResult) -> None:
    sink = StatusLine(clock)
    run(sink, clock, make_result, ["Coat"] * 30, 0.5)
    assert [line.split("ms  ")[-1] for line in log.getvalue().splitlines()] == [
        *("1 frames, 0 dropped", "11 frames, 0 dropped", "21 frames, 0 dropped")
    ]


def test_log_is_not_flooded_by_a_label_that_flickers(log: io.StringIO, clock: Any, make_result: MakeResult) -> None:
    run(StatusLine(clock), clock, make_result, ["Coat", "Dress"] * 50, 0.05)
    assert len(log.getvalue().splitlines()) <= 6


def test_a_change_within_a_second_is_logged_later(log: io.StringIO, clock: Any, make_result: MakeResult) -> None:
    run(StatusLine(clock), clock, make_result, ["Coat"] + ["Dress"] * 20, 0.1)
    assert [line.split()[0] for line in log.getvalue().splitlines()] == ["Coat", "Dress"]


def test_log_ends_with_the_last_result(log: io.StringIO, clock: Any, make_result: MakeResult) -> None:
    sink = StatusLine(clock)
    run(sink, clock, make_result, ["Coat"] * 3, 0.01)
    sink.close()
    sink.close()
    assert [line.split("ms  ")[-1] for line in log.getvalue().splitlines()] == [
        *("1 frames, 0 dropped", "3 frames, 0 dropped")
    ]


@pytest.mark.parametrize("columns", [60, 200])
def test_terminal_is_redrawn_in_place(
    terminal: Terminal, clock: Any, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((columns, 24)))
    sink = StatusLine(clock)
    run(sink, clock, make_result, ["Coat", None], 0.2)
    sink.close()
    first, second = terminal.getvalue().removesuffix("\n").split("\r")[1:]
    assert first.startswith("Coat 90 %")
    assert second.startswith("no garment")
    assert len(first) == len(second) == columns - 1
    assert terminal.getvalue().count("\n") == 1


def test_nothing_to_say(terminal: Terminal) -> None:
    StatusLine().close()
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("stream", [None, "closed", "broken"])
def test_without_standard_error_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, make_result: MakeResult, stream: str | None
) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    target = {None: None, "closed": io.StringIO(), "broken": Broken()}[stream]
    if target and stream == "closed":
        target.close()
    monkeypatch.setattr(status, "sys", SimpleNamespace(stderr=target))
    with StatusLine() as sink:
        sink.write(make_result())
