"""The V4L2 devices of this machine that deliver frames."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from pathlib import Path

FOLDER = Path("/dev")
# linux/videodev2.h: VIDIOC_QUERYCAP fills a struct v4l2_capability.
QUERYCAP = 0x80685600
CAPABILITY = struct.Struct("=16s32s32sIII12x")
VIDEO_CAPTURE = 0x00000001
# Sensors and image pipelines of a Raspberry Pi: V4L2 devices that only libcamera can read.
LIBCAMERA_DRIVERS = frozenset({"unicam", "rp1-cfe", "bcm2835-isp", "pispbe"})


def list_cameras() -> list[str]:
    """Return the devices that may be cameras, ``/dev/video0`` first.

    Devices that do not capture (codecs, metadata) or that only libcamera can
    read are left out. One without read permission is listed: it may be a camera.
    """
    numbered = [path for path in FOLDER.glob("video*") if path.name.removeprefix("video").isdecimal()]
    devices = sorted(numbered, key=lambda path: int(path.name.removeprefix("video")))
    return [str(device) for device in devices if _may_be_camera(device)]


def is_device(path: Path) -> bool:
    """Return whether a path is a character device, such as a camera, or a link to one (udev's ``/dev/webcam``)."""
    try:
        return stat.S_ISCHR(path.stat().st_mode)
    except OSError:
        return False


def _may_be_camera(device: Path) -> bool:
    try:
        answer = query(device)
    except PermissionError:
        return True
    except OSError:
        return False
    driver, _, _, _, _, capabilities = CAPABILITY.unpack(answer)
    return bool(capabilities & VIDEO_CAPTURE) and driver.rstrip(b"\0").decode() not in LIBCAMERA_DRIVERS


def query(device: Path) -> bytes:
    """Return the ``struct v4l2_capability`` of a device.

    Raises:
        OSError: it cannot be opened, or is not a V4L2 device.
    """
    handle = os.open(device, os.O_RDWR | os.O_NONBLOCK)
    try:
        return fcntl.ioctl(handle, QUERYCAP, bytes(CAPABILITY.size))
    finally:
        os.close(handle)
