"""The V4L2 devices of this machine that deliver pictures."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

FOLDER = Path("/dev")
# linux/videodev2.h: VIDIOC_QUERYCAP fills a struct v4l2_capability.
QUERYCAP = 0x80685600
CAPABILITY = struct.Struct("=16s32s32sIII12x")
VIDEO_CAPTURE = 0x00000001
# A Raspberry Pi's sensors and image pipelines: V4L2 devices that only libcamera can get pictures from.
LIBCAMERA_DRIVERS = frozenset({"unicam", "rp1-cfe", "bcm2835-isp", "pispbe"})


def list_cameras() -> list[str]:
    """Return the devices that may be cameras, ``/dev/video0`` first.

    Left out are what does not capture (codecs, metadata) and what only
    libcamera can read. One that this user may not open is listed: it may be a camera.
    """
    return [str(device) for device in _devices() if _may_be_camera(device)]


def _devices() -> list[Path]:
    numbered = [path for path in FOLDER.glob("video*") if path.name.removeprefix("video").isdecimal()]
    return sorted(numbered, key=lambda path: int(path.name.removeprefix("video")))


def _may_be_camera(device: Path) -> bool:
    try:
        answer = _query(device)
    except PermissionError:
        return True
    except OSError:
        return False
    driver, _, _, _, _, capabilities = CAPABILITY.unpack(answer)
    return bool(capabilities & VIDEO_CAPTURE) and driver.rstrip(b"\0").decode() not in LIBCAMERA_DRIVERS


def _query(device: Path) -> bytes:
    handle = os.open(device, os.O_RDWR | os.O_NONBLOCK)
    try:
        return fcntl.ioctl(handle, QUERYCAP, bytes(CAPABILITY.size))
    finally:
        os.close(handle)
