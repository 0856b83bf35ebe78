"""A Raspberry Pi's own camera, through Picamera2."""

from __future__ import annotations

from concurrent import futures
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from edge_fmnist.errors import SourceError
from edge_fmnist.sources.base import READ_TIMEOUT, CaptureSettings, Source

NAME = "picamera"
SIZE = (640, 480)
FPS = 30.0
# Two are filled while one is read; more only make the frames older.
BUFFERS = 4
# The camera's image processor also delivers frames of this width, in which the garment is found: enough for the working
# copy of preprocessing, and a multiple of 64, so that rows have no padding.
LOW_WIDTH = 320
HINT = "; check the ribbon cable, and run: rpicam-hello --list-cameras"
INSTALL = (
    "install it with: sudo apt install python3-picamera2; a virtual environment sees it "
    "if it was created with: python3 -m venv --system-site-packages"
)


class PiCamera(Source):
    """The first camera on a Raspberry Pi's camera connector."""

    def __init__(self, settings: CaptureSettings) -> None:
        self.name = NAME
        self.settings = settings
        self._camera: Any = None
        self._first: np.ndarray | None = None
        self._streams = ["main"]
        # A slow camera delivers its first frame after one interval, too.
        self._interval = 1 / settings.fps if settings.fps else 0.0
        self.read_timeout = READ_TIMEOUT + self._interval

    def open(self) -> None:
        """See :meth:`Source.open`.

        Raises:
            SourceError: Picamera2 is not installed, no camera is connected, or it delivers nothing.
        """
        self.close()
        module = _import()
        try:
            try:
                self._camera = module.Picamera2(_first_camera(module))
            except (RuntimeError, IndexError, OSError) as error:
                raise SourceError(
                    f"{NAME}: the camera cannot be opened ({error}); another program may be using it"
                ) from error
            self._start()
            self._first = self._capture(self.settings.timeout + self._interval)
        except SourceError as error:
            self.close()
            raise SourceError(f"{error}{HINT}") from error

    def _start(self) -> None:
        self.fps = self.settings.fps or FPS
        size = (self.settings.width or SIZE[0], self.settings.height or SIZE[1])
        low: dict[str, Any] = {}
        if size[0] > LOW_WIDTH:
            # YUV420 is the only format that all models offer, and takes an even height.
            low["lores"] = {"size": (LOW_WIDTH, 2 * round(LOW_WIDTH * size[1] / size[0] / 2)), "format": "YUV420"}
        self._streams = ["main", *low]
        try:
            # Named for the order in a 24-bit word: in memory it is BGR (gh:raspberrypi/picamera2#848).
            configuration = self._camera.create_video_configuration(
                main={"size": size, "format": "RGB888"},
                controls={"FrameRate": self.fps},
                buffer_count=BUFFERS,
                **low,
            )
            self._camera.configure(configuration)
            self._camera.start()
        except Exception as error:
            # Whatever libcamera's bindings raise, the camera must be released.
            raise SourceError(
                f"{NAME}: the camera refused {size[0]}x{size[1]} at {self.fps:g} fps ({error})"
            ) from error

    def read(self) -> np.ndarray:
        """See :meth:`Source.read`."""
        first, self._first = self._first, None
        return self._capture(self.read_timeout) if first is None else first

    def _capture(self, timeout: float) -> np.ndarray:
        from edge_fmnist.vision.preprocess import to_frame

        camera = self._camera
        if camera is None:
            raise SourceError(f"{NAME}: not open")
        try:
            (picture, *low), _ = camera.capture_arrays(self._streams, wait=False).get_result(timeout)
            self.small = _from_yuv(low[0]) if low else None
            return to_frame(picture)
        except (TimeoutError, futures.TimeoutError) as error:
            raise SourceError(f"{NAME}: no frame within {timeout:g} s") from error
        except Exception as error:
            raise SourceError(f"{NAME}: the camera was lost ({error})") from error

    def close(self) -> None:
        """See :meth:`Source.close`."""
        camera, self._camera = self._camera, None
        self._first = None
        if camera is None:
            return
        for finish in (camera.stop, camera.close):
            # A lost camera may fail to stop, and must be closed all the same.
            with suppress(Exception):
                finish()

    def interrupt(self) -> None:
        """Do nothing: reads end by their timeout."""


def _from_yuv(planes: np.ndarray) -> np.ndarray:
    """Return a YUV420 frame, uint8, shape (3 * h / 2, w), its planes one below the other, as BGR."""
    import cv2

    return np.asarray(cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420))


def _import() -> ModuleType:
    try:
        return import_module("picamera2")
    except ImportError as error:
        raise SourceError(f"{NAME}: Picamera2 cannot be imported ({error}); {INSTALL}") from error
    except ValueError as error:
        # Debian's simplejpeg is compiled for one major version of NumPy: gh:raspberrypi/picamera2#1211.
        raise SourceError(
            f"{NAME}: Picamera2 does not work with the NumPy of this environment ({error}); "
            "install Debian's NumPy, python3-numpy, and remove pip's: pip uninstall numpy"
        ) from error


def _first_camera(module: ModuleType) -> int:
    """Return the number of the first camera that is not on USB; Picamera2 lists those too, V4L2 reads them better."""
    cameras = module.Picamera2.global_camera_info()
    for index, camera in enumerate(cameras):
        if "usb" not in str(camera.get("Id", "")).lower():
            return int(camera.get("Num", index))
    raise SourceError(f"{NAME}: no camera is connected to the camera connector")
