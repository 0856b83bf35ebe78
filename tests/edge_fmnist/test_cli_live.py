"""``edge-fmnist live``: sources to outputs, their failures, and every way to end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_fmnist.cli.live import summary
from edge_fmnist.cli.reports import CLEAR_LINE, Report
from edge_fmnist.cli.signals import stopped_by_signals
from edge_fmnist.errors import ImageError, SinkClosedError, SinkError
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.pipeline.settings import LiveSettings
from edge_fmnist.pipeline.stats import LiveStats, Percentiles
from edge_fmnist.sinks.base import Sink
from edge_fmnist.sinks.outputs import Outputs
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
def live(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> RunCli:
    """Return a function that runs ``live`` and checks that no thread is left; all but black and white is a garment."""

    def preprocess(picture: np.ndarray, previous: Garment | None = None, small: np.ndarray | None = None) -> Garment:
        height, width = picture.shape[:2]
        if picture.min() == 255:
            raise ImageError("expected another picture")
        image = cv2.resize(picture[..., 0], (28, 28))
        mask = np.full((12, 16), 255, np.uint8)
        return Garment(bool(picture.any()), image, mask, Box(0, 0, width, height), 0.9, (height, width))

    monkeypatch.setattr("edge_fmnist.vision.preprocess.preprocess", preprocess)

    def run(*arguments: object, **options: Any) -> Any:
        before = set(threading.enumerate())
        result = run_cli("live", "--model", "edge", "--threshold", 0, *arguments, **options)
        assert set(threading.enumerate()) - before == set()
        return result

    return run


@pytest.fixture
def video(tmp_path: Path, write_video: Callable[..., Path]) -> Path:
    frames = np.full((FRAMES, 48, 64, 3), 30, np.uint8)
    for index, frame in enumerate(frames):
        frame[8:40, 10 + index : 40 + index] = 200
    return write_video(tmp_path / "video.mp4", frames, "mp4v")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "pictures"
    path.mkdir()
    for index, value in enumerate((90, 0, 180)):
        cv2.imwrite(str(path / f"{index}.png"), np.full((40, 30, 3), value, np.uint8))
    return path


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


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
    capture = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == 25
    capture.release()


def test_a_folder_to_all_files(live: RunCli, folder: Path, tmp_path: Path) -> None:
    result = live(
        *("--source", folder, "--jsonl", tmp_path / "a.jsonl"),
        *("--save", tmp_path / "a.avi", "--snapshot", tmp_path / "shots"),
        *("--rotate", 90, "--mirror", "--roi", "25%,0,20,10"),
    )
    lines = json_lines((tmp_path / "a.jsonl").read_text())
    assert [Path(line["name"]).name for line in lines] == ["0.png", "1.png", "2.png"]
    assert [line["found"] for line in lines] == [True, False, True]
    assert [line["size"] for line in lines] == [[20, 10]] * 3
    assert frame_count(tmp_path / "a.avi") == 3
    assert any((tmp_path / "shots").glob("*.json"))
    # Beside other outputs there is no status line in a log.
    assert (result.stdout, len(result.stderr.splitlines())) == ("", 3)


def test_a_picture_with_transparency_reaches_every_output(
    run_cli: RunCli, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    picture = np.full((120, 160, 4), 235, np.uint8)
    picture[..., 3] = 0
    cv2.ellipse(picture, (80, 60), (30, 40), 0, 0, 360, (235, 235, 235, 255), -1)
    cv2.imwrite(str(tmp_path / "cut-out.png"), picture)
    result = run_cli(
        *("live", "--source", tmp_path / "cut-out.png", "--jsonl", "-", "--save", tmp_path / "a.avi"),
        *("--snapshot", tmp_path / "shots", "--serve", "127.0.0.1:0"),
    )
    (line,) = json_lines(result.stdout)
    assert line["found"]
    np.testing.assert_allclose(line["box"], [50, 20, 61, 81], atol=1)
    assert frame_count(tmp_path / "a.avi") == 1
    (frame,) = (tmp_path / "shots").glob("*-frame.jpg")
    saved: Any = cv2.imread(str(frame))
    assert saved.shape == (120, 160, 3)
    # Nor does OpenCV write warnings of its own.
    assert "WARN" not in capfd.readouterr().err


def test_what_is_assumed_about_a_model_is_said_once(live: RunCli, folder: Path, model_path: Any) -> None:
    result = live("--source", folder, "--model", model_path("logits_uint8"), "--jsonl", "-")
    assert result.stderr.count("has no labels: using Fashion-MNIST's") == 1


def test_the_status_line_alone_or_quiet(live: RunCli, folder: Path) -> None:
    result = live("--source", folder)
    assert "fps" in result.stderr.splitlines()[0]
    assert result.stdout == ""
    assert live("--source", folder, "--quiet").stderr == ""


def test_the_demo_in_a_browser(live: RunCli) -> None:
    result = live("--source", "demo", "--frames", 5, "--serve", "127.0.0.1:0")
    assert "Watch at http://127.0.0.1:" in result.stderr
    assert "5 results in" in result.stderr
    assert "Warning" not in result.stderr


def test_the_summary() -> None:
    stats = LiveStats(100, 9, 90, 1, 2, 3.0, {"total": Percentiles(1.5, 2.25)}, {"Coat": 80, "no garment": 10})
    assert summary(stats).splitlines() == [
        "90 results in 3.0 s (30.0 fps), 100 frames, 9 dropped, 1 unusable, 2 reconnects",
        "ms p50/p90: total 1.50/2.25",
        "Coat 80, no garment 10",
    ]
    assert summary(LiveStats(1, 0, 0, 1, 0, 1.0, {}, {})).count("\n") == 0


# Outputs that fail.


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


@pytest.fixture
def written(make_result: Callable[..., LiveResult]) -> Callable[..., tuple[Outputs, int]]:
    """Return a function that writes five results to sinks as the loop does; it returns how many were written."""

    def write(*sinks: Sink, status: Sink | None = None, needed: bool = True) -> tuple[Outputs, int]:
        outputs = Outputs(LiveSettings(), Report(), needed=needed)
        outputs.sinks[:], outputs.status = sinks, status
        count = 0
        try:
            for count in range(1, 6):
                if not outputs.write(make_result(count - 1, size=(64, 48))):
                    break
        finally:
            outputs.close()
        return outputs, count

    return write


@pytest.mark.parametrize("error", [SinkError("disk full"), OSError(28, "disk full")])
def test_an_output_that_fails_does_not_stop_the_others(
    written: Callable[..., tuple[Outputs, int]], capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    broken, whole = Recorder(2, error), Recorder()
    outputs, _ = written(broken, whole)
    assert (broken.taken, whole.taken) == ([0, 1], [0, 1, 2, 3, 4])
    assert (broken.closed, whole.closed) == (1, 1)
    assert outputs.failed
    assert capsys.readouterr().err.count("disk full") == 1


@pytest.mark.parametrize(("needed", "count"), [(True, 3), (False, 5)])
def test_when_the_last_output_has_failed(written: Callable[..., tuple[Outputs, int]], needed: bool, count: int) -> None:
    status = Recorder()
    outputs, taken = written(Recorder(1), Recorder(2), status=status, needed=needed)
    assert (taken, outputs.failed) == (count, True)
    assert (len(status.taken), status.closed) == (count, 1)


def test_a_closed_window_ends_it_well(written: Callable[..., tuple[Outputs, int]]) -> None:
    window, other = Recorder(2, SinkClosedError("the window was closed")), Recorder()
    outputs, count = written(window, other)
    # The others still get the frame at which the window was closed.
    assert (count, outputs.failed, other.taken) == (3, False, [0, 1, 2])
    assert (window.closed, other.closed) == (1, 1)


@pytest.mark.parametrize(
    "error", [SinkError("cannot be moved"), OSError(5, "cannot be moved"), SinkClosedError("gone")]
)
def test_every_output_is_closed_though_one_fails_to(
    written: Callable[..., tuple[Outputs, int]], error: Exception
) -> None:
    sinks = [Recorder(), Recorder(closing=error), Recorder()]
    outputs, _ = written(*sinks, status=Recorder())
    assert [sink.closed for sink in sinks] == [1, 1, 1]
    assert outputs.failed == (not isinstance(error, SinkClosedError))


def test_messages_are_on_lines_of_their_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    report = Report()
    report.warn("before")
    report.status_shown = True
    report.warn("after")
    assert capsys.readouterr().err == f"Warning: before\n{CLEAR_LINE}Warning: after\n"


def test_the_exit_code_of_a_failed_output(
    live: RunCli, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_fmnist.sinks.video.VideoRecorder.write", Recorder(0).write)
    result = live("--source", video, "--jsonl", "-", "--save", tmp_path / "out.mp4", code=1)
    assert len(json_lines(result.stdout)) == FRAMES
    assert "Error: disk full" in result.stderr
    assert f"{FRAMES} results" in result.stderr
    # Without another output, the loop ends soon after the result that could not be written.
    ended = live("--source", "demo", "--frames", 1000, "--save", tmp_path / "out.mp4", code=1).stderr
    assert "Error: disk full" in ended
    assert "1000 results" not in ended


def test_outputs_that_cannot_be_opened(
    live: RunCli, folder: Path, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    address = serve({}).removeprefix("http://").rstrip("/")
    result = live("--source", folder, "--serve", address, code=1)
    assert "is in use" in result.stderr
    assert "results" not in result.stderr
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert "use --serve to watch in a browser" in live("--source", folder, "--show", code=1).stderr
    monkeypatch.setattr("edge_fmnist.extras.find_spec", lambda _: None)
    assert "--serve needs the package 'starlette'" in live("--source", folder, "--serve", code=2).stderr


# Bad input.


@pytest.mark.parametrize(
    ("source", "code", "message"),
    [
        ("absent.mp4", 3, "absent.mp4: no such file or folder"),
        ("/dev/video98", 3, "/dev/video98: no such camera"),
        ("*.nothing", 3, "*.nothing: no file matches this pattern"),
        ("", 2, "--source: expected"),
        ("http://", 2, "--source: this URL cannot be used"),
    ],
)
def test_a_source_that_does_not_exist_writes_nothing(
    live: RunCli, tmp_path: Path, source: str, code: int, message: str
) -> None:
    result = live("--source", source, "--jsonl", tmp_path / "a.jsonl", "--snapshot", tmp_path / "shots", code=code)
    assert result.stderr.startswith(f"Error: {message}")
    assert list(tmp_path.iterdir()) == []


def test_unusable_frames(live: RunCli, folder: Path) -> None:
    cv2.imwrite(str(folder / "9.png"), np.full((40, 30, 3), 255, np.uint8))
    result = live("--source", folder)
    assert "9.png: frame 3 skipped" in result.stderr
    assert "3 results" in result.stderr
    assert "1 unusable" in result.stderr
    assert "Error: none of 1 frames could be used" in live("--source", folder / "9.png", code=1).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--frames", "0"], "--frames: expected a whole number above zero, got 0"),
        (["--rotate", "45"], "--rotate: expected 0, 90, 180 or 270 degrees"),
        (["--roi", "9000,0,5,5"], "--roi: the region from x 9000"),
        (["--serve", "a b"], "--serve a b: expected HOST:PORT"),
        (["--snapshot", ""], "--snapshot: expected a path, got an empty text"),
        (["--collect=", "--serve"], "--collect: expected a path, got an empty text"),
        (["--save", "out.txt"], "--save: out.txt: expected a video file"),
        (["--save", "a.mkv", "--jsonl", "./a.mkv"], "--jsonl: ./a.mkv: is given as --save, too"),
        (["--save", "m.mp4", "--model", "./m.mp4"], "--save: m.mp4: is given as --model, too"),
        (["--overwrite"], "--overwrite: needs --jsonl"),
        (["--jsonl", "-", "--jsonl-max-bytes", "5"], "--jsonl-max-bytes: expected 4096 or more, got 5"),
        (["--jsonl", "-", "--jsonl-keep", "1000000000"], "--jsonl-keep: expected a whole number from 0 to 1000"),
        (["--jsonl", "-", "--jsonl-keep", "2"], "--jsonl-keep: needs --jsonl-max-bytes"),
        (["--interpreter", "onnx"], "--interpreter: unknown interpreter 'onnx'"),
        (["--nonsense"], "No such option: --nonsense"),
        (["--width"], "requires an argument"),
        (["--width", "100000"], "--width: expected a whole number from 1 to 16384, got 100000"),
        (["an argument"], "unexpected extra argument"),
    ],
)
def test_bad_options(live: RunCli, folder: Path, arguments: list[str], message: str) -> None:
    result = live("--source", folder, *arguments, code=2)
    assert message in result.stderr
    assert result.stdout == ""


def test_without_a_camera_or_a_model(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("edge_fmnist.sources.devices.FOLDER", tmp_path)
    assert "no camera found" in run_cli("live", code=3).stderr
    assert "no-such-model" in run_cli("live", "--source", tmp_path, "--model", "no-such-model", code=3).stderr


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, number: signal.Signals
) -> None:
    saved = tmp_path / "out.mp4"
    process = start("--jsonl", "-", "--save", saved)
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    process.send_signal(number)
    rest, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert "Traceback" not in stderr
    assert "results in" in stderr
    assert frame_count(saved) == len(lines) + len(json_lines(rest)) > 0


def test_outputs_that_block_hold_nothing_up(start: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    fifo, snapshots, photos = tmp_path / "fifo", tmp_path / "snapshots", tmp_path / "photos"
    os.mkfifo(fifo)
    collect = ["--collect", photos, "--collect-below", 1, "--serve", "127.0.0.1:0"]
    process = start("--jsonl", fifo, "--snapshot", snapshots, *collect)
    assert process.stderr is not None
    page = process.stderr.readline().split()[-1]
    wait_for(lambda: list(snapshots.glob("*.json")) if snapshots.exists() else False)
    wait_for((photos / "collected.jsonl").exists)
    # From now on, who stores a frame waits forever, and so does the page, as on a hung disk.
    os.mkfifo(tmp_path / "hung")
    (tmp_path / "hung").rename(photos / "collected.jsonl")

    def page_is_blocked() -> bool:
        try:
            with urllib.request.urlopen(f"{page}collect.json", timeout=3):
                return False
        except TimeoutError:
            return True

    wait_for(page_is_blocked)
    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    _, stderr = process.communicate(timeout=60)
    assert time.monotonic() - started < 3
    assert process.returncode == 1, stderr
    assert f"Warning: --jsonl {fifo}: waiting until it can be opened" in stderr
    assert re.search(r"Error: --jsonl .*fifo: does not respond; [1-9]\d* results were not written", stderr)
    assert "Error: the browser page did not end in time" in stderr


def test_a_reader_that_does_not_read_holds_nothing_up(start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start("--jsonl", "-", "--max-fps", "1000", "--width", "32", "--height", "32", "--fps", "900")
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.5)  # at 900 lines a second, the pipe is full
    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    # The reading end stays open, and nobody reads.
    process.wait(60)
    assert time.monotonic() - started < 3
    assert process.returncode in (0, 1)


def test_sighup_reopens_the_outputs(start: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    path, rotated = tmp_path / "out.jsonl", tmp_path / "out.jsonl.1"
    process = start("--jsonl", path)
    wait_for(lambda: path.exists() and path.stat().st_size)
    path.rename(rotated)
    process.send_signal(signal.SIGHUP)
    wait_for(lambda: path.exists() and path.stat().st_size)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    frames = [line["frame"] for file in (rotated, path) for line in json_lines(file.read_text())]
    assert frames == sorted(set(frames))


# Makes standard input the controlling terminal, as a login does.
LOGIN = "import fcntl, os, termios\nos.setsid()\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)"


def test_a_terminal_that_is_closed_ends_it(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    words = ["live", "--source", "demo", "--model", "edge", "--quiet", "--jsonl", str(path)]
    terminal, child = os.openpty()
    process = subprocess.Popen([sys.executable, "-c", f"{LOGIN}{MAIN}", *words], stdin=child, stderr=subprocess.PIPE)
    os.close(child)
    wait_for(lambda: path.exists() and path.stat().st_size)
    os.close(terminal)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr


def test_a_reader_that_leaves_ends_it_cleanly(start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start("--jsonl", "-")
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["frame"] >= 0
    process.stdout.close()
    stderr = process.stderr.read()
    assert process.wait(60) == 0, stderr
    assert "Traceback" not in stderr
    assert "Exception ignored" not in stderr


def test_the_first_signal_stops_and_the_second_interrupts() -> None:
    stopped = threading.Event()

    def run() -> None:
        with stopped_by_signals(stopped.set):
            os.kill(os.getpid(), signal.SIGINT)
            assert stopped.wait(5)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run()
        assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_ignored_signal_stays_ignored_and_other_threads_have_none() -> None:
    stopped: list[int] = []
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopped_by_signals(lambda: stopped.append(1)):
            os.kill(os.getpid(), signal.SIGHUP)
        assert stopped == []
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    handlers: list[object] = []

    def use() -> None:
        with stopped_by_signals(lambda: None):
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]
