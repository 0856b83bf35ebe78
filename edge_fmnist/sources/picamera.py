"""A Raspberry Pi's own camera, through Picamera2."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from edge_fmnist.errors import ImageError, SourceError
from edge_fmnist.sources.base import Wishes
from edge_fmnist.sources.convert import as_frame
from edge_fmnist.sources.guard import GuardedSource, Reader

NAME = "picamera"
SIZE = (640, 480)
FPS = 30.0
# Two of them are filled while one is read; more only make the frames older.
BUFFERS = 4
INSTALL = (
    "install it with: sudo apt install python3-picamera2; a virtual environment sees it "
    "when it was made with: python3 -m venv --system-site-packages"
)


class PiCamera(GuardedSource):
    """The first camera on a Raspberry Pi's camera connector."""

    advice = "; check the ribbon cable, and look at: rpicam-hello --list-cameras"

    def __init__(self, wishes: Wishes) -> None:
        super().__init__(NAME, wishes)
        self._module: ModuleType | None = None

    def open(self) -> None:
        """See :meth:`Source.open`.

        Raises:
            SourceError: Picamera2 is not installed, no camera is connected, or it delivers nothing.
        """
        # Importing takes seconds on a small Pi, which the camera's timeout should not pay for.
        self._module = _import()
        super().open()

    def connect(self) -> PiCameraReader:
        """See :meth:`GuardedSource.connect`."""
        module = self._module or _import()
        try:
            camera = module.Picamera2(_first_camera(module))
        except (RuntimeError, IndexError, OSError) as error:
            raise SourceError(f"{NAME}: the camera cannot be opened ({error}); another program may use it") from error
        return PiCameraReader(camera, self.wishes)


class PiCameraReader(Reader):
    """Reads a Picamera2 camera."""

    def __init__(self, camera: Any, wishes: Wishes) -> None:
        """Configure and start the camera; it is closed where that fails."""
        self._camera = camera
        self.fps = wishes.fps or FPS
        size = (wishes.width or SIZE[0], wishes.height or SIZE[1])
        try:
            # Named for the order in a 24-bit word: in memory it is BGR (gh:raspberrypi/picamera2#848).
            configuration = camera.create_video_configuration(
                main={"size": size, "format": "RGB888"}, controls={"FrameRate": self.fps}, buffer_count=BUFFERS
            )
            camera.configure(configuration)
            camera.start()
        except Exception as error:
            # Picamera2 raises what libcamera's bindings raise; whatever it is, the camera must be free again.
            self.release()
            raise SourceError(
                f"{NAME}: the camera refused {size[0]}x{size[1]} at {self.fps:g} fps ({error})"
            ) from error

    def read(self) -> np.ndarray:
        """Return the next frame.

        Raises:
            SourceError: the camera was lost.
        """
        try:
            return as_frame(self._camera.capture_array("main"))
        except (RuntimeError, OSError, ImageError) as error:
            raise SourceError(f"{NAME}: the camera was lost ({error})") from error

    def release(self) -> None:
        """Stop and close the camera."""
        for finish in (self._camera.stop, self._camera.close):
            # One that is lost may fail to stop, and must be closed all the same.
            with suppress(Exception):
                finish()


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
    """Return the number of the first camera that is not on USB, which Picamera2 lists too and V4L2 reads better."""
    cameras = module.Picamera2.global_camera_info()
    for index, camera in enumerate(cameras):
        if "usb" not in str(camera.get("Id", "")).lower():
            return int(camera.get("Num", index))
    raise SourceError(f"{NAME}: no camera is connected to the camera connector")
