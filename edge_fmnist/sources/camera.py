"""Cameras that the kernel serves as V4L2 devices: USB cameras, and what else looks like one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from edge_fmnist.errors import SourceError
from edge_fmnist.sources import devices
from edge_fmnist.sources.base import Wishes
from edge_fmnist.sources.capture import ATTEMPTS, LiveCaptureReader, open_camera
from edge_fmnist.sources.guard import GuardedSource

if TYPE_CHECKING:
    import cv2

# Uncompressed frames wider than this do not fit through USB 2.0 thirty times a second.
UNCOMPRESSED_WIDTH = 640


class Camera(GuardedSource):
    """A V4L2 camera, such as ``/dev/video0``."""

    # isOpened() is true for a Raspberry Pi's sensor, which then delivers nothing: gh:opencv/opencv#22820.
    advice = "; a Raspberry Pi's own camera is read through Picamera2: --source picamera"

    def __init__(self, device: str, wishes: Wishes) -> None:
        super().__init__(device, wishes)

    def connect(self) -> LiveCaptureReader:
        """See :meth:`GuardedSource.connect`."""
        self._check_device()
        capture = open_camera(self.name)
        if not capture.isOpened():
            capture.release()
            raise SourceError(f"{self.name}: cannot be opened as a camera; another program may be using it")
        self._ask(capture)
        return LiveCaptureReader(capture, self.name, attempts=ATTEMPTS)

    def _check_device(self) -> None:
        if not Path(self.name).exists():
            cameras = ", ".join(devices.list_cameras()) or "none"
            raise SourceError(f"{self.name}: no such camera (connected: {cameras})")
        if not os.access(self.name, os.R_OK | os.W_OK):
            raise SourceError(
                f"{self.name}: this user may not open it; "
                "allow it with: sudo usermod --append --groups video $USER, then log in again"
            )

    def _ask(self, capture: cv2.VideoCapture) -> None:
        """Ask the driver for what is wished; it takes the nearest that the camera has."""
        import cv2

        wishes = self.wishes
        if wishes.width and wishes.width > UNCOMPRESSED_WIDTH:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        for setting, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, wishes.width),
            (cv2.CAP_PROP_FRAME_HEIGHT, wishes.height),
            (cv2.CAP_PROP_FPS, wishes.fps),
        ):
            if value:
                capture.set(setting, value)
