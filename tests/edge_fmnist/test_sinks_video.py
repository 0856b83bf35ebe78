"""Video recording of the annotated frames."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from edge_fmnist.errors import SinkError, UsageError
from edge_fmnist.pipeline.results import Frame, LiveResult
from edge_fmnist.sinks import video
from edge_fmnist.sinks.annotate import annotate
from edge_fmnist.sinks.base import Sink
from edge_fmnist.sinks.containers import Matroska
from edge_fmnist.sinks.video import VideoRecorder, letterbox

MakeResult = Callable[..., LiveResult]
SUFFIXES = [".mp4", ".mkv", ".avi"]
SIZE = (160, 120)


def read_video(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    assert capture.isOpened(), path
    pictures = []
    while (answer := capture.read())[0]:
        pictures.append(np.asarray(answer[1]))
    capture.release()
    return pictures


def rate(path: Path) -> float:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    fps = float(capture.get(cv2.CAP_PROP_FPS))
    capture.release()
    return fps


@pytest.mark.parametrize(
    ("suffix", "count", "fps"), [(".mp4", 1, None), (".MP4", 9, None), (".mkv", 25, None), (".avi", 10, 30.0)]
)
def test_as_many_frames_as_results(
    tmp_path: Path, make_result: MakeResult, suffix: str, count: int, fps: float | None
) -> None:
    path = tmp_path / "folder" / f"out{suffix}"
    with VideoRecorder(path, fps) as sink:
        for index in range(count):
            sink.write(make_result(index, size=SIZE))
        assert not path.exists()
    assert len(read_video(path)) == count
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o444 == 0o444


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_frames_are_the_annotated_ones_in_order(tmp_path: Path, make_result: MakeResult, suffix: str) -> None:
    results = [make_result(index, label, size=(320, 240)) for index, label in enumerate(("Coat", None, "unknown") * 5)]
    with VideoRecorder(tmp_path / f"out{suffix}", 25) as sink:
        for result in results:
            sink.write(result)
    for result, picture in zip(results, read_video(tmp_path / f"out{suffix}"), strict=True):
        kinds = [annotate(each).astype(np.float32) for each in results[:3]]
        nearest = int(np.argmin([np.abs(kind - picture).mean() for kind in kinds]))
        assert nearest == result.frame.index % 3


@pytest.mark.parametrize(
    ("suffix", "fps"), [(".mp4", 7.123456), (".mkv", 29.97), (".avi", 240), (".mkv", 0.5), (".mp4", 0.5), (".avi", 480)]
)
def test_rate_of_the_source(tmp_path: Path, make_result: MakeResult, suffix: str, fps: float) -> None:
    with VideoRecorder(tmp_path / f"out{suffix}", fps) as sink:
        for index in range(3):
            sink.write(make_result(index, size=SIZE))
    assert rate(tmp_path / f"out{suffix}") == pytest.approx(fps, abs=0.01)


@pytest.mark.parametrize("fps", [None, 0, 90000, float("nan")])
def test_rate_is_measured_where_the_source_has_no_sensible_one(
    tmp_path: Path, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch, fps: float | None
) -> None:
    # On a slow machine, fewer frames would be waited for.
    monkeypatch.setattr(video, "time", SimpleNamespace(monotonic=lambda: 0.0))
    path = tmp_path / "out.mp4"
    with VideoRecorder(path, fps) as sink:
        for index in range(12):
            # The first frame of a camera comes long before the others.
            captured = 50 + (index + 20 if index else 0) / 8
            picture = make_result(size=SIZE).frame.picture
            sink.write(make_result(frame=Frame(picture, index, captured, "camera")))
    assert rate(path) == pytest.approx(8, abs=0.01)
    assert len(read_video(path)) == 12


def test_large_frames_are_not_held_back_for_long(
    tmp_path: Path, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = make_result(size=SIZE).frame.picture
    monkeypatch.setattr(video, "MEASURED_BYTES", 2 * picture.nbytes)
    with VideoRecorder(tmp_path / "out.mkv") as sink:
        for index, captured in enumerate((50, 50.125, 51, 52, 53)):
            sink.write(make_result(frame=Frame(picture, index, captured, "camera")))
    # Measured over two frames.
    assert rate(tmp_path / "out.mkv") == pytest.approx(8)


@pytest.mark.parametrize(("interval", "fps"), [(20.0, 1), (0.0001, 240), (0.0, 15)])
def test_a_measured_rate_is_one_that_players_accept(
    tmp_path: Path, make_result: MakeResult, interval: float, fps: int
) -> None:
    picture = make_result(size=SIZE).frame.picture
    with VideoRecorder(tmp_path / "out.mkv") as sink:
        for index in range(3):
            sink.write(make_result(frame=Frame(picture, index, 50 + index * interval, "camera")))
    assert rate(tmp_path / "out.mkv") == pytest.approx(fps)


def test_no_frame_waits_longer_than_a_second_for_the_file(
    tmp_path: Path, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(video, "time", SimpleNamespace(monotonic=lambda: now))
    recording = tmp_path / "out.recording.mkv"
    with VideoRecorder(tmp_path / "out.mkv") as sink:
        # The first ten are held back to measure the rate.
        for index in range(21):
            now = index / 10
            sink.write(make_result(index, size=SIZE))
            if index in (9, 10):
                assert bool(recording.stat().st_size) is (index == 10)
        assert len(read_video(recording)) > 10


@pytest.mark.parametrize(
    ("suffix", "size", "expected"),
    [(".mp4", (161, 121), (162, 122)), (".mkv", (1, 1), (16, 16)), (".avi", (5000, 20), (4096, 16))],
)
def test_size_that_no_encoder_takes(
    tmp_path: Path, make_result: MakeResult, suffix: str, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    with VideoRecorder(tmp_path / f"out{suffix}", 30) as sink:
        for index in range(2):
            sink.write(make_result(index, size=size))
    assert [picture.shape for picture in read_video(tmp_path / f"out{suffix}")] == [(expected[1], expected[0], 3)] * 2


def test_frames_of_another_size_are_fitted_in(tmp_path: Path, make_result: MakeResult) -> None:
    white = [np.full((height, width, 3), 255, np.uint8) for width, height in ((160, 120), (100, 300), (641, 100))]
    with VideoRecorder(tmp_path / "out.avi", 30) as sink:
        for index, picture in enumerate(white):
            sink.write(make_result(index, label=None, picture=picture))
    first, tall, wide = (picture.min(axis=2) for picture in read_video(tmp_path / "out.avi"))
    assert first.shape == tall.shape == wide.shape == (120, 160)
    assert first[:, [1, -2]].min() > 200
    assert tall[:, [1, -2]].max() < 50 < 200 < tall[60:-2, 80].min()
    assert wide[[1, -2]].max() < 50 < 200 < wide[60, 2:-2].min()


def test_letterbox_repeats_the_edge_of_an_odd_frame() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    padded = letterbox(picture, (6, 4))
    assert (padded[:3, :5] == picture).all()
    assert (padded[:3, 5] == picture[:, 4]).all()
    assert (padded[3] == padded[2]).all()


@pytest.mark.parametrize("name", ["out", "out.gif", "out.mp4.txt", ".mp4"])
def test_other_suffix(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"expected a video file that ends in \.mp4, \.mkv, \.avi"):
        VideoRecorder(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_bad_paths(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").mkdir()
    with pytest.raises(UsageError, match="expected a video file, got a folder"):
        VideoRecorder(tmp_path / "out.mp4")
    (tmp_path / "file").write_text("old")
    with pytest.raises(SinkError, match=r"out\.mp4: cannot be written"):
        VideoRecorder(tmp_path / "file" / "out.mp4")


@pytest.mark.parametrize("old", [True, False])
def test_without_a_result_nothing_changes(tmp_path: Path, old: bool) -> None:
    if old:
        (tmp_path / "out.mp4").write_text("old")
    VideoRecorder(tmp_path / "out.mp4").close()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"] * old


def test_an_old_file_is_replaced_at_the_end(tmp_path: Path, make_result: MakeResult) -> None:
    (tmp_path / "out.mp4").write_text("old")
    sink = VideoRecorder(tmp_path / "out.mp4", 30)
    sink.write(make_result(size=SIZE))
    assert (tmp_path / "out.mp4").read_text() == "old"
    sink.close()
    sink.close()
    assert len(read_video(tmp_path / "out.mp4")) == 1


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path, make_result: MakeResult) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out.mkv").symlink_to("disk/video.mkv")
    with VideoRecorder(tmp_path / "out.mkv", 30) as sink:
        sink.write(make_result(size=SIZE))
    assert (tmp_path / "out.mkv").is_symlink()
    assert len(read_video(tmp_path / "disk" / "video.mkv")) == 1


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_full_disk_keeps_the_frames_before(
    tmp_path: Path, make_result: MakeResult, file_size_limit: Callable[[int], AbstractContextManager[None]], suffix: str
) -> None:
    path = tmp_path / f"out{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    written = 0

    def write_until_full(sink: Sink) -> None:
        nonlocal written
        for index in range(1000):
            sink.write(make_result(index, picture=np.roll(noise, index, 1)))
            written += 1

    refusal = pytest.raises(SinkError, match=rf"out\{suffix}: .*recorded frames are kept")
    with file_size_limit(2 << 20), VideoRecorder(path, 5) as sink, refusal:
        write_until_full(sink)
    # Without the last second.
    assert written - 5 <= len(read_video(path)) <= written
    assert len(read_video(path)) > 0
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_run_that_was_killed(tmp_path: Path, make_result: MakeResult, suffix: str) -> None:
    path, recording = tmp_path / f"out{suffix}", tmp_path / f"out.recording{suffix}"
    killed = os.fork()
    if not killed:
        sink = VideoRecorder(path, 10)
        for index in range(35):
            sink.write(make_result(index, size=SIZE))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(killed, 0)
    assert len(read_video(recording)) == 30
    messages: list[str] = []
    with VideoRecorder(path, 10, warn=messages.append) as sink:
        sink.write(make_result(size=SIZE))
    kept = tmp_path / f"out-000001{suffix}"
    assert messages == [f"{path}: the video of a run that was killed is kept as {kept}"]
    assert sorted(tmp_path.iterdir()) == [kept, path]
    assert (len(read_video(kept)), len(read_video(path))) == (30, 1)


def test_a_run_that_was_killed_before_the_first_frame(tmp_path: Path) -> None:
    (tmp_path / "out.recording.mp4").touch()
    messages: list[str] = []
    VideoRecorder(tmp_path / "out.mp4", warn=messages.append).close()
    assert len(messages) == 1
    assert "out.recording.mp4: removed; a run that was killed left it without a frame" in messages[0]
    assert list(tmp_path.iterdir()) == []


def test_two_formats_of_one_name(tmp_path: Path, make_result: MakeResult) -> None:
    with VideoRecorder(tmp_path / "out.mkv", 25) as one, VideoRecorder(tmp_path / "out.mp4", 25) as other:
        for index in range(30):
            one.write(make_result(index, size=SIZE))
            other.write(make_result(index, size=SIZE))
    assert [len(read_video(tmp_path / name)) for name in ("out.mkv", "out.mp4")] == [30, 30]


def test_two_processes_do_not_record_to_one_file(tmp_path: Path, make_result: MakeResult) -> None:
    with VideoRecorder(tmp_path / "out.mp4", 30) as sink:
        sink.write(make_result(size=SIZE))
        with pytest.raises(SinkError, match="another process records to this file"):
            VideoRecorder(tmp_path / "out.mp4")
    assert len(read_video(tmp_path / "out.mp4")) == 1


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_segments(tmp_path: Path, make_result: MakeResult, suffix: str) -> None:
    for run in range(2):
        with VideoRecorder(tmp_path / f"out{suffix}", 10, segment=2) as sink:
            for index in range(25):
                sink.write(make_result(index, size=SIZE))
        names = [f"out-{number:06d}{suffix}" for number in range(1, 3 + 2 * run)]
        assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert [len(read_video(tmp_path / name)) for name in names] == [20, 5] * 2


def test_a_segment_includes_the_frames_that_measure_the_rate(
    tmp_path: Path, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(video, "time", SimpleNamespace(monotonic=lambda: now))
    with VideoRecorder(tmp_path / "out.mkv", segment=2) as sink:
        for index in range(40):
            sink.write(make_result(index, size=SIZE))
            now += 0.1
    assert len(list(tmp_path.iterdir())) == 2


def test_reopening_and_the_limit_of_a_file_start_the_next_one(
    tmp_path: Path, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    with VideoRecorder(tmp_path / "out.mkv", 5) as sink:
        sink.reopen()  # before the first frame, there is nothing to finish
        for index in range(7):
            sink.write(make_result(index, size=SIZE))
        sink.reopen()
        monkeypatch.setattr(video, "MAX_BYTES", 1)
        for index in range(6):
            sink.write(make_result(index, size=SIZE))
    assert [len(read_video(path)) for path in sorted(tmp_path.iterdir())] == [7, 5, 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"out-00000{number}.mkv" for number in (1, 2, 3)]


class UnplayableVideo:
    """A video of OpenCV that cannot be opened."""

    fourcc = staticmethod(lambda *letters: 0)

    def __init__(self, *settings: object) -> None: ...

    def isOpened(self) -> bool:  # noqa: N802
        return False

    def release(self) -> None: ...


def test_codec_that_this_opencv_lacks(tmp_path: Path, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoWriter", UnplayableVideo)
    with (
        VideoRecorder(tmp_path / "out.avi", 30) as sink,
        pytest.raises(SinkError, match=r"MJPG, 160x120.*suffix"),
    ):
        sink.write(make_result(size=SIZE))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_vanishes_is_reported(tmp_path: Path, make_result: MakeResult) -> None:
    folder = tmp_path / "videos"
    sink = VideoRecorder(folder / "out.mkv", 10.0)
    sink.write(make_result(0, size=SIZE))
    shutil.rmtree(folder)
    with pytest.raises(SinkError, match=r"out\.mkv: cannot be written \(.*\)"):
        sink.close()


def test_a_path_that_is_not_utf8_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="OpenCV opens videos with UTF-8 paths only"):
        VideoRecorder(tmp_path / os.fsdecode(b"x\xff.mp4"))
    assert list(tmp_path.iterdir()) == []


def test_only_pictures_that_need_no_others_are_marked_in_matroska() -> None:
    configured, following = b"\0\0\1\xb0key", b"\0\0\1\xb6next"
    piece = Matroska((16, 16), 25).piece([configured, following, following])
    # A block: its ID, 8 bytes of length, number of the track, 2 bytes of time, flags.
    assert re.findall(rb"\xa3\x01.{7}\x81..(.)\x00\x00\x01", piece, re.DOTALL) == [b"\x80", b"\0", b"\0"]


def test_frames_that_were_not_encoded_are_reported(
    tmp_path: Path, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    packets = video._packets
    with VideoRecorder(tmp_path / "out.mkv", 5) as sink:
        for index in range(9):
            sink.write(make_result(index, size=SIZE))
        monkeypatch.setattr(video, "_packets", lambda path: packets(path)[:-1])
        with pytest.raises(SinkError, match="frames cannot be encoded"):
            sink.write(make_result(9, size=SIZE))
    assert len(read_video(tmp_path / "out.mkv")) == 5


def test_a_finished_file_is_synced(tmp_path: Path, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda _: synced.append((tmp_path / "out.mkv").exists()))
    with VideoRecorder(tmp_path / "out.mkv", 5) as sink:
        sink.write(make_result(size=SIZE))
    # Before it gets its name.
    assert synced == [False]
