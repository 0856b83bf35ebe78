"""``edge-fmnist live``: sources to sinks, their failures, and every way to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from edge_fmnist.cli.outputs import Outputs

from edge_fmnist.cli import live as command
from edge_fmnist.cli import outputs
from edge_fmnist.cli.signals import stopped_by_signals
from edge_fmnist.errors import ImageError, SinkClosedError, SinkError
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.pipeline.stats import LiveStats, Percentiles
from edge_fmnist.sinks.base import Sink
from edge_fmnist.sinks.web import parse_address
from edge_fmnist.vision.detection import Box, Garment

RunCli = Callable[..., Any]
FRAMES = 12
# A test run in the background or under nohup hands on signals that are ignored.
MAIN = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from edge_fmnist.cli.app import main
main()
"""


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace preprocessing by one that finds a garment in every frame that is not black, and cannot use white."""

    def preprocess(picture: np.ndarray, previous: Garment | None = None) -> Garment:
        height, width = picture.shape[:2]
        if picture.min() == 255:
            raise ImageError("expected another picture")
        image = cv2.resize(picture[..., 0], (28, 28))
        mask = np.full((12, 16), 255, np.uint8)
        return Garment(bool(picture.any()), image, mask, Box(0, 0, width, height), 0.9, (height, width))

    monkeypatch.setattr("edge_fmnist.vision.preprocess.preprocess", preprocess)


@pytest.fixture
def live(run_cli: RunCli, found: None) -> RunCli:
    """Return a function that runs ``live`` with the model for 28x28 images and checks that no thread is left."""

    def run(*arguments: object, **options: Any) -> Any:
        before = set(threading.enumerate())
        result = run_cli("live", "--model", "edge", "--threshold", 0, *arguments, **options)
        assert set(threading.enumerate()) - before == set()
        return result

    return run


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "video.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (64, 48))
    for index in range(FRAMES):
        picture = np.full((48, 64, 3), 30, np.uint8)
        picture[8:40, 10 + index : 40 + index] = 200
        writer.write(picture)
    writer.release()
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "pictures"
    path.mkdir()
    for index, value in enumerate((90, 0, 180)):
        cv2.imwrite(str(path / f"{index}.png"), np.full((40, 30, 3), value, np.uint8))
    return path


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def frame_count(path: Path) -> int:
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


def test_a_video_gives_a_line_and_a_frame_for_each_frame(live: RunCli, video: Path, tmp_path: Path) -> None:
    result = live("--source", video, "--jsonl", "-", "--save", tmp_path / "out.mp4")
    assert [line["frame"] for line in json_lines(result.stdout)] == list(range(FRAMES))
    assert frame_count(tmp_path / "out.mp4") == FRAMES


def test_a_saved_video_has_the_rate_of_the_file(live: RunCli, video: Path, tmp_path: Path) -> None:
    live("--source", video, "--save", tmp_path / "out.mp4")
    capture = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == 25
    capture.release()


def test_a_folder(live: RunCli, folder: Path) -> None:
    lines = json_lines(live("--source", folder, "--jsonl", "-").stdout)
    assert [Path(line["name"]).name for line in lines] == ["0.png", "1.png", "2.png"]
    assert [line["found"] for line in lines] == [True, False, True]
    assert lines[1]["label"] is None


def test_all_file_sinks_together(live: RunCli, folder: Path, tmp_path: Path) -> None:
    result = live(
        *("--source", folder, "--jsonl", tmp_path / "a.jsonl"),
        *("--save", tmp_path / "a.avi", "--snapshot", tmp_path / "shots"),
    )
    assert result.stdout == ""
    assert len(json_lines((tmp_path / "a.jsonl").read_text())) == 3
    assert frame_count(tmp_path / "a.avi") == 3
    assert any((tmp_path / "shots").glob("*.json"))


def test_the_demo_over_the_web(live: RunCli) -> None:
    result = live("--source", "demo", "--frames", 5, "--serve", "127.0.0.1:0")
    assert "Watch at http://127.0.0.1:" in result.stderr
    assert "5 results in" in result.stderr
    assert "Warning" not in result.stderr


def test_the_demo_ends_after_so_many_seconds(live: RunCli) -> None:
    started = time.perf_counter()
    live("--source", "demo", "--seconds", 0.3)
    assert 0.3 <= time.perf_counter() - started < 10


def test_rotation_and_region(live: RunCli, folder: Path) -> None:
    result = live("--source", folder, "--rotate", 90, "--mirror", "--roi", "25%,0,20,10", "--jsonl", "-")
    assert [line["size"] for line in json_lines(result.stdout)] == [[20, 10]] * 3


def test_the_status_line_stands_alone(live: RunCli, folder: Path) -> None:
    result = live("--source", folder)
    assert "fps" in result.stderr
    assert result.stdout == ""


def test_beside_a_sink_in_a_log_there_is_no_status_line(live: RunCli, folder: Path, tmp_path: Path) -> None:
    result = live("--source", folder, "--jsonl", tmp_path / "a.jsonl")
    assert len(result.stderr.splitlines()) == 3


@pytest.mark.parametrize(
    ("stdout", "stderr", "jsonl", "shown"),
    [
        (True, True, "-", False),
        (False, True, "-", True),
        (True, True, "file.jsonl", True),
        (True, False, "file.jsonl", False),
        (False, False, None, True),
    ],
)
def test_where_the_status_line_is_shown(
    monkeypatch: pytest.MonkeyPatch, stdout: bool, stderr: bool, jsonl: str | None, shown: bool
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: stdout, raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: stderr, raising=False)
    out = Outputs()
    if jsonl:
        out.add(Recorder())
    command._add_screen(out, show=False, quiet=False, jsonl=jsonl)
    assert (out._status is not None) == shown
    quiet = Outputs()
    command._add_screen(quiet, show=False, quiet=True, jsonl=jsonl)
    assert quiet._status is None


def test_quiet(live: RunCli, folder: Path) -> None:
    result = live("--source", folder, "--quiet")
    assert (result.stdout, result.stderr) == ("", "")


def test_the_summary() -> None:
    stats = LiveStats(100, 9, 90, 1, 2, 3.0, {"total": Percentiles(1.5, 2.25)}, {"Coat": 80, "no garment": 10})
    assert command.summary(stats).splitlines() == [
        "90 results in 3.0 s (30.0 a second), 100 frames, 9 dropped, 1 unusable, 2 reconnects",
        "ms p50/p90: total 1.50/2.25",
        "Coat 80, no garment 10",
    ]
    assert command.summary(LiveStats(1, 0, 0, 1, 0, 1.0, {}, {})).count("\n") == 0


# --serve may stand without its value.


@pytest.mark.parametrize(
    ("arguments", "address"),
    [
        (["--serve"], ("127.0.0.1", 8000)),
        (["--serve", "--frames", "3"], ("127.0.0.1", 8000)),
        (["--frames", "3", "--serve"], ("127.0.0.1", 8000)),
        (["--serve", "-q"], ("127.0.0.1", 8000)),
        (["--serve", "0.0.0.0:8001"], ("0.0.0.0", 8001)),
        (["--serve", ":0", "--quiet"], ("127.0.0.1", 0)),
        (["--serve=:0"], ("127.0.0.1", 0)),
        (["--serve=8080"], ("127.0.0.1", 8080)),
        (["--quiet"], None),
    ],
)
def test_serve_with_and_without_an_address(
    live: RunCli,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    address: tuple[str, int] | None,
) -> None:
    served: list[tuple[str, int]] = []

    class Page(Recorder):
        url = "http://page/"

        def __init__(self, *where: Any, **_: Any) -> None:
            super().__init__()
            served.append(where)

    monkeypatch.setattr("edge_fmnist.sinks.web.WebPage", Page)
    result = live("--source", folder, *arguments)
    assert served == ([address] if address else [])
    beyond = address is not None and address[0] == "0.0.0.0"
    assert ("Warning: the page has no password" in result.stderr) == beyond


def test_the_default_address_is_in_the_help(run_cli: RunCli) -> None:
    host, port = parse_address("")
    assert f"{host}:{port}, for this machine only" in " ".join(run_cli("live", "--help").stdout.split())


def test_serve_without_the_extra(live: RunCli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_fmnist.extras.find_spec", lambda _: None)
    result = live("--source", folder, "--serve", code=2)
    assert "--serve needs the package 'starlette'" in result.stderr
    assert "pip install 'edge-fmnist[web]'" in result.stderr


def test_a_port_in_use_is_found_before_frames_flow(live: RunCli, folder: Path, serve: Callable[..., str]) -> None:
    address = serve({}).removeprefix("http://").rstrip("/")
    result = live("--source", folder, "--serve", address, code=1)
    assert "is in use" in result.stderr
    assert "results" not in result.stderr


# Sinks that fail.


class Recorder(Sink):
    """Takes results; fails at the one with this number, and at closing if told to."""

    def __init__(self, fails_at: int | None = None, error: Exception | None = None, closing: Exception | None = None):
        self.taken: list[int] = []
        self.fails_at, self.error, self.closing = fails_at, error or SinkError("disk full"), closing
        self.closed = 0

    def write(self, result: LiveResult) -> None:
        if len(self.taken) == self.fails_at:
            raise self.error
        self.taken.append(result.frame.index)

    def close(self) -> None:
        self.closed += 1
        if self.closing is not None:
            raise self.closing


def written(results: list[LiveResult], *sinks: Sink, status: Sink | None = None) -> Outputs:
    """Write results to sinks as the command does."""
    with Outputs() as out:
        for sink in sinks:
            out.add(sink)
        if status is not None:
            out.add_status(status)
        for result in results:
            out.write(result)
            if out.over:
                break
    return out


@pytest.fixture
def results(make_result: Callable[..., LiveResult]) -> list[LiveResult]:
    return [make_result(index, size=(64, 48)) for index in range(5)]


@pytest.mark.parametrize("error", [SinkError("disk full"), OSError(28, "disk full")])
def test_a_sink_that_fails_does_not_stop_the_others(
    results: list[LiveResult], capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    broken, whole = Recorder(2, error), Recorder()
    out = written(results, broken, whole)
    assert (broken.taken, whole.taken) == ([0, 1], [0, 1, 2, 3, 4])
    assert (broken.closed, whole.closed) == (1, 1)
    assert out.failed
    assert capsys.readouterr().err.count("disk full") == 1


def test_when_the_last_sink_has_failed_it_ends(results: list[LiveResult]) -> None:
    first, second, status = Recorder(1), Recorder(2), Recorder()
    out = written(results, first, second, status=status)
    assert (out.over, out.failed) == (True, True)
    assert status.taken == [0, 1, 2]
    assert status.closed == 1


def test_a_closed_window_ends_it_well(results: list[LiveResult]) -> None:
    window, other = Recorder(2, SinkClosedError("the window was closed")), Recorder()
    out = written(results, window, other)
    assert (out.over, out.failed) == (True, False)
    # The others still get the frame at which the window was closed.
    assert other.taken == [0, 1, 2]
    assert (window.closed, other.closed) == (1, 1)


@pytest.mark.parametrize(
    "error", [SinkError("cannot be moved"), OSError(5, "cannot be moved"), SinkClosedError("gone")]
)
def test_every_sink_is_closed_though_one_fails_to(results: list[LiveResult], error: Exception) -> None:
    sinks = [Recorder(), Recorder(closing=error), Recorder()]
    out = written(results, *sinks, status=Recorder())
    assert [sink.closed for sink in sinks] == [1, 1, 1]
    assert out.failed == (not isinstance(error, SinkClosedError))


def test_a_bug_in_closing_still_closes_the_others(results: list[LiveResult]) -> None:
    sinks = [Recorder(), Recorder(closing=ZeroDivisionError())]
    with pytest.raises(ZeroDivisionError):
        written(results, *sinks)
    assert [sink.closed for sink in sinks] == [1, 1]


def test_messages_stand_on_their_own_line(
    results: list[LiveResult], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    out = Outputs()
    out.warn("before")
    out.add_status(Recorder())
    out.warn("after")
    assert capsys.readouterr().err == f"Warning: before\n{outputs.CLEAR_LINE}Warning: after\n"


def test_the_exit_code_of_a_failed_sink(
    live: RunCli, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_fmnist.sinks.video.VideoFile.write", Recorder(0).write)
    result = live("--source", video, "--jsonl", "-", "--save", tmp_path / "out.mp4", code=1)
    assert len(json_lines(result.stdout)) == FRAMES
    assert "Error: disk full" in result.stderr
    assert f"{FRAMES} results" in result.stderr


def test_the_only_sink_fails(live: RunCli, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_fmnist.sinks.jsonl.JsonLines.write", Recorder(0).write)
    result = live("--source", video, "--jsonl", tmp_path / "a.jsonl", code=1)
    assert "1 results" in result.stderr


def test_a_window_without_a_display(live: RunCli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert "use --serve to watch in a browser" in live("--source", folder, "--show", code=1).stderr


# Bad input.


@pytest.mark.parametrize(
    ("source", "code", "message"),
    [
        ("absent.mp4", 3, "absent.mp4: no such file or folder"),
        ("/dev/video98", 3, "/dev/video98: no such camera"),
        ("*.nothing", 3, "no file matches this pattern"),
        ("", 2, "source: expected"),
        ("http://", 2, "source: this URL cannot be used"),
    ],
)
def test_a_source_that_is_not_there_writes_nothing(
    live: RunCli, tmp_path: Path, source: str, code: int, message: str
) -> None:
    result = live("--source", source, "--jsonl", tmp_path / "a.jsonl", "--snapshot", tmp_path / "shots", code=code)
    assert f"Error: {source if code == 3 else ''}" in result.stderr
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_unreachable_url(live: RunCli, closed_port: str) -> None:
    assert "cannot be reached" in live("--source", closed_port, code=3).stderr


def test_a_folder_without_pictures(live: RunCli, tmp_path: Path) -> None:
    assert "no pictures in this folder" in live("--source", tmp_path, code=3).stderr


def test_a_text_file_as_video(live: RunCli, tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("not a video" * 100, "utf-8")
    assert "not a video" in live("--source", path, code=3).stderr


def test_one_unusable_frame(live: RunCli, folder: Path) -> None:
    cv2.imwrite(str(folder / "9.png"), np.full((40, 30, 3), 255, np.uint8))
    result = live("--source", folder)
    assert "9.png: frame 3 is passed over, and others like it (expected another picture)" in result.stderr
    assert "3 results" in result.stderr
    assert "1 unusable" in result.stderr


def test_only_unusable_frames(live: RunCli, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "white.png"), np.full((40, 30, 3), 255, np.uint8))
    assert "Error: none of 1 frames could be used" in live("--source", tmp_path / "white.png", code=1).stderr


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--frames", "0"], ["--seconds", "0"], ["--seconds", "nan"], ["--width", "-1"], ["--fps", "0"]),
        *(["--max-failures", "0"], ["--rotate", "45"], ["--roi", "1,2"], ["--threshold", "2"], ["--serve", "a b"]),
        *(["--save", "out.txt"], ["--roi", "9000,0,5,5"], ["--nonsense"], ["an argument"], ["--interpreter", "onnx"]),
    ],
)
def test_bad_options(live: RunCli, folder: Path, arguments: list[str]) -> None:
    result = live("--source", folder, *arguments, code=2)
    assert result.stderr
    assert result.stdout == ""


def test_a_missing_model(run_cli: RunCli, folder: Path) -> None:
    assert "no-such-model" in run_cli("live", "--source", folder, "--model", "no-such-model", code=3).stderr


# Ends from outside, in processes of their own.


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts ``live`` on the drawn scene; what still runs at the end is killed."""
    processes: list[subprocess.Popen[str]] = []

    def run(*arguments: object) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", MAIN, "live", "--source", "demo", "--model", "edge", *map(str, arguments)]
        processes.append(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        with process:
            pass


def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_cleanly(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, number: signal.Signals
) -> None:
    lines, saved = tmp_path / "a.jsonl", tmp_path / "out.mp4"
    process = start("--jsonl", lines, "--save", saved)
    until(lambda: process.poll() is not None or (lines.exists() and lines.stat().st_size > 3000))
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    assert "results in" in stderr
    assert frame_count(saved) == len(json_lines(lines.read_text())) > 0


def test_a_reader_that_leaves_ends_it_cleanly(start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start("--jsonl", "-")
    assert process.stdout is not None
    assert process.stderr is not None
    # Not the very first frame where the machine is busy: a late reader drops frames.
    assert json.loads(process.stdout.readline())["frame"] >= 0
    process.stdout.close()
    stderr = process.stderr.read()
    assert process.wait(60) == 0, stderr
    assert "Traceback" not in stderr
    assert "Exception ignored" not in stderr


def test_the_first_signal_stops_and_the_second_interrupts() -> None:
    stopped: list[int] = []

    def run() -> None:
        with stopped_by_signals(lambda: stopped.append(1)):
            os.kill(os.getpid(), signal.SIGINT)
            until(lambda: stopped)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run()
        assert stopped == [1]
        assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_ignored_signal_stays_ignored() -> None:
    stopped: list[int] = []
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopped_by_signals(lambda: stopped.append(1)):
            os.kill(os.getpid(), signal.SIGHUP)
        assert stopped == []
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signals_are_left_alone_outside_the_main_thread() -> None:
    ran: list[bool] = []

    def use() -> None:
        with stopped_by_signals(lambda: None):
            ran.append(signal.getsignal(signal.SIGINT) == before)

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert ran == [True]


def test_bare_live_without_a_camera_ends_with_a_message(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("edge_fmnist.sources.devices.FOLDER", tmp_path, raising=False)
    result = run_cli("live", code=3)
    assert "no camera" in result.stderr
