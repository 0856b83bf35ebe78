"""Cameras: through stand-ins for VideoCapture, for Picamera2 and for the device folder; and that nothing leaks."""

from __future__ import annotations

import operator
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from edge_fmnist import live
from edge_fmnist.errors import SourceError, UsageError
from edge_fmnist.sources import camera as cameras
from edge_fmnist.sources import devices, parse_source
from edge_fmnist.sources.base import CaptureSettings, Source
from edge_fmnist.sources.camera import Camera
from edge_fmnist.sources.demo import Scene

ANY = CaptureSettings()
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
        picture = self._rest.pop(0) if self._rest else None
        if isinstance(picture, Exception):
            raise picture
        return picture is not None, picture

    def grab(self) -> bool:
        self.grabbed += 1
        return self.read()[0]

    def release(self) -> None:
        self.released = True


Install = Callable[..., Any]


@pytest.fixture
def capture(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that puts a stand-in in the place of cv2.VideoCapture."""

    def install(**behaviour: object) -> type[FakeCapture]:
        fake = type("Fake", (FakeCapture,), {"made": [], **behaviour})
        monkeypatch.setattr(cv2, "VideoCapture", fake)
        return fake

    return install


@pytest.fixture
def device(tmp_path: Path) -> str:
    """Return an existing file, in the place of a device."""
    path = tmp_path / "video0"
    path.touch()
    return str(path)


def opened(source: Source) -> Source:
    source.open()
    return source


def test_a_camera_delivers(capture: Install, device: str) -> None:
    fake = capture()
    camera = opened(Camera(device, ANY))
    assert (camera.realtime, camera.pausable, camera.fps) == (True, True, 30)
    assert np.array_equal(camera.read(), FRAME)  # type: ignore[arg-type]
    camera.interrupt()
    assert not fake.made[0].released, "released while it may be read"
    camera.close()
    camera.close()
    assert (fake.made[0].device, fake.made[0].backend, fake.made[0].settings) == (device, cv2.CAP_V4L2, {})
    assert fake.made[0].released
    with pytest.raises(SourceError, match="not open"):
        camera.read()
    # OpenCV waits 10 s for a frame unless told otherwise.
    assert int(os.environ["OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"]) == 5


def test_settings_reach_the_driver(capture: Install, device: str) -> None:
    fake = capture()
    opened(Camera(device, CaptureSettings(width=1280, height=720, fps=60))).close()
    assert list(fake.made[0].settings.items()) == [
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),
        (cv2.CAP_PROP_FRAME_WIDTH, 1280),
        (cv2.CAP_PROP_FRAME_HEIGHT, 720),
        (cv2.CAP_PROP_FPS, 60),
    ]


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), 90000.0])
def test_an_impossible_rate_is_unknown(capture: Install, device: str, fps: float) -> None:
    capture(fps=fps)
    assert opened(Camera(device, ANY)).fps is None


def test_frames_of_other_kinds_and_bad_reads(capture: Install, device: str) -> None:
    capture(script=(FRAME[..., 0], None, np.zeros((0, 0, 3), np.uint8), FRAME[:10]))
    camera = opened(Camera(device, ANY))
    frames = [frame for frame in (camera.read(), camera.read()) if frame is not None]
    assert [(frame.shape, tuple(frame[0, 0])) for frame in frames] == [
        ((48, 64, 3), (10, 10, 10)),
        ((10, 64, 3), (10, 20, 30)),
    ]


def test_skipped_frames_are_not_decoded(capture: Install, device: str) -> None:
    # Opening decodes the first; one that fails is tried again.
    fake = capture(script=(FRAME, FRAME, None, FRAME, FRAME[:10]))
    camera = opened(Camera(device, ANY))
    assert [camera.skip() for _ in range(3)] == [True] * 3
    assert fake.made[0].grabbed == 3
    frame = camera.read()
    assert frame is not None
    assert frame.shape == (10, 64, 3)
    with pytest.raises(SourceError, match="delivers no more frames"):
        camera.skip()


def test_a_camera_unplugged_and_plugged_in_again(capture: Install, device: str) -> None:
    fake = capture(script=(FRAME,))
    camera = opened(Camera(device, ANY))
    camera.read()
    with pytest.raises(SourceError, match="video0: delivers no more frames"):
        camera.read()
    Path(device).unlink()
    with pytest.raises(SourceError, match="video0: no such camera"):
        camera.open()
    assert fake.made[0].released
    Path(device).touch()
    assert opened(camera).read() is not None


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ({"opened": False}, "cannot be opened as a camera; another program may be using it"),
        ({"script": ()}, "delivers no frames; a Raspberry Pi.*--source picamera"),
        ({"script": (cv2.error("broken"),)}, "cannot be read"),
        ({"script": (np.zeros((4, 4, 3), np.float32),)}, "expected an image of uint8 or uint16, got float32"),
    ],
)
def test_a_camera_that_does_not_work(capture: Install, device: str, behaviour: dict[str, object], message: str) -> None:
    fake = capture(**behaviour)
    with pytest.raises(SourceError, match=f"video0: {message}"):
        Camera(device, ANY).open()
    assert fake.made[0].released


def test_a_slow_read_is_not_tried_again(capture: Install, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_fmnist.sources.capture.SLOW_READ", -1.0)
    capture(script=(FRAME, None, FRAME))
    camera = opened(Camera(device, ANY))
    camera.read()
    with pytest.raises(SourceError, match="delivers no more frames"):
        camera.read()


def test_a_camera_that_does_not_exist_or_may_not_be_opened(
    capture: Install, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cameras, "list_cameras", lambda: ["/dev/video0", "/dev/video2"])
    with pytest.raises(SourceError, match=r"/dev/video9999: no such camera \(connected: /dev/video0, /dev/video2\)"):
        parse_source("9999").open()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(SourceError, match="permission denied; allow it with: sudo usermod --append --groups video"):
        Camera(device, ANY).open()


def test_a_link_to_a_device_is_a_camera(tmp_path: Path) -> None:
    # As udev's rules make /dev/webcam; /dev/null is a character device that every machine has.
    link = tmp_path / "webcam"
    link.symlink_to("/dev/null")
    source = parse_source(str(link))
    assert isinstance(source, Camera)
    assert source.name == str(link)


@pytest.mark.parametrize(("name", "value"), [("width", 0), ("fps", float("nan")), ("timeout", -1)])
def test_capture_settings_are_above_zero(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"{name}: expected a number above zero, got"):
        CaptureSettings(**{name: value})  # type: ignore[arg-type]


def test_devices_that_may_be_cameras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def capability(driver: bytes, capabilities: int = devices.VIDEO_CAPTURE) -> bytes:
        return devices.CAPABILITY.pack(driver, b"card", b"bus", 0, 0x80000000, capabilities)

    answers: dict[str, bytes | OSError] = {
        "video10": capability(b"uvcvideo"),
        "video2": capability(b"uvcvideo"),
        "video3": capability(b"uvcvideo", 0x00800000),
        "video4": capability(b"rp1-cfe"),
        "video5": PermissionError(13, "denied"),
        "video6": OSError(25, "no V4L2 device"),
        "video-x": capability(b"uvcvideo"),
    }

    def query(device: Path) -> bytes:
        answer = answers[device.name]
        if isinstance(answer, OSError):
            raise answer
        return answer

    for name in answers:
        (tmp_path / name).touch()
    monkeypatch.setattr(devices, "FOLDER", tmp_path)
    # Plain files are not devices.
    assert devices.list_cameras() == []
    monkeypatch.setattr(devices, "query", query)
    assert [Path(camera).name for camera in devices.list_cameras()] == ["video2", "video5", "video10"]


class FakePicamera2:
    """Stands in for picamera2.Picamera2 with its documented interface; records what is called."""

    cameras: tuple[dict[str, object], ...] = ({"Num": 0, "Id": "/base/i2c@1/imx708@1a", "Model": "imx708"},)
    calls: list[tuple[object, ...]]
    fails: dict[str, Exception]
    silent = False
    # The arrays of one request.
    main, lores = FRAME, np.full((360, 320), 128, np.uint8)

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
        self,
        main: dict[str, object],
        controls: dict[str, object],
        lores: dict[str, object] | None = None,
        buffer_count: int = 6,
    ) -> dict[str, object]:
        return {"main": main, "controls": controls, "lores": lores, "buffer_count": buffer_count}

    def configure(self, configuration: dict[str, object]) -> None:
        self._call("configure", configuration["main"], configuration["controls"], configuration["lores"])

    def start(self) -> None:
        self._call("start")

    def capture_arrays(self, names: list[str], *, wait: bool) -> Any:
        assert not wait
        future: futures.Future[tuple[list[np.ndarray], dict[str, object]]] = futures.Future()
        try:
            self._call("capture", *names)
        except RuntimeError as error:
            future.set_exception(error)
        if not (self.silent or future.done()):
            future.set_result(([getattr(self, name).copy() for name in names], {}))
        return SimpleNamespace(get_result=future.result)

    def stop(self) -> None:
        self._call("stop")

    def close(self) -> None:
        self._call("close")


@pytest.fixture
def picamera2(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that installs a stand-in for the module."""

    def install(**behaviour: object) -> type[FakePicamera2]:
        fake = type("Fake", (FakePicamera2,), {"calls": [], "fails": {}, **behaviour})
        module = ModuleType("picamera2")
        module.Picamera2 = fake  # type: ignore[attr-defined]
        module.__spec__ = SimpleNamespace(name="picamera2")  # type: ignore[assignment]
        monkeypatch.setitem(sys.modules, "picamera2", module)
        return fake

    return install


def test_picamera_delivers(picamera2: Install) -> None:
    usb = {"Num": 0, "Id": "/base/scb/pcie@7d500000/usb@0,0-1.2:1.0-046d:0825"}
    fake = picamera2(cameras=(usb, {"Num": 2, "Id": "/base/i2c@1/imx219@10"}))
    source = opened(parse_source("picamera", CaptureSettings(width=1280, height=720, fps=15)))
    assert np.array_equal(source.read(), FRAME)  # type: ignore[arg-type]
    assert source.fps == 15
    source.close()
    assert fake.calls == [
        ("open", 2),
        (
            "configure",
            {"size": (1280, 720), "format": "RGB888"},
            {"FrameRate": 15},
            {"size": (320, 180), "format": "YUV420"},
        ),
        ("start",),
        ("capture", "main", "lores"),
        ("stop",),
        ("close",),
    ]


def test_the_garment_is_found_in_the_low_resolution_stream_of_picamera(picamera2: Install) -> None:
    low = cv2.cvtColor(Scene(320, 240).draw(3.0), cv2.COLOR_BGR2YUV_I420)
    picamera2(main=np.zeros((960, 1280, 3), np.uint8), lores=low)
    with live("picamera", width=1280, height=960, mirror=True, frames=1) as loop:
        (result,) = loop
    assert result.label == "Trouser"
    assert result.garment.frame_shape == (960, 1280)
    assert result.garment.box.height > 320


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (ImportError("No module named 'picamera2'"), "apt install python3-picamera2.*--system-site-packages"),
        (ValueError("numpy.dtype size changed"), "python3-numpy"),
    ],
)
def test_picamera2_that_cannot_be_imported(error: Exception, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> ModuleType:
        raise error

    monkeypatch.setattr("edge_fmnist.sources.picamera.import_module", fail)
    with pytest.raises(SourceError, match=f"picamera: Picamera2 .*{error}.*{hint}"):
        parse_source("picamera").open()


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ({"cameras": ()}, "no camera is connected to the camera connector; check the ribbon"),
        ({"fails": {"open": RuntimeError("busy")}}, "cannot be opened .busy.; another program"),
        ({"fails": {"configure": KeyError("x")}}, "refused 640x480 at 30 fps"),
        ({"fails": {"start": RuntimeError("x"), "stop": RuntimeError("x")}}, "refused 640x480 at 30 fps"),
        ({"fails": {"capture": RuntimeError("gone")}}, "the camera was lost .gone."),
        ({"silent": True}, r"no frame within 0\.01 s; check the ribbon cable"),
    ],
)
def test_picamera_that_does_not_work(picamera2: Install, behaviour: dict[str, object], message: str) -> None:
    fake = picamera2(**behaviour)
    with pytest.raises(SourceError, match=f"picamera: .*{message}"):
        parse_source("picamera", CaptureSettings(timeout=0.01)).open()
    started = any(call[0] == "configure" for call in fake.calls)
    assert (("close",) in fake.calls) == started, "left open"


def test_auto_uses_the_first_camera_that_delivers(
    picamera2: Install, capture: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picamera2(cameras=())
    silent, good = tmp_path / "video0", tmp_path / "video1"
    silent.touch()
    good.touch()

    def read(self: FakeCapture) -> tuple[bool, np.ndarray | None]:
        return (True, FRAME) if self.device == str(good) else (False, None)

    capture(read=read)
    monkeypatch.setattr(cameras, "list_cameras", lambda: [str(silent), str(good)])
    source = opened(parse_source("auto"))
    assert (source.name, source.fps) == (str(good), 30)
    assert source.skip()
    assert np.array_equal(source.read(), FRAME)  # type: ignore[arg-type]
    source.close()
    with pytest.raises(SourceError, match="not open"):
        source.read()


def test_auto_without_a_camera_says_what_to_do(capture: Install, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cameras, "find_spec", lambda name: None)
    monkeypatch.setattr(cameras, "list_cameras", list)
    with pytest.raises(SourceError, match=r"auto: no camera found; connect a USB camera; .*--source demo .*scene$"):
        parse_source("auto").open()
    capture(script=())
    monkeypatch.setattr(cameras, "list_cameras", lambda: [device])
    with pytest.raises(SourceError, match=r"auto: no camera found; .*\(tried: \S+video0: delivers no frames"):
        parse_source("auto").open()


def test_nothing_leaks(tmp_path: Path, serve: Callable[..., str], write_video: Callable[..., Path]) -> None:
    path = write_video(tmp_path / "a.avi", [FRAME] * 5)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(pictures / name), FRAME)
    sources = [parse_source(str(path)), parse_source(serve({"a.avi": path.read_bytes()}) + "a.avi")]
    sources += [parse_source(str(pictures)), parse_source("demo", CaptureSettings(width=64, height=48))]

    def cycle() -> None:
        for source in sources:
            source.open()
            assert source.read() is not None
            assert source.read() is not None
            source.close()

    def resources() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    # What libraries keep for good, they take the first time.
    cycle()
    before = resources()
    for _ in range(4):
        cycle()
    # The server's threads end after their answers.
    deadline = time.perf_counter() + 5
    while any(map(operator.gt, resources(), before)) and time.perf_counter() < deadline:
        time.sleep(0.01)
    assert not any(map(operator.gt, resources(), before))


def test_auto_prefers_the_camera_of_a_raspberry_pi(
    picamera2: Install, capture: Install, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    picamera2()
    capture()
    monkeypatch.setattr(cameras, "list_cameras", lambda: [device])
    assert opened(parse_source("auto")).name == "picamera"


def test_a_region_in_pixels_is_that_of_the_large_picture_of_picamera(picamera2: Install) -> None:
    scene = cv2.resize(Scene(320, 240).draw(3.0), (1280, 960))
    low = cv2.cvtColor(Scene(320, 240).draw(3.0), cv2.COLOR_BGR2YUV_I420)
    picamera2(main=scene, lores=low)
    running = live(source="picamera", model="edge", width=1280, height=960, roi="400,0,800,960", frames=1)
    (result,) = running
    assert result.frame.picture.shape[:2] == result.garment.frame_shape == (960, 800)
    assert result.garment.found
    assert result.garment.mask.shape == (96, 80)


def test_the_low_resolution_stream_of_picamera_has_an_even_height(picamera2: Install) -> None:
    fake = picamera2()
    opened(parse_source("picamera", CaptureSettings(width=1280, height=716))).close()
    assert fake.calls[1][3] == {"size": (320, 180), "format": "YUV420"}
