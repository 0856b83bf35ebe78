"""Video files, read whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_fmnist.errors import SourceError
from edge_fmnist.sources.base import Warn, Wishes, log_warning
from edge_fmnist.sources.capture import CaptureReader, open_ffmpeg
from edge_fmnist.sources.guard import GuardedSource
from edge_fmnist.vision.read_image import identify

if TYPE_CHECKING:
    import cv2

# Containers without a frame count have it guessed from their length; below this share something is missing.
COMPLETE = 0.95
NO_FRAME = "no picture in it can be decoded; it may be damaged"
UNREADABLE = "not a video or picture that can be decoded, or a damaged one"


class VideoFile(GuardedSource):
    """A video file that FFmpeg can decode; turned upright as its rotation mark says.

    A damaged one gives what can be decoded, and one warning.
    """

    realtime = False

    def __init__(self, path: str, wishes: Wishes, warn: Warn = log_warning) -> None:
        super().__init__(path, wishes)
        self._warn = warn

    def connect(self) -> VideoReader:
        """See :meth:`GuardedSource.connect`."""
        path = Path(self.name)
        if not path.exists():
            raise SourceError(f"{self.name}: no such file")
        if not path.is_file():
            raise SourceError(f"{self.name}: not a regular file, expected a video file")
        # FFmpeg takes what stands before a colon for a protocol, but not in an absolute path.
        capture = open_ffmpeg(str(path.absolute()), self.wishes.timeout)
        if not capture.isOpened():
            capture.release()
            raise SourceError(f"{self.name}: {_undecodable(self.name, UNREADABLE)}")
        return VideoReader(capture, self.name, self._warn)


class VideoReader(CaptureReader):
    """Reads a video to its end."""

    def __init__(self, capture: cv2.VideoCapture, name: str, warn: Warn) -> None:
        import cv2

        super().__init__(capture, name)
        self._expected = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self._warn = warn
        self._ended = False

    def read(self) -> np.ndarray | None:
        """Return the next frame, None at the end."""
        frame = None if self._ended else super().read()
        if frame is None:
            self._end()
        return frame

    def skip(self) -> bool:
        """Pass over the next frame; False at the end."""
        skipped = not self._ended and super().skip()
        if not skipped:
            self._end()
        return skipped

    def _end(self) -> None:
        """Take note of the end, and warn once where it came too early."""
        if self._ended:
            return
        self._ended = True
        if not self.read_count:
            raise SourceError(f"{self._name}: {_undecodable(self._name, NO_FRAME)}")
        if 0 < self.read_count < COMPLETE * self._expected:
            self._warn(
                f"{self._name}: only {self.read_count} of about {self._expected:.0f} frames could be decoded; "
                "the file may be damaged or cut off"
            )


def _undecodable(path: str, otherwise: str) -> str:
    """Return why a video cannot be decoded: its codec, or otherwise the given reason."""
    with Path(path).open("rb") as stream:
        # The codec is named in the header, which may be at the end.
        head, size = stream.read(1 << 16), stream.seek(0, 2)
        stream.seek(max(0, size - (1 << 16)))
        content = head + stream.read()
    if identify(head) == "MP4 video" and b"av01" in content:
        return "AV1 video, which this OpenCV cannot decode; convert it to H.264"
    return otherwise
