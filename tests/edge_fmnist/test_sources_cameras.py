"""Cameras: through stand-ins for VideoCapture, for Picamera2 and for the device folder; and that nothing leaks."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from edge_fmnist.errors import SourceError
from edge_fmnist.sources import auto, devices, guard, parse_source
from edge_fmnist.sources.base import Source, Wishes
from edge_fmnist.sources.camera import Camera

QUICK = Wishes(timeout=0.5)
FRAME = np.full((48, 64, 3), (10, 20, 30), np.uint8)


class FakeCapture:
    """Stands in for cv2.VideoCapture: delivers the pictures of a script, then nothing."""

    opened = True
    script: tuple[Any, ...] = (FRAME,) * 1000
    fps = 30.0
    made: list[FakeCapture]

    def __init__(self, device: str, backend: int) -> None:
        self.device, self.backend = device, backend
        self.settings: dict[int, float] = {}
        self.released = False
        self.busy = False
        self.grabbed = 0
        self._rest = list(self.script)
        type(self).made.append(self)

    def isOpened(self) -> bool:  # noqa: N802
        return self.opened

    def set(self, setting: int, value: float) -> bool:
        self.settings[setting] = value
        return True

    def get(self, setting: int) -> float:
        return self.fps

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.busy = True
        picture = self._rest.pop(0) if self._rest else None
        if isinstance(picture, threading.Event):
            picture.wait(20)
            picture = None
        if isinstance(picture, Exception):
            raise picture
        self.busy = False
        return picture is not None, picture

    def grab(self) -> bool:
        self.grabbed += 1
        return self.read()[0]

    def release(self) -> None:
        assert not self.busy, "released while it was read"
        self.released = True


@pytest.fixture
def capture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., type[FakeCapture]]:
    """Return a function that puts a stand-in in the place of cv2.VideoCapture."""

    def install(**behaviour: object) -> type[FakeCapture]:
        fake = type("Fake", (FakeCapture,), {"made": [], **behaviour})
        monkeypatch.setattr(cv2, "VideoCapture", fake)
        return fake

    return install


@pytest.fixture
def device(tmp_path: Path) -> str:
    """Return a file that is there, in the place of a device."""
    path = tmp_path / "video0"
    path.touch()
    return str(path)


@pytest.fixture
def blocked() -> Iterator[threading.Event]:
    """Return an event that a read waits for; set at the end of the test, and the reading thread has ended."""
    event = threading.Event()
    yield event
    event.set()
    for thread in source_threads():
        thread.join(5)


def shows_frame(source: Source) -> bool:
    picture = source.read()
    return picture is not None and np.array_equal(picture, FRAME)


def source_threads(name: str = "") -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(f"source {name}")]


def test_camera_delivers(capture: Callable[..., type[FakeCapture]], device: str) -> None:
    fake = capture()
    camera = Camera(device, QUICK)
    camera.open()
    assert camera.realtime
    assert camera.fps == 30
    assert shows_frame(camera)
    camera.close()
    camera.close()
    assert (fake.made[0].device, fake.made[0].backend, fake.made[0].settings) == (device, cv2.CAP_V4L2, {})
    assert fake.made[0].released
    assert source_threads(device) == []


def test_wishes_reach_the_driver(capture: Callable[..., type[FakeCapture]], device: str) -> None:
    fake = capture()
    camera = Camera(device, Wishes(width=1280, height=720, fps=60))
    camera.open()
    camera.close()
    assert list(fake.made[0].settings.items()) == [
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),
        (cv2.CAP_PROP_FRAME_WIDTH, 1280),
        (cv2.CAP_PROP_FRAME_HEIGHT, 720),
        (cv2.CAP_PROP_FPS, 60),
    ]


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), 90000.0])
def test_rate_that_cannot_be_is_unknown(capture: Callable[..., type[FakeCapture]], device: str, fps: float) -> None:
    capture(fps=fps)
    camera = Camera(device, QUICK)
    camera.open()
    assert camera.fps is None
    camera.close()


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        pytest.param(FRAME[..., 0], (10, 10, 10), id="grey"),
        pytest.param(np.dstack([FRAME, np.full((48, 64), 255, np.uint8)]), (10, 20, 30), id="BGRA"),
        pytest.param(FRAME.astype(np.uint16) * 256, (10, 20, 30), id="16 bits"),
    ],
)
def test_other_pictures_become_bgr(
    capture: Callable[..., type[FakeCapture]], device: str, picture: np.ndarray, expected: tuple[int, int, int]
) -> None:
    capture(script=(picture, picture))
    camera = Camera(device, QUICK)
    camera.open()
    frame = camera.read()
    assert frame is not None
    assert (frame.shape, str(frame.dtype), tuple(frame[0, 0])) == ((48, 64, 3), "uint8", expected)
    camera.close()


def test_frame_of_another_size_passes_and_one_bad_read_is_passed_over(
    capture: Callable[..., type[FakeCapture]], device: str
) -> None:
    capture(script=(FRAME, None, np.zeros((0, 0, 3), np.uint8), FRAME[:10]))
    camera = Camera(device, QUICK)
    camera.open()
    assert [frame.shape for frame in (camera.read(), camera.read()) if frame is not None] == [(48, 64, 3), (10, 64, 3)]
    camera.close()


def test_camera_that_is_opened_and_delivers_nothing(capture: Callable[..., type[FakeCapture]], device: str) -> None:
    fake = capture(script=())
    with pytest.raises(SourceError, match=r"video0: delivers no pictures; a Raspberry Pi.*--source picamera"):
        Camera(device, QUICK).open()
    assert fake.made[0].released
    assert source_threads(device) == []


def test_camera_that_blocks_for_ever(
    capture: Callable[..., type[FakeCapture]],
    device: str,
    blocked: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard, "PATIENCE", 0.1)
    fake = capture(script=(blocked,))
    started = time.perf_counter()
    with pytest.raises(SourceError, match=r"video0: no picture within 0\.5 s; a Raspberry Pi.*--source picamera"):
        Camera(device, QUICK).open()
    assert time.perf_counter() - started < 5
    # It is not released under the read, but as soon as the read returns.
    assert not fake.made[0].released
    blocked.set()
    for thread in source_threads():
        thread.join(5)
    assert fake.made[0].released


def test_camera_that_blocks_later_and_is_closed_meanwhile(
    capture: Callable[..., type[FakeCapture]],
    device: str,
    blocked: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard, "PATIENCE", 0.1)
    capture(script=(FRAME, blocked))
    camera = Camera(device, QUICK)
    camera.open()
    camera.read()
    closer = threading.Timer(0.1, camera.close)
    closer.start()
    started = time.perf_counter()
    with pytest.raises(SourceError, match="video0: closed while it was read"):
        camera.read()
    assert time.perf_counter() - started < 4
    closer.join()


def test_camera_that_stalls_is_lost(
    capture: Callable[..., type[FakeCapture]],
    device: str,
    blocked: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard, "PATIENCE", 0.1)
    monkeypatch.setattr(guard, "READ_TIMEOUT", 0.2)
    capture(script=(FRAME, blocked))
    camera = Camera(device, QUICK)
    camera.open()
    camera.read()
    with pytest.raises(SourceError, match=r"no picture within 0\.2 s"):
        camera.read()


def test_camera_pulled_out_and_put_back(capture: Callable[..., type[FakeCapture]], device: str) -> None:
    fake = capture(script=(FRAME, FRAME))
    camera = Camera(device, QUICK)
    camera.open()
    assert camera.read() is not None
    assert camera.read() is not None
    with pytest.raises(SourceError, match="video0: delivers no more pictures"):
        camera.read()
    assert fake.made[0].released
    Path(device).unlink()
    with pytest.raises(SourceError, match="video0: no such camera"):
        camera.open()
    Path(device).touch()
    camera.open()
    assert camera.read() is not None
    camera.close()
    assert source_threads(device) == []


def test_camera_in_use_by_another(capture: Callable[..., type[FakeCapture]], device: str) -> None:
    fake = capture(opened=False)
    with pytest.raises(SourceError, match="video0: cannot be opened as a camera; another program may be using it"):
        Camera(device, QUICK).open()
    assert fake.made[0].released


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        pytest.param(cv2.error("broken"), "cannot be read", id="OpenCV fails"),
        pytest.param(np.zeros((4, 4, 3), np.float32), "expected a picture of uint8 or uint16, got float32", id="float"),
    ],
)
def test_camera_that_delivers_nonsense(
    capture: Callable[..., type[FakeCapture]], device: str, picture: object, message: str
) -> None:
    class Fragile(FakeCapture):
        def release(self) -> None:
            self.released = True

    fake = capture(script=(picture,), release=Fragile.release)
    with pytest.raises(SourceError, match=f"video0: {message}"):
        Camera(device, QUICK).open()
    assert fake.made[0].released


def test_camera_that_is_not_there_names_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "list_cameras", lambda: ["/dev/video0", "/dev/video2"])
    with pytest.raises(SourceError, match=r"/dev/video9999: no such camera \(connected: /dev/video0, /dev/video2\)"):
        parse_source("9999").open()


def test_camera_that_this_user_may_not_open(
    capture: Callable[..., type[FakeCapture]], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(SourceError, match="usermod --append --groups video"):
        Camera(device, QUICK).open()


def capability(driver: bytes, capabilities: int) -> bytes:
    return devices.CAPABILITY.pack(driver, b"card", b"bus", 0, 0x80000000, capabilities)


def test_devices_that_may_be_cameras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: dict[str, bytes | OSError] = {
        "video10": capability(b"uvcvideo", devices.VIDEO_CAPTURE),
        "video2": capability(b"uvcvideo", devices.VIDEO_CAPTURE),
        "video3": capability(b"uvcvideo", 0x00800000),
        "video4": capability(b"rp1-cfe", devices.VIDEO_CAPTURE),
        "video5": PermissionError(13, "denied"),
        "video6": OSError(25, "no V4L2 device"),
        "video-x": capability(b"uvcvideo", devices.VIDEO_CAPTURE),
    }

    def query(device: Path) -> bytes:
        answer = answers[device.name]
        if isinstance(answer, OSError):
            raise answer
        return answer

    for name in answers:
        (tmp_path / name).touch()
    monkeypatch.setattr(devices, "FOLDER", tmp_path)
    monkeypatch.setattr(devices, "_query", query)
    assert [Path(camera).name for camera in devices.list_cameras()] == ["video2", "video5", "video10"]


def test_file_is_no_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "video0").touch()
    monkeypatch.setattr(devices, "FOLDER", tmp_path)
    assert devices.list_cameras() == []


class FakePicamera2:
    """Stands in for picamera2.Picamera2 with its documented interface; records what is called."""

    cameras: tuple[dict[str, object], ...] = ({"Num": 0, "Id": "/base/i2c@1/imx708@1a", "Model": "imx708"},)
    calls: list[tuple[object, ...]]
    fails: dict[str, Exception]
    block: threading.Event | None = None

    def __init__(self, camera_num: int = 0) -> None:
        self._call("open", camera_num)

    def _call(self, *call: object) -> None:
        self.calls.append(call)
        if call[0] in self.fails:
            raise self.fails[str(call[0])]

    @classmethod
    def global_camera_info(cls) -> list[dict[str, object]]:
        return list(cls.cameras)

    def create_video_configuration(
        self, main: dict[str, object], controls: dict[str, object], buffer_count: int = 6
    ) -> dict[str, object]:
        return {"main": main, "controls": controls, "buffer_count": buffer_count}

    def configure(self, configuration: dict[str, object]) -> None:
        self._call("configure", configuration["main"], configuration["controls"])

    def start(self) -> None:
        self._call("start")

    def capture_array(self, name: str) -> np.ndarray:
        if self.block:
            self.block.wait(20)
        self._call("capture", name)
        return FRAME.copy()

    def stop(self) -> None:
        self._call("stop")

    def close(self) -> None:
        self._call("close")


@pytest.fixture
def picamera2(monkeypatch: pytest.MonkeyPatch) -> Callable[..., type[FakePicamera2]]:
    """Return a function that installs a stand-in for the module."""

    def install(**behaviour: object) -> type[FakePicamera2]:
        fake = type("Fake", (FakePicamera2,), {"calls": [], "fails": {}, **behaviour})
        module = ModuleType("picamera2")
        module.Picamera2 = fake  # type: ignore[attr-defined]
        module.__spec__ = SimpleNamespace(name="picamera2")  # type: ignore[assignment]
        monkeypatch.setitem(sys.modules, "picamera2", module)
        return fake

    return install


def test_picamera_delivers(picamera2: Callable[..., type[FakePicamera2]]) -> None:
    fake = picamera2()
    source = parse_source("picamera")
    source.open()
    assert shows_frame(source)
    source.close()
    assert source.fps == 30
    assert fake.calls == [
        ("open", 0),
        ("configure", {"size": (640, 480), "format": "RGB888"}, {"FrameRate": 30.0}),
        ("start",),
        ("capture", "main"),
        ("stop",),
        ("close",),
    ]
    assert source_threads("picamera") == []


def test_picamera_gets_the_wishes(picamera2: Callable[..., type[FakePicamera2]]) -> None:
    fake = picamera2()
    source = parse_source("picamera", Wishes(width=1280, height=720, fps=15))
    source.open()
    source.close()
    assert fake.calls[1] == ("configure", {"size": (1280, 720), "format": "RGB888"}, {"FrameRate": 15})


def test_picamera_is_not_a_usb_camera(picamera2: Callable[..., type[FakePicamera2]]) -> None:
    usb = {"Num": 0, "Id": "/base/scb/pcie@7d500000/usb@0,0-1.2:1.0-046d:0825"}
    fake = picamera2(cameras=(usb, {"Num": 1, "Id": "/base/i2c@1/imx219@10"}))
    source = parse_source("picamera")
    source.open()
    source.close()
    assert fake.calls[0] == ("open", 1)


@pytest.mark.parametrize("error", [ImportError("No module named 'picamera2'"), ValueError("numpy.dtype size changed")])
def test_picamera2_that_cannot_be_imported(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> ModuleType:
        raise error

    monkeypatch.setattr("edge_fmnist.sources.picamera.import_module", fail)
    hint = (
        "apt install python3-picamera2.*--system-site-packages" if isinstance(error, ImportError) else "python3-numpy"
    )
    with pytest.raises(SourceError, match=f"picamera: Picamera2 .*{error}.*{hint}"):
        parse_source("picamera").open()


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        pytest.param({"cameras": ()}, "no camera is connected to the camera connector; check the ribbon", id="none"),
        pytest.param({"fails": {"open": RuntimeError("busy")}}, "cannot be opened .busy.; another program", id="busy"),
        pytest.param({"fails": {"configure": KeyError("x")}}, "refused 640x480 at 30 fps", id="configuration"),
        pytest.param({"fails": {"start": RuntimeError("x")}}, "refused 640x480 at 30 fps", id="start"),
        pytest.param({"fails": {"capture": RuntimeError("gone")}}, "the camera was lost .gone.", id="lost"),
        pytest.param(
            {"fails": {"capture": RuntimeError("gone"), "stop": RuntimeError("x")}},
            "was lost",
            id="lost, and stops badly",
        ),
    ],
)
def test_picamera_in_trouble(
    picamera2: Callable[..., type[FakePicamera2]], behaviour: dict[str, object], message: str
) -> None:
    fake = picamera2(**behaviour)
    with pytest.raises(SourceError, match=f"picamera: .*{message}"):
        parse_source("picamera").open()
    started = any(call[0] == "configure" for call in fake.calls)
    assert (("close",) in fake.calls) == started, "left open"


def test_picamera_that_delivers_nothing(
    picamera2: Callable[..., type[FakePicamera2]], blocked: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "PATIENCE", 0.1)
    fake = picamera2(block=blocked)
    with pytest.raises(SourceError, match=r"no picture within 0\.3 s; check the ribbon cable"):
        parse_source("picamera", Wishes(timeout=0.3)).open()
    blocked.set()
    for thread in source_threads():
        thread.join(5)
    assert fake.calls[-1] == ("close",)


@pytest.fixture
def no_picamera2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "find_spec", lambda name: None)


def test_auto_prefers_the_pi_camera(
    picamera2: Callable[..., type[FakePicamera2]], monkeypatch: pytest.MonkeyPatch
) -> None:
    picamera2()
    monkeypatch.setattr(auto, "list_cameras", lambda: pytest.fail("looked for others"))
    source = parse_source("auto")
    source.open()
    assert source.name == "picamera"
    assert shows_frame(source)
    source.close()
    assert source_threads("picamera") == []


@pytest.mark.usefixtures("no_picamera2")
def test_auto_takes_the_first_that_delivers(
    capture: Callable[..., type[FakeCapture]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mute, good = tmp_path / "video0", tmp_path / "video1"
    mute.touch()
    good.touch()

    def read(self: FakeCapture) -> tuple[bool, np.ndarray | None]:
        return (True, FRAME) if self.device == str(good) else (False, None)

    capture(read=read)
    monkeypatch.setattr(auto, "list_cameras", lambda: [str(mute), str(good)])
    source = parse_source("auto")
    source.open()
    assert (source.name, source.fps) == (str(good), 30)
    assert shows_frame(source)
    source.close()
    with pytest.raises(SourceError, match="not open"):
        source.read()


def test_auto_goes_on_where_the_pi_has_no_camera(
    picamera2: Callable[..., type[FakePicamera2]],
    capture: Callable[..., type[FakeCapture]],
    device: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    picamera2(cameras=())
    capture()
    monkeypatch.setattr(auto, "list_cameras", lambda: [device])
    source = parse_source("auto", QUICK)
    source.open()
    assert source.name == device
    source.close()


@pytest.mark.usefixtures("no_picamera2")
def test_auto_without_any_camera_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "list_cameras", list)
    with pytest.raises(SourceError, match=r"auto: no camera found; connect a USB camera; .*--source demo .*scene$"):
        parse_source("auto").open()


@pytest.mark.usefixtures("no_picamera2")
def test_auto_says_what_it_tried(
    capture: Callable[..., type[FakeCapture]], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture(script=())
    monkeypatch.setattr(auto, "list_cameras", lambda: [device])
    with pytest.raises(SourceError, match=r"auto: no camera found; .*\(tried: \S+video0: delivers no pictures"):
        parse_source("auto", QUICK).open()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("kind", ["video", "folder", "http", "demo", "camera", "picamera"])
def test_nothing_leaks(
    kind: str,
    tmp_path: Path,
    device: str,
    serve: Callable[..., str],
    request: pytest.FixtureRequest,
) -> None:
    source = leak_candidate(kind, tmp_path, device, serve, request)

    def cycle() -> None:
        source.open()
        source.read()
        source.read()
        source.close()

    # What libraries keep for good, they take the first time.
    cycle()
    before = descriptors(), threading.active_count()
    for _ in range(5):
        cycle()
    deadline = time.perf_counter() + 5
    while (descriptors(), threading.active_count()) > before and time.perf_counter() < deadline:
        time.sleep(0.02)
    assert descriptors() <= before[0]
    assert threading.active_count() <= before[1]


def leak_candidate(
    kind: str, folder: Path, device: str, serve: Callable[..., str], request: pytest.FixtureRequest
) -> Source:
    """Return a source of a kind, which gives two frames at least."""
    pictures = folder / "pictures"
    pictures.mkdir()
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(pictures / name), FRAME)
    if kind == "folder":
        return parse_source(str(pictures))
    if kind == "http":
        return parse_source(serve({"a.avi": video(folder).read_bytes()}) + "a.avi")
    if kind == "video":
        return parse_source(str(video(folder)))
    if kind == "camera":
        request.getfixturevalue("capture")()
        return Camera(device, QUICK)
    if kind == "picamera":
        request.getfixturevalue("picamera2")()
    return parse_source(kind, Wishes(width=64, height=48))


def video(folder: Path) -> Path:
    path = folder / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for _ in range(5):
        writer.write(FRAME)
    writer.release()
    return path


def test_skipped_frames_of_a_camera_stay_packed(capture: Callable[..., type[FakeCapture]], device: str) -> None:
    # Opening decodes the first; one that fails to come is tried again.
    fake = capture(script=(FRAME, FRAME, None, FRAME, FRAME[:10]))
    camera = Camera(device, QUICK)
    camera.open()
    assert [camera.skip() for _ in range(3)] == [True] * 3
    assert fake.made[0].grabbed == 3
    frame = camera.read()
    assert frame is not None
    assert frame.shape == (10, 64, 3)
    with pytest.raises(SourceError, match="delivers no more pictures"):
        camera.skip()
    assert fake.made[0].released
    assert source_threads(device) == []
