"""Files as sources: videos, whole, cut off and damaged; pictures, folders and globs; which text means what."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_fmnist.errors import SourceError, UsageError
from edge_fmnist.sinks.containers import Matroska
from edge_fmnist.sources import parse_source
from edge_fmnist.sources.base import CaptureSettings, Source
from edge_fmnist.sources.camera import AutoCamera, Camera
from edge_fmnist.sources.demo import Demo
from edge_fmnist.sources.picamera import PiCamera
from edge_fmnist.sources.stills import Stills
from edge_fmnist.sources.stream import Stream
from edge_fmnist.sources.video import VideoFile

FRAMES = 20
BRIGHTNESS = range(20, 20 + 10 * FRAMES, 10)


@pytest.fixture
def everything(warnings: list[str]) -> Callable[[str | Path], list[np.ndarray]]:
    """Return a function that reads a source from its first frame to its end."""

    def read(argument: str | Path) -> list[np.ndarray]:
        source = parse_source(str(argument), warn=warnings.append)
        source.open()
        frames = remaining(source)
        assert source.read() is None, "an ended source goes on"
        source.close()
        return frames

    return read


def remaining(source: Source) -> list[np.ndarray]:
    frames = []
    while (frame := source.read()) is not None:
        frames.append(frame)
    return frames


@pytest.fixture
def noisy_video(write_video: Callable[..., Path]) -> Callable[..., Path]:
    """Return a function that writes noisy frames whose mean is BRIGHTNESS, 25 a second."""
    noise = np.random.default_rng(0).integers(-20, 21, (48, 64, 3))
    frames = [(brightness + noise).astype(np.uint8) for brightness in BRIGHTNESS]
    return lambda path, codec="MJPG": write_video(path, frames, codec)


@pytest.fixture
def cut_video(tmp_path: Path, noisy_video: Callable[..., Path]) -> Path:
    """Return the first half of a video file."""
    path = noisy_video(tmp_path / "cut.avi")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def write_picture(path: Path, value: int = 100, size: tuple[int, int] = (32, 24)) -> Path:
    """Write a picture of one grey value; ``size`` is width and height."""
    assert cv2.imwrite(str(path), np.full((size[1], size[0], 3), value, np.uint8))
    return path


def values(frames: list[np.ndarray]) -> list[int]:
    return [round(float(frame.mean())) for frame in frames]


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "MJPG"), ("a.mkv", "MJPG"), ("a.mp4", "mp4v")])
def test_video_is_read_whole(
    tmp_path: Path,
    noisy_video: Callable[..., Path],
    everything: Callable[..., list[np.ndarray]],
    warnings: list[str],
    name: str,
    codec: str,
) -> None:
    frames = everything(noisy_video(tmp_path / name, codec))
    assert values(frames) == pytest.approx(list(BRIGHTNESS), abs=4)
    assert {(frame.shape, str(frame.dtype)) for frame in frames} == {((48, 64, 3), "uint8")}
    assert warnings == []


def test_video_knows_its_rate_and_waits_for_its_reader(tmp_path: Path, noisy_video: Callable[..., Path]) -> None:
    source = parse_source(str(noisy_video(tmp_path / "a.avi")))
    assert not source.realtime
    source.open()
    assert source.fps == 25
    assert source.frame_name == source.name == str(tmp_path / "a.avi")
    source.close()


def uneven_video(path: Path, times: list[int], *, stated: bool = False) -> Path:
    """Write grey frames with these time stamps in milliseconds, one more than frames, as a Motion JPEG in Matroska.

    ``stated`` keeps the duration of a frame, of 30 a second, in the file.
    """

    class Uneven(Matroska):
        def _milliseconds(self, frames: int) -> int:
            return times[frames]

    packets = [
        cv2.imencode(".jpg", np.full((48, 64, 3), n % 250, np.uint8))[1].tobytes() for n in range(len(times) - 1)
    ]
    container = Uneven((64, 48), 30)
    begin = container.begin(packets[0]).replace(b"V_MPEG4/ISO/ASP", b"V_MJPEG".ljust(15, b"\0"))
    if not stated:
        begin = begin.replace(b"\x23\xe3\x83", b"\x23\xe3\x84")
    path.write_bytes(begin + container.add(packets))
    return path


@pytest.mark.parametrize("pause", [[], [3000], [20_000]])
def test_a_pause_at_the_beginning_does_not_change_the_rate_of_a_video(tmp_path: Path, pause: list[int]) -> None:
    times = list(np.cumsum([0, 33, *pause, *[33] * 90]))
    source = parse_source(str(uneven_video(tmp_path / "video.mkv", times, stated=True)))
    source.open()
    assert source.fps == pytest.approx(30)


@pytest.mark.parametrize("times", [[0, 1], [0, 0, 0, 0]])
def test_video_without_usable_time_stamps(tmp_path: Path, times: list[int]) -> None:
    source = parse_source(str(uneven_video(tmp_path / "video.mkv", times)))
    source.open()
    assert source.fps is not None
    assert 1 <= source.fps <= 1000


@pytest.mark.parametrize(("steps", "fps"), [((26, 41, 33), 30.0), ((52, 82, 66), 15.0)])
def test_video_of_a_browser_has_the_rate_of_its_time_stamps(
    tmp_path: Path, warnings: list[str], steps: tuple[int, int, int], fps: float
) -> None:
    times = [round(sum(steps) / 3 * frame) + (frame % 3 == 1) * (steps[0] - steps[2]) for frame in range(91)]
    path = uneven_video(tmp_path / "video.mkv", times)
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) >= 2 * fps
    source = parse_source(str(path), warn=warnings.append)
    source.open()
    assert source.fps == pytest.approx(fps, rel=0.03)
    assert len(remaining(source)) == 90
    assert warnings == []


def test_video_opened_again_starts_over(tmp_path: Path, noisy_video: Callable[..., Path]) -> None:
    source = parse_source(str(noisy_video(tmp_path / "a.avi")))
    for _ in range(2):
        source.open()
        assert values(remaining(source)[:2]) == pytest.approx(BRIGHTNESS[:2], abs=4)
    source.close()


def test_truncated_video_gives_what_is_there_and_a_warning(
    cut_video: Path, everything: Callable[..., list[np.ndarray]], warnings: list[str]
) -> None:
    count = len(everything(cut_video))
    assert 3 < count < FRAMES - 3
    assert warnings == [
        f"{cut_video}: only {count} of about {FRAMES} frames could be decoded; the file may be damaged or truncated"
    ]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"no video at all\n" * 100, id="text"),
        pytest.param(np.random.default_rng(0).bytes(100_000), id="noise"),
    ],
)
def test_file_that_is_no_video(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"a\.mp4: not a video or image that can be decoded, or damaged"):
        parse_source(str(path)).open()


def test_damaged_video_says_nothing_of_its_own(tmp_path: Path, noisy_video: Callable[..., Path]) -> None:
    # In a process of its own: FFmpeg takes its log level once.
    path = noisy_video(tmp_path / "bad.avi")
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 3, len(content), 97):
        content[place] ^= 0xFF
    path.write_bytes(content)
    code = (
        "import sys; from edge_fmnist.sources import parse_source\n"
        "source = parse_source(sys.argv[1], warn=lambda text: None); source.open()\n"
        "while source.read() is not None: pass\n"
    )
    run = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_picture_with_the_suffix_of_a_video(tmp_path: Path, everything: Callable[..., list[np.ndarray]]) -> None:
    write_picture(tmp_path / "a.png", 30).rename(tmp_path / "a.mp4")
    assert values(everything(tmp_path / "a.mp4")) == [30]


def test_video_with_the_suffix_of_a_picture(
    tmp_path: Path, noisy_video: Callable[..., Path], everything: Callable[..., list[np.ndarray]]
) -> None:
    noisy_video(tmp_path / "a.avi").rename(tmp_path / "a.png")
    assert len(everything(tmp_path / "a.png")) == FRAMES


def test_video_in_a_codec_that_cannot_be_decoded() -> None:
    path = Path(__file__).with_name("cases") / "av1.mp4"
    with pytest.raises(SourceError, match=r"av1\.mp4: AV1 video, which .* cannot decode; convert it to H\.264"):
        parse_source(str(path)).open()


def test_the_codec_is_also_found_in_a_header_at_the_end(tmp_path: Path) -> None:
    content = Path(__file__).with_name("cases").joinpath("av1.mp4").read_bytes()
    # Its first box need not name the codec.
    content = content.replace(b"av01", b"iso5", 1)
    # An empty box between the data and the header, as large as a video.
    place = content.index(b"moov") - 4
    (tmp_path / "a.mp4").write_bytes(content[:place] + struct.pack(">I4s", 1 << 18, b"free") + bytes((1 << 18) - 8))
    with (tmp_path / "a.mp4").open("ab") as stream:
        stream.write(content[place:])
    with pytest.raises(SourceError, match=r"a\.mp4: AV1 video"):
        parse_source(str(tmp_path / "a.mp4")).open()


def test_a_cut_video_of_another_codec_is_damaged(tmp_path: Path, noisy_video: Callable[..., Path]) -> None:
    path = noisy_video(tmp_path / "a.mp4", "mp4v")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SourceError, match=r"a\.mp4: not a video or image that can be decoded, or damaged"):
        parse_source(str(path)).open()


def test_name_with_a_colon_is_no_protocol(
    tmp_path: Path,
    noisy_video: Callable[..., Path],
    everything: Callable[..., list[np.ndarray]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noisy_video(tmp_path / "12:30.avi")
    monkeypatch.chdir(tmp_path)
    assert len(everything("12:30.avi")) == FRAMES


def test_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="pipe: not a regular file"):
        parse_source(str(tmp_path / "pipe")).open()


def test_reading_what_is_not_open(tmp_path: Path, noisy_video: Callable[..., Path]) -> None:
    for source in (parse_source(str(noisy_video(tmp_path / "a.avi"))), Stills(str(tmp_path)), Demo()):
        source.close()
        with pytest.raises(SourceError, match="not open"):
            source.read()


@pytest.mark.parametrize(
    ("content", "kind"), [(b"%PDF-1.7", "PDF"), (b"\xff\x0a", "JPEG XL"), (b"<svg>", "SVG or XML")]
)
def test_other_files_are_named(tmp_path: Path, content: bytes, kind: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(SourceError, match=f"{kind}, neither a picture nor a video"):
        parse_source(str(tmp_path / "file"))


def test_a_closed_video_gives_no_frame(tmp_path: Path, noisy_video: Callable[..., Path]) -> None:
    source = parse_source(str(noisy_video(tmp_path / "a.avi")))
    source.open()
    source.close()
    # Nor the first one, which opening has read.
    with pytest.raises(SourceError, match="not open"):
        source.read()


def test_folder_in_order_with_the_files_as_names(tmp_path: Path) -> None:
    for name, value in (("b.png", 20), ("a.png", 10), ("c.bmp", 30)):
        write_picture(tmp_path / name, value)
    source = parse_source(str(tmp_path))
    assert not source.realtime
    source.open()
    seen = []
    while (frame := source.read()) is not None:
        seen.append((Path(source.frame_name).name, round(float(frame.mean()))))
    assert seen == [("a.png", 10), ("b.png", 20), ("c.bmp", 30)]


def test_unreadable_pictures_are_warned_of_and_passed_over(
    tmp_path: Path, everything: Callable[..., list[np.ndarray]], warnings: list[str]
) -> None:
    for name in ("a.png", "c.png"):
        (tmp_path / name).write_bytes(b"no picture")
    cv2.imwrite(str(tmp_path / "d.tiff"), np.zeros((4, 4), np.float32))
    write_picture(tmp_path / "b.png", 10)
    write_picture(tmp_path / "e.png", 20)
    assert values(everything(tmp_path)) == [10, 20]
    assert [Path(warning.split(":")[0]).name for warning in warnings] == ["a.png", "c.png", "d.tiff"]
    assert "expected an image of uint8 or uint16, got float32" in warnings[2]


def test_picture_that_goes_away_is_passed_over(tmp_path: Path, warnings: list[str]) -> None:
    for name in ("a.png", "b.png", "c.png"):
        write_picture(tmp_path / name)
    source = parse_source(str(tmp_path), warn=warnings.append)
    source.open()
    (tmp_path / "b.png").unlink()
    assert len(remaining(source)) == 2
    assert "b.png: no such file" in warnings[0]


def test_folder_in_which_nothing_can_be_read(tmp_path: Path, warnings: list[str]) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(SourceError, match=r"none of these 2 files can be read as a picture; the first: .*a\.png: not"):
        parse_source(str(tmp_path), warn=warnings.append).open()
    assert warnings == []


def test_smallest_and_largest(tmp_path: Path, everything: Callable[..., list[np.ndarray]]) -> None:
    write_picture(tmp_path / "a.jpg", size=(1, 1))
    write_picture(tmp_path / "b.jpg", size=(3200, 2400))
    assert [frame.shape for frame in everything(tmp_path)] == [(1, 1, 3), (300, 400, 3)]


def test_pictures_are_recognized_by_content_and_the_rest_is_counted(
    tmp_path: Path, everything: Callable[..., list[np.ndarray]], warnings: list[str]
) -> None:
    for number, name in enumerate(("a.jpe", "b.mpo", "c")):
        write_picture(tmp_path / "new.jpg", 50 * number).rename(tmp_path / name)
    (tmp_path / "d.pdf").write_bytes(b"%PDF-1.7")
    assert values(everything(tmp_path)) == [0, 50, 100]
    assert warnings == [f"{tmp_path}: 1 files skipped: 1 PDF"]
    assert values(everything(tmp_path / "c")) == [100]


def test_28x28_images_that_break_the_convention_are_warned_about_once(
    tmp_path: Path, everything: Callable[..., list[np.ndarray]], warnings: list[str]
) -> None:
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / name, 255, size=(28, 28))
    assert len(everything(tmp_path)) == 2
    assert len(warnings) == 1
    assert "a.png: bright border" in warnings[0]


def test_transparent_pictures_keep_their_mask(tmp_path: Path, everything: Callable[..., list[np.ndarray]]) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((24, 32, 4), 100, np.uint8))
    assert [frame.shape for frame in everything(tmp_path)] == [(24, 32, 4)]


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("demo", Demo, "demo"),
        ("auto", AutoCamera, "auto"),
        ("picamera", PiCamera, "picamera"),
        ("0", Camera, "/dev/video0"),
        ("012", Camera, "/dev/video12"),
        ("/dev/video3", Camera, "/dev/video3"),
        ("/dev/v4l/by-id/usb-cam", Camera, "/dev/v4l/by-id/usb-cam"),
        ("http://host/x", Stream, "http://host/x"),
        ("rtsp://user:secret@host/x", Stream, "rtsp://host/x"),
        ("folder", Stills, "folder"),
        ("./demo", Stills, "./demo"),
        ("*.xyz", Stills, "*.xyz"),
        ("a.JPG", Stills, "a.JPG"),
        ("a[1].mp4", VideoFile, "a[1].mp4"),
        ("noending", VideoFile, "noending"),
    ],
)
def test_what_a_text_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, kind: type[Source], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("folder", "demo"):
        Path(folder).mkdir()
    for file in ("a.JPG", "a[1].mp4", "noending"):
        Path(file).touch()
    source = parse_source(text, CaptureSettings())
    assert type(source) is kind
    assert source.name == name


@pytest.mark.parametrize("text", ["absent.mp4", "absent/", "-1", "99999", "a" * 5000, "demo "])
def test_text_that_names_nothing(text: str) -> None:
    with pytest.raises(SourceError, match=r"no such file or folder; a source is auto, demo|cannot be accessed"):
        parse_source(text)


@pytest.mark.parametrize("text", ["", "-", "a\0b"])
def test_text_that_cannot_be_a_source(text: str) -> None:
    with pytest.raises(UsageError, match="source: expected auto, demo"):
        parse_source(text)


def test_no_kind_of_source_costs_the_import_of_another() -> None:
    code = (
        "import sys; from edge_fmnist.sources import parse_source; parse_source('0')\n"
        "print([kind for kind in ('demo', 'stream') if f'edge_fmnist.sources.{kind}' in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code]) == b"[]\n"


def test_skipped_frames_of_a_video(tmp_path: Path, noisy_video: Callable[..., Path]) -> None:
    source = parse_source(str(noisy_video(tmp_path / "video.avi")))
    source.open()
    assert [source.skip() for _ in range(5)] == [True] * 5
    frame = source.read()
    assert frame is not None
    assert values([frame]) == pytest.approx([BRIGHTNESS[5]], abs=4)
    assert [source.skip() for _ in range(FRAMES - 6)] == [True] * (FRAMES - 6)
    assert source.skip() is False
    assert source.read() is None
    source.close()


def test_truncated_video_that_is_skipped_to_its_end_warns_once(cut_video: Path, warnings: list[str]) -> None:
    source = parse_source(str(cut_video), warn=warnings.append)
    source.open()
    skipped = 0
    while source.skip():
        skipped += 1
    assert source.skip() is False
    source.close()
    assert 0 < skipped < FRAMES
    assert len(warnings) == 1
    assert "could be decoded" in warnings[0]


def test_skipped_pictures_of_a_folder(tmp_path: Path) -> None:
    for number in range(3):
        write_picture(tmp_path / f"{number}.png", 50 + number)
    source = parse_source(str(tmp_path))
    source.open()
    assert source.skip()
    assert values(remaining(source)) == [51, 52]
    assert source.skip() is False
    source.close()


def test_a_video_in_a_folder_that_is_not_utf8_is_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"d\xff")
    folder.mkdir()
    (folder / "x.avi").write_bytes(b"RIFF\0\0\0\0AVI LIST")
    with pytest.raises(UsageError, match="OpenCV opens videos with UTF-8 paths only"):
        parse_source(str(folder / "x.avi")).open()
