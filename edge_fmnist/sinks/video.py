"""Video recording of the annotated frames."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import cv2
import numpy as np

from edge_fmnist.data.files import moved_into_place
from edge_fmnist.errors import SinkError, UsageError
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.annotate import annotate
from edge_fmnist.sinks.base import Sink
from edge_fmnist.sinks.disk_space import FAT_LIMIT, DiskSpace

# The wheel of OpenCV has no H.264 encoder; VP8 and VP9 are too slow for small devices.
CODECS = {".mp4": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}

DEFAULT_FPS = 15.0
FPS_RANGE = (1.0, 240.0)
MEASURED_FRAMES = 10
MEASURED_BYTES = 64 << 20

# Limits of MPEG-4, and a minimum that players accept.
MIN_SIDE, MAX_SIDE = 16, 4096

# An MP4 file cannot be played without its index, which is written last: space is reserved for it.
INDEX_BYTES = 1 << 20
INDEX_BYTES_PER_FRAME = 32


class VideoRecorder(Sink):
    """Records the annotated frame of every result to a video file.

    The first frame sets the video size; frames of another size are letterboxed. The file is written under a temporary
    name and moved into place by :meth:`close`, replacing an existing one; without any result nothing is moved. An
    ``.mp4`` ends at 4 GiB, because a file truncated by the file system would lose its index. An ``.mkv`` has no such
    limit and can be played from its temporary name even after a power failure.
    """

    def __init__(self, path: str | Path, fps: float | None = None) -> None:
        """Check the file name and create the temporary file.

        Args:
            path: ends in ``.mp4`` (MPEG-4), ``.mkv`` (MPEG-4) or ``.avi`` (Motion JPEG).
            fps: playback frame rate; None, or a value outside 1 to 240, measures it over the first ten frames.

        Raises:
            UsageError: unsupported suffix, or the path is a folder.
            SinkError: the file cannot be written there.
        """
        self._path = Path(path)
        suffix = self._path.suffix.lower()
        if suffix not in CODECS:
            raise UsageError(f"{path}: expected a video file that ends in {', '.join(CODECS)}, got {suffix!r}")
        if self._path.is_dir():
            raise UsageError(f"{path}: expected a video file, got a folder")
        self._codec = CODECS[suffix]
        valid = fps is not None and math.isfinite(fps) and FPS_RANGE[0] <= fps <= FPS_RANGE[1]
        # Hundredths fit into the header of every container.
        self._fps = round(fps, 2) if fps is not None and valid else None
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._pending: list[np.ndarray] = []
        self._captured: list[float] = []
        self._frames = 0
        self._output = contextlib.ExitStack()
        try:
            self._temporary = self._output.enter_context(moved_into_place(self._path))
        except OSError as error:
            raise SinkError(f"{path}: cannot be written ({error.strerror or error})") from error
        self._disk = DiskSpace(self._temporary, str(path), FAT_LIMIT if suffix == ".mp4" else None)

    def write(self, result: LiveResult) -> None:
        """Write one frame.

        Raises:
            SinkError: the disk is full, or the video cannot be written for another reason.
        """
        picture = annotate(result)
        if self._writer is not None or self._fps is not None:
            self._append(picture)
            return
        self._pending.append(picture)
        self._captured.append(result.frame.captured)
        if len(self._pending) == MEASURED_FRAMES or picture.nbytes * len(self._pending) >= MEASURED_BYTES:
            self._flush()

    def close(self) -> None:
        """Finish the file and move it into place.

        Raises:
            SinkError: it cannot be finished or moved; an existing file then stays.
        """
        try:
            self._flush()
        finally:
            self._finish()

    def _flush(self) -> None:
        """Write the frames that were held back to measure the frame rate."""
        pending, self._pending = self._pending, []
        if pending:
            self._fps = _measured_fps(self._captured)
        for picture in pending:
            self._append(picture)

    def _append(self, picture: np.ndarray) -> None:
        self._disk.check(picture.nbytes + INDEX_BYTES + INDEX_BYTES_PER_FRAME * self._frames)
        if self._writer is None:
            self._size = _video_size(picture.shape[1], picture.shape[0])
            self._writer = self._open(self._fps or DEFAULT_FPS)
        self._writer.write(letterbox(picture, self._size))
        self._frames += 1

    def _open(self, fps: float) -> cv2.VideoWriter:
        fourcc = cv2.VideoWriter.fourcc(*self._codec)
        writer = cv2.VideoWriter(str(self._temporary), cv2.CAP_FFMPEG, fourcc, fps, self._size)
        if not writer.isOpened():
            raise SinkError(
                f"{self._path}: OpenCV cannot encode this video on this machine ({self._codec}, "
                f"{self._size[0]}x{self._size[1]}); try another suffix"
            )
        return writer

    def _finish(self) -> None:
        writer, self._writer = self._writer, None
        try:
            with contextlib.suppress(_NothingWrittenError), self._output:
                if self._frames == 0:
                    raise _NothingWrittenError
                if writer is not None:
                    writer.release()
                    self._check_playable()
        except OSError as error:
            raise SinkError(f"{self._path}: cannot be moved into place ({error.strerror or error})") from error

    def _check_playable(self) -> None:
        video = cv2.VideoCapture(str(self._temporary), cv2.CAP_FFMPEG)
        playable = video.isOpened()
        video.release()
        if not playable:
            raise SinkError(
                f"{self._path}: the end of the video could not be written, so it cannot be played and was removed; "
                "free some space and start again, with a name that ends in .mkv, which can be played without its end"
            )


class _NothingWrittenError(Exception):
    """Keeps an empty file from being moved into place."""


def letterbox(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a picture without distortion and pad it with black bars.

    Args:
        picture: uint8, shape (H, W, 3).
        size: width and height of the output.
    """
    width, height = size
    old_height, old_width = picture.shape[:2]
    if (old_width, old_height) == size:
        return picture
    only_odd = width - old_width in (0, 1) and height - old_height in (0, 1)
    if not only_odd:
        scale = min(width / old_width, height / old_height)
        inner = (max(1, min(width, round(old_width * scale))), max(1, min(height, round(old_height * scale))))
        picture = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    free_x, free_y = width - picture.shape[1], height - picture.shape[0]
    left, top = free_x // 2, free_y // 2
    # The row or column that an odd frame lacks repeats its neighbour: a black line would be visible.
    border = cv2.BORDER_REPLICATE if only_odd else cv2.BORDER_CONSTANT
    return np.asarray(cv2.copyMakeBorder(picture, top, free_y - top, left, free_x - left, border))


def _video_size(width: int, height: int) -> tuple[int, int]:
    """Return the video size for a first frame: even, and within the limits of the encoders."""
    scale = min(1.0, MAX_SIDE / max(width, height))
    width, height = (max(MIN_SIDE, round(side * scale)) for side in (width, height))
    return width + width % 2, height + height % 2


def _measured_fps(captured: list[float]) -> float:
    """Return the frame rate from the median interval, since the first frames of a camera come unevenly."""
    interval = float(np.median(np.diff(captured))) if len(captured) > 1 else 0.0
    return round(min(max(1 / interval, FPS_RANGE[0]), FPS_RANGE[1]), 2) if interval > 0 else DEFAULT_FPS
