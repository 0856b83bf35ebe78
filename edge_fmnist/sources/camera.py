"""V4L2 cameras: USB cameras and other devices that the kernel serves as such."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from edge_fmnist.errors import SourceError
from edge_fmnist.sources.base import CaptureSettings, ChosenSource, Source
from edge_fmnist.sources.capture import CaptureSource, open_camera
from edge_fmnist.sources.devices import list_cameras
from edge_fmnist.sources.picamera import PiCamera

if TYPE_CHECKING:
    import cv2

# Wider uncompressed frames do not fit through USB 2.0 thirty times a second.
UNCOMPRESSED_WIDTH = 640
ADVICE = (
    "connect a USB camera; for a Raspberry Pi's own camera: sudo apt install python3-picamera2; "
    "without a camera, --source demo shows a drawn scene"
)


class Camera(CaptureSource):
    """A V4L2 camera, such as ``/dev/video0``."""

    attempts = 5
    # isOpened() is true for a Raspberry Pi's sensor, which then delivers nothing: gh:opencv/opencv#22820.
    hint = "; a Raspberry Pi's own camera is read through Picamera2: --source picamera"

    def __init__(self, device: str, settings: CaptureSettings) -> None:
        super().__init__(device, settings.timeout)
        self.settings = settings

    def connect(self) -> cv2.VideoCapture:
        """See :meth:`CaptureSource.connect`."""
        if not Path(self.name).exists():
            raise SourceError(f"{self.name}: no such camera (connected: {', '.join(list_cameras()) or 'none'})")
        if not os.access(self.name, os.R_OK | os.W_OK):
            raise SourceError(
                f"{self.name}: permission denied; "
                "allow it with: sudo usermod --append --groups video $USER, then log in again"
            )
        capture = open_camera(self.name)
        if not capture.isOpened():
            capture.release()
            raise SourceError(f"{self.name}: cannot be opened as a camera; another program may be using it")
        self._request(capture)
        return capture

    def _request(self, capture: cv2.VideoCapture) -> None:
        """Request size and rate; the driver chooses the nearest that the camera supports."""
        import cv2

        settings = self.settings
        if settings.width and settings.width > UNCOMPRESSED_WIDTH:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        for setting, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, settings.width),
            (cv2.CAP_PROP_FRAME_HEIGHT, settings.height),
            (cv2.CAP_PROP_FPS, settings.fps),
        ):
            if value:
                capture.set(setting, value)


class AutoCamera(ChosenSource):
    """A Raspberry Pi's own camera if there is one, else the first V4L2 camera that delivers a frame.

    The camera is chosen each time the source is opened, since a camera plugged in again may get another number.
    """

    def __init__(self, settings: CaptureSettings) -> None:
        self.name = "auto"
        self.settings = settings

    def open(self) -> None:
        """See :meth:`Source.open`.

        Raises:
            SourceError: no camera delivers a frame; says which were tried and what to do.
        """
        self.close()
        candidates: list[Source] = [Camera(device, self.settings) for device in list_cameras()]
        if find_spec("picamera2") is not None:
            candidates.insert(0, PiCamera(self.settings))
        problems = []
        for candidate in candidates:
            # Set first, so that interrupt() reaches it while it opens.
            self.chosen = candidate
            try:
                candidate.open()
            except SourceError as error:
                problems.append(str(error))
            else:
                self.name, self.fps = candidate.name, candidate.fps
                return
        self.chosen = None
        tried = f" (tried: {'; '.join(problems)})" if problems else ""
        raise SourceError(f"auto: no camera found; {ADVICE}{tried}")
