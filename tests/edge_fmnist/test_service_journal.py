"""Lines for the journal: their format, when they are written, and that no frame writes one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_fmnist.cli.reports import JournalReport, Log, journal_line, log_of
from edge_fmnist.cli.supervision import Supervisor
from edge_fmnist.pipeline.observer import State
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.pipeline.systemd import Notifier

MAIN = "from edge_fmnist.cli.app import main; main()"


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"label": "Coat", "score": 0.93456}, "<6>event=e label=Coat score=0.9346"),
        ({"seconds": 86412.34, "rate": 0.0}, "<6>event=e seconds=86412.3 rate=0"),
        ({"label": "T-shirt/top", "previous": None}, "<6>event=e label=T-shirt/top"),
        ({"a": 'say "x=1"'}, r'<6>event=e a="say \"x=1\""'),
        ({"a": "x\n<3>event=error"}, r'<6>event=e a="x\n<3>event=error"'),
        ({"a": ""}, '<6>event=e a=""'),
        ({"a": 3, "b": Path("/etc/x.toml")}, "<6>event=e a=3 b=/etc/x.toml"),
    ],
)
def test_a_line(fields: dict[str, object], line: str) -> None:
    assert journal_line("e", fields) == line


def test_the_journal_is_recognized_by_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal"
    words = [sys.executable, "-c", MAIN, "live", "--source", "demo", "--model", "edge", "--frames", "3"]
    with path.open("wb") as file:
        status = os.fstat(file.fileno())
        environment = {**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        subprocess.run(words, env=environment, stderr=file, stdout=subprocess.DEVNULL, check=True)
    lines = path.read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["<6>event=start", "<6>event=label", "<6>event=stop"]
    assert "source=demo model=edge" in lines[0]
    assert "results=3" in lines[-1]
    # Another file is for people.
    monkeypatch.setenv("JOURNAL_STREAM", environment["JOURNAL_STREAM"])
    assert log_of(None) is Log.TEXT
    assert log_of(Log.JOURNAL) is Log.JOURNAL


def test_errors_have_their_priority(run_cli: Callable[..., Any], tmp_path: Path) -> None:
    result = run_cli("live", "--source", "demo", "--log", "journal", "--rotate", "45", code=2)
    assert result.stderr.startswith("<3>event=error message=")
    assert "got 45" in result.stderr
    result = run_cli("live", "--source", tmp_path / "absent", "--log", "journal", code=3)
    assert result.stderr.startswith("<3>event=error message=")


def test_quiet_leaves_out_everything_below_warnings(run_cli: Callable[..., Any]) -> None:
    settings = ("--source", "demo", "--model", "edge", "--frames", 2, "--log", "journal")
    assert "<6>event=start" in run_cli("live", *settings).stderr
    assert run_cli("live", *settings, "--quiet").stderr == ""


def test_a_line_for_each_change_and_none_for_each_frame(
    make_result: Callable[..., LiveResult], capsys: pytest.CaptureFixture[str], clock: Any
) -> None:
    supervisor = Supervisor(JournalReport(), Notifier(None), clock)
    for second, label, state in [
        *((n, "Coat", State.RUNNING) for n in range(20)),
        *((100 + n, "Coat", State.IDLE) for n in range(10)),
        (150, "Bag", State.RUNNING),
        *((151 + n, None, State.WAITING) for n in range(10)),
        (170, "Bag", State.RUNNING),
        # A label that flickers is reported once a second.
        *((170 + n / 30, "Coat" if n % 2 else "Bag", State.RUNNING) for n in range(1, 33)),
    ]:
        clock.now = second
        supervisor.take(make_result(label=label, size=(64, 48)))
        supervisor.turn(state)
    supervisor.lost("gone")
    supervisor.back("here")
    assert [line.partition("event=")[2] for line in capsys.readouterr().err.splitlines()] == [
        "label label=Coat score=0.9",
        "idle",
        "label label=Bag previous=Coat score=0.9",
        "awake",
        'label label="no garment" previous=Bag score=0',
        'label label=Bag previous="no garment" score=0.9',
        "label label=Coat previous=Bag score=0.9",
        "source-lost message=gone",
        "source-back message=here",
    ]


def test_warnings_and_failed_outputs(capsys: pytest.CaptureFixture[str]) -> None:
    report = JournalReport()
    report.failed("disk full")
    report.warn("a warning")
    assert capsys.readouterr().err.splitlines() == [
        '<3>event=sink-failed message="disk full"',
        '<4>event=warning message="a warning"',
    ]
