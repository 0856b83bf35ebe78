"""Video files."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from edge_fmnist.errors import SourceError
from edge_fmnist.sources.base import CaptureSettings, Warn, log_warning
from edge_fmnist.sources.capture import MAX_FPS, CaptureSource, open_ffmpeg
from edge_fmnist.vision.picture_files import identify

if TYPE_CHECKING:
    import cv2

# Containers without a frame count have it estimated from their duration; below this share frames are missing.
COMPLETE_SHARE = 0.95
NO_FRAME = "no frame can be decoded; the file may be damaged"
# For videos with a variable frame rate, as browsers and phones record them, FFmpeg may report the time base of the
# file, such as 60, 120 or 1000. Reported rates above this are checked against the time stamps of the first frames.
PLAUSIBLE_FPS = 45.0
# A reported rate of at least this many times the measured rate is replaced by the measured rate.
LARGEST_RATIO = 1.5
MEASURED_FRAMES, MEASURED_SECONDS = 120, 1.0
DEFAULT_FPS = 30.0
UNREADABLE = "not a video or image that can be decoded, or damaged"


class VideoFile(CaptureSource):
    """A video file that FFmpeg can decode, rotated as its metadata says.

    A damaged file gives the frames that can be decoded, and one warning.
    """

    realtime = False

    def __init__(self, path: str, settings: CaptureSettings, warn: Warn = log_warning) -> None:
        super().__init__(path, settings.timeout)
        self._warn = warn
        self._expected = 0.0
        self._ended = False

    def connect(self) -> cv2.VideoCapture:
        """See :meth:`CaptureSource.connect`."""
        import cv2

        path = Path(self.name)
        if not path.exists():
            raise SourceError(f"{self.name}: no such file")
        if not path.is_file():
            raise SourceError(f"{self.name}: not a regular file, expected a video file")
        capture = self._capture_of(path)
        self._expected = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self._ended = False
        return capture

    def _capture_of(self, path: Path) -> cv2.VideoCapture:
        # FFmpeg takes text before a colon for a protocol, except in an absolute path.
        capture = open_ffmpeg(str(path.absolute()), self.open_timeout or 0)
        if not capture.isOpened():
            capture.release()
            raise SourceError(f"{self.name}: {_undecodable(path, UNREADABLE)}")
        return capture

    def frame_rate(self, capture: cv2.VideoCapture) -> float:
        """See :meth:`CaptureSource.frame_rate`; measured if the rate that FFmpeg reports is implausible."""
        stated = super().frame_rate(capture)
        if stated is not None and stated <= PLAUSIBLE_FPS:
            return stated
        measured = self._measured_rate()
        if measured is None or (stated is not None and stated < LARGEST_RATIO * measured):
            return stated or DEFAULT_FPS
        # The number of frames may have been derived from the rate.
        self._expected = 0.0
        return measured

    def _measured_rate(self) -> float | None:
        """Measure the frame rate from the time stamps of the first frames, in a second capture; None without them."""
        import cv2

        capture = self._capture_of(Path(self.name))
        times: list[float] = []
        end = time.perf_counter() + MEASURED_SECONDS
        while len(times) <= MEASURED_FRAMES and time.perf_counter() < end and capture.grab():
            times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        capture.release()
        times.sort()
        intervals = [later - earlier for earlier, later in pairwise(times)]
        # Ignore pauses.
        usual = [interval for interval in intervals if interval <= 2 * median(intervals)]
        seconds = sum(usual)
        return len(usual) / seconds if seconds * MAX_FPS >= len(usual) > 0 else None

    def on_end(self) -> None:
        """End the video, with one warning if frames are missing.

        Raises:
            SourceError: not one frame could be decoded.
        """
        if not self.frames_read:
            raise SourceError(f"{self.name}: {_undecodable(Path(self.name), NO_FRAME)}")
        if not self._ended and self.frames_read < COMPLETE_SHARE * self._expected:
            self._warn(
                f"{self.name}: only {self.frames_read} of about {self._expected:.0f} frames could be decoded; "
                "the file may be damaged or truncated"
            )
        self._ended = True


def _undecodable(path: Path, otherwise: str) -> str:
    """Return why a video cannot be decoded: its codec, or otherwise the given reason."""
    with path.open("rb") as stream:
        # The codec is named in the header, which may be at the end.
        head, size = stream.read(1 << 16), stream.seek(0, 2)
        stream.seek(max(0, size - (1 << 16)))
        content = head + stream.read()
    if identify(head) == "MP4 video" and b"av01" in content:
        return "AV1 video, which this OpenCV cannot decode; convert it to H.264"
    return otherwise
