"""Sources of frames: cameras, files, streams, and a drawn scene."""

from __future__ import annotations

import glob
from pathlib import Path

from edge_fmnist.errors import SourceError, UsageError
from edge_fmnist.sources.base import CaptureSettings, Source, Warn, log_warning
from edge_fmnist.vision.picture_files import OTHER_FILES, identify_file, is_picture

__all__ = ["CaptureSettings", "Source", "parse_source"]

KINDS = (
    "auto, demo, picamera, a camera's index, /dev/videoN, a video or image file, "
    "a folder, a glob, or an http://, https:// or rtsp:// URL"
)
CAMERA_FOLDERS = ("/dev/video", "/dev/v4l/")
MAX_DIGITS = 4


def parse_source(text: str, settings: CaptureSettings | None = None, *, warn: Warn = log_warning) -> Source:
    """Return the source for a ``--source`` argument, not yet opened.

    For a file or folder with the name of another kind of source, write a path: ``./demo``.

    Args:
        text: one of :data:`KINDS`.
        settings: size, rate and timeout; None leaves them to the source.
        warn: receives problems that do not end the source.

    Raises:
        UsageError: the text cannot be a source.
        SourceError: a file that does not exist.
    """
    settings = settings or CaptureSettings()
    if text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS:
        text = f"/dev/video{int(text)}"
    if text.startswith(CAMERA_FOLDERS):
        from edge_fmnist.sources.camera import Camera

        return Camera(text, settings)
    if "://" in text:
        from edge_fmnist.sources.stream import Stream

        return Stream(text, settings, warn)
    return _named(text, settings) or _on_disk(text, settings, warn)


def _named(text: str, settings: CaptureSettings) -> Source | None:
    """Return the source of a certain name; None if there is none."""
    if text == "demo":
        from edge_fmnist.sources.demo import Demo

        return Demo(settings)
    if text == "auto":
        from edge_fmnist.sources.camera import AutoCamera

        return AutoCamera(settings)
    if text == "picamera":
        from edge_fmnist.sources.picamera import PiCamera

        return PiCamera(settings)
    return None


def _on_disk(text: str, settings: CaptureSettings, warn: Warn) -> Source:
    from edge_fmnist.sources.devices import is_device

    if not text or "\0" in text or text == "-":
        raise UsageError(f"expected {KINDS}; got {text!r}", setting="source")
    path = Path(text)
    try:
        exists = path.exists()
    except OSError as error:
        raise SourceError(f"{text[:80]}: cannot be accessed ({error.strerror or error})") from error
    if not exists and not glob.has_magic(text):
        raise SourceError(f"{text}: no such file or folder; a source is {KINDS}")
    if is_device(path):
        from edge_fmnist.sources.camera import Camera

        return Camera(text, settings)
    if not exists or path.is_dir() or is_picture(path):
        from edge_fmnist.sources.stills import Stills

        return Stills(text, warn)

    if (kind := identify_file(path)) in OTHER_FILES:
        raise SourceError(f"{text}: {kind}, neither a picture nor a video that can be decoded")

    from edge_fmnist.sources.video import VideoFile

    return VideoFile(text, settings, warn)
