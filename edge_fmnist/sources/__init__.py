"""Where frames come from: cameras, files, streams, and a scene of our own."""

from __future__ import annotations

import glob
from pathlib import Path

from edge_fmnist.errors import SourceError, UsageError
from edge_fmnist.sources.base import Source, Warn, Wishes, log_warning
from edge_fmnist.vision.read_image import is_picture

__all__ = ["Source", "Wishes", "parse_source"]

KINDS = (
    "auto, demo, picamera, a camera's number, /dev/videoN, a video or picture file, "
    "a folder, a glob, or an http://, https:// or rtsp:// URL"
)
CAMERA_FOLDERS = ("/dev/video", "/dev/v4l/")
MAX_DIGITS = 4


def parse_source(text: str, wishes: Wishes | None = None, *, warn: Warn = log_warning) -> Source:
    """Return the source that a ``--source`` argument stands for, not yet opened.

    A file or folder that is called like another kind of source is meant by
    writing its path: ``./demo``.

    Args:
        text: one of :data:`KINDS`.
        wishes: size, rate and timeout; None leaves them to the source.
        warn: is told of what goes wrong without ending the source.

    Raises:
        UsageError: the text cannot be a source.
        SourceError: a file that is not there.
    """
    wishes = wishes or Wishes()
    if text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS:
        return _camera(f"/dev/video{int(text)}", wishes)
    if text.startswith(CAMERA_FOLDERS):
        return _camera(text, wishes)
    if "://" in text:
        from edge_fmnist.sources.stream import Stream

        return Stream(text, wishes)
    return _named(text, wishes) or _on_disk(text, wishes, warn)


def _camera(device: str, wishes: Wishes) -> Source:
    from edge_fmnist.sources.camera import Camera

    return Camera(device, wishes)


def _named(text: str, wishes: Wishes) -> Source | None:
    """Return the source that is called by a word, None if the text is no such word."""
    if text == "demo":
        from edge_fmnist.sources.demo import Demo

        return Demo(wishes)
    if text == "auto":
        from edge_fmnist.sources.auto import Auto

        return Auto(wishes)
    if text == "picamera":
        from edge_fmnist.sources.picamera import PiCamera

        return PiCamera(wishes)
    return None


def _on_disk(text: str, wishes: Wishes, warn: Warn) -> Source:
    from edge_fmnist.sources.stills import Stills

    if not text or "\0" in text or text == "-":
        raise UsageError(f"source: expected {KINDS}; got {text!r}")
    path = Path(text)
    try:
        exists = path.exists()
    except OSError as error:
        raise SourceError(f"{text[:80]}: cannot be looked for ({error.strerror or error})") from error
    if not exists and not glob.has_magic(text):
        raise SourceError(f"{text}: no such file or folder; a source is {KINDS}")
    if not exists or path.is_dir() or is_picture(path):
        return Stills(text, warn)

    from edge_fmnist.sources.video import VideoFile

    return VideoFile(text, wishes, warn)
