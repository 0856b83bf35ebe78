"""Lines for the journal: their form, when they are written, and that nothing writes one for each frame."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_fmnist.cli.reports import JournalReport, Log, log_of
from edge_fmnist.cli.supervision import Supervisor
from edge_fmnist.errors import SinkError
from edge_fmnist.pipeline import journal
from edge_fmnist.pipeline.observer import State
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.pipeline.systemd import Notifier

MAIN = "from edge_fmnist.cli.app import main; main()"


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"label": "Coat", "score": 0.93456}, "<6>event=e label=Coat score=0.9346"),
        ({"label": "T-shirt/top", "previous": None}, "<6>event=e label=T-shirt/top"),
        ({"a": "no garment"}, '<6>event=e a="no garment"'),
        ({"a": 'say "x=1"'}, r'<6>event=e a="say \"x=1\""'),
        ({"a": "x\n<3>event=error"}, r'<6>event=e a="x\n<3>event=error"'),
        ({"a": ""}, '<6>event=e a=""'),
        ({"a": 3, "b": Path("/etc/x.toml")}, "<6>event=e a=3 b=/etc/x.toml"),
    ],
)
def test_a_line(fields: dict[str, object], line: str) -> None:
    assert journal.line("e", fields) == line


def test_a_line_has_its_priority() -> None:
    assert journal.line("error", {}, journal.ERROR) == "<3>event=error"


def run(stderr: int, journal_stream: str, *arguments: str) -> int:
    environment = {**os.environ, "JOURNAL_STREAM": journal_stream}
    words = [sys.executable, "-c", MAIN, "live", "--source", "demo", "--model", "edge", "--frames", "3", *arguments]
    return subprocess.run(words, env=environment, stderr=stderr, stdout=subprocess.DEVNULL, check=False).returncode


def said(tmp_path: Path, *arguments: str, same: bool = True, code: int = 0) -> list[str]:
    """Run ``live`` with standard error in a file that the journal's variable names, or not; return what it said."""
    path = tmp_path / "journal"
    with path.open("wb") as file:
        status = os.fstat(file.fileno())
        assert run(file.fileno(), f"{status.st_dev}:{status.st_ino + (not same)}", *arguments) == code
    return path.read_text().splitlines()


def test_under_the_journal_its_form_is_the_default(tmp_path: Path) -> None:
    lines = said(tmp_path)
    assert all(line.startswith("<") for line in lines)
    assert [line.split()[0] for line in lines] == ["<6>event=start", "<6>event=label", "<6>event=stop"]
    assert "source=demo model=edge" in lines[0]
    assert "results=3" in lines[-1]


def test_where_standard_error_is_another_file_it_speaks_to_people(tmp_path: Path) -> None:
    assert "3 results in" in "\n".join(said(tmp_path, same=False))
    assert "3 results in" in "\n".join(said(tmp_path, "--log", "text"))


def test_an_error_has_its_priority(tmp_path: Path) -> None:
    (line,) = said(tmp_path, "--rotate", "45", code=2)
    assert line.startswith("<3>event=error message=")
    assert "got 45" in line
    (line,) = said(tmp_path, "--config", str(tmp_path / "absent.toml"), code=2)
    assert line.startswith("<3>event=error message=")


def test_quiet_leaves_out_what_is_no_warning(tmp_path: Path) -> None:
    assert said(tmp_path, "--quiet") == []


def test_it_can_be_asked_for(run_cli: Callable[..., Any]) -> None:
    result = run_cli("live", "--source", "demo", "--model", "edge", "--frames", 2, "--log", "journal")
    assert "<6>event=start" in result.stderr


def test_log_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    assert log_of(None) is Log.TEXT
    assert log_of(Log.JOURNAL) is Log.JOURNAL


class Clock:
    """A time that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_line_for_each_change_and_none_for_each_frame(
    make_result: Callable[..., LiveResult], capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    supervisor = Supervisor(JournalReport(), Notifier(None), clock)
    for second, label, state in [
        *((n, "Coat", State.RUNNING) for n in range(100)),
        *((100 + n, "Coat", State.IDLE) for n in range(50)),
        (150, "Bag", State.RUNNING),
        *((151 + n, None, State.WAITING) for n in range(10)),
        (170, "Bag", State.RUNNING),
    ]:
        clock.now = second
        supervisor.take(make_result(label=label, size=(64, 48)))
        supervisor.turn(state)
    lines = [line.removeprefix("<6>event=") for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        "label label=Coat score=0.9",
        "idle",
        "label label=Bag previous=Coat score=0.9",
        "awake",
        'label label="no garment" previous=Bag score=0',
        'label label=Bag previous="no garment" score=0.9',
    ]


def test_a_label_that_flickers_is_told_once_a_second(
    make_result: Callable[..., LiveResult], capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    supervisor = Supervisor(JournalReport(), Notifier(None), clock)
    coat, bag = make_result(label="Coat", size=(64, 48)), make_result(label="Bag", size=(64, 48))
    for number in range(300):
        clock.now = number / 30
        supervisor.take(bag if number % 2 else coat)
    assert 5 <= len(capsys.readouterr().err.splitlines()) <= 11


def test_a_sink_that_fails_is_an_error_of_the_journal(capsys: pytest.CaptureFixture[str]) -> None:
    report = JournalReport()
    report.outputs._report(SinkError("disk full"))
    report.warn("a warning")
    assert report.outputs.failed
    assert capsys.readouterr().err.splitlines() == [
        '<3>event=sink-failed message="disk full"',
        '<4>event=warning message="a warning"',
    ]
