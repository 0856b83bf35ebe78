"""The annotated frames in a video file."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import cv2
import numpy as np

from edge_fmnist.errors import SinkError, UsageError
from edge_fmnist.files import moved_into_place
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.annotate import annotate
from edge_fmnist.sinks.base import Sink
from edge_fmnist.sinks.room import FAT_LIMIT, Room

# OpenCV's wheel cannot encode H.264, and VP8 and VP9 are too slow for a small machine.
CODECS = {".mp4": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}

DEFAULT_FPS = 15.0
FPS_RANGE = (1.0, 240.0)
MEASURED_FRAMES = 10
MEASURED_BYTES = 64 << 20

# What MPEG-4 can hold, and a side that players take.
SMALLEST_SIDE, LARGEST_SIDE = 16, 4096

# An MP4 file cannot be played without its index, which is written last: room is kept for it.
INDEX_BYTES = 1 << 20
INDEX_BYTES_PER_FRAME = 32


class VideoFile(Sink):
    """Writes every result's annotated frame to a video file: as many frames in it as results.

    The first frame gives the video its size; later frames of another size are
    fitted into it with black bars. The file is written under a temporary name
    and moved into place by :meth:`close`, over one that was there; without a
    single result nothing is moved. An ``.mp4`` ends at 4 GiB, since one that a
    file system cut short would lose its index. An ``.mkv`` has no such end, and
    can be played, from its temporary name, even when the power failed.
    """

    def __init__(self, path: str | Path, fps: float | None = None) -> None:
        """Check the name and make the temporary file.

        Args:
            path: ends in ``.mp4`` (MPEG-4), ``.mkv`` (MPEG-4) or ``.avi`` (Motion JPEG).
            fps: frames a second when it is played; where None or no sensible number, it is
                measured over the first ten frames.

        Raises:
            UsageError: another suffix, or the path is a folder.
            SinkError: nothing can be written there.
        """
        self._path = Path(path)
        suffix = self._path.suffix.lower()
        if suffix not in CODECS:
            raise UsageError(f"{path}: expected a video file that ends in {', '.join(CODECS)}, got {suffix!r}")
        if self._path.is_dir():
            raise UsageError(f"{path}: a folder, expected a video file")
        self._fourcc = cv2.VideoWriter.fourcc(*CODECS[suffix])
        self._fps = _sensible(fps)
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._waiting: list[np.ndarray] = []
        self._captured: list[float] = []
        self._frames = 0
        self._place = contextlib.ExitStack()
        try:
            self._temporary = self._place.enter_context(moved_into_place(self._path))
        except OSError as error:
            raise SinkError(f"{path}: cannot be written ({error.strerror or error})") from error
        self._room = Room(self._temporary, str(path), FAT_LIMIT if suffix == ".mp4" else None)

    def write(self, result: LiveResult) -> None:
        """Write one frame.

        Raises:
            SinkError: the disk is full, or the video cannot be written for another reason.
        """
        picture = annotate(result)
        if self._writer is None and self._fps is None:
            self._waiting.append(picture)
            self._captured.append(result.frame.captured)
            if len(self._waiting) < MEASURED_FRAMES and picture.nbytes * len(self._waiting) < MEASURED_BYTES:
                return
            self._flush()
        else:
            self._append(picture)

    def close(self) -> None:
        """Finish the file and move it into place.

        Raises:
            SinkError: it cannot be finished or moved; a file that was there before then stays.
        """
        try:
            self._flush()
        finally:
            self._finish()

    def _flush(self) -> None:
        """Write the frames that waited for the rate to be measured."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._fps = _measured(self._captured)
        for picture in waiting:
            self._append(picture)

    def _append(self, picture: np.ndarray) -> None:
        self._room.check(picture.nbytes + INDEX_BYTES + INDEX_BYTES_PER_FRAME * self._frames)
        if self._writer is None:
            self._size = _video_size(picture.shape[1], picture.shape[0])
            self._writer = self._open(self._fps or DEFAULT_FPS)
        self._writer.write(fit(picture, self._size))
        self._frames += 1
        self._room.after_frame()

    def _open(self, fps: float) -> cv2.VideoWriter:
        writer = cv2.VideoWriter(str(self._temporary), cv2.CAP_FFMPEG, self._fourcc, fps, self._size)
        if not writer.isOpened():
            raise SinkError(
                f"{self._path}: OpenCV cannot write this kind of video here "
                f"({CODECS[self._path.suffix.lower()]}, {self._size[0]}x{self._size[1]}); try another suffix"
            )
        return writer

    def _finish(self) -> None:
        writer, self._writer = self._writer, None
        try:
            with contextlib.suppress(_NothingWrittenError), self._place:
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
                "make room and start again, with a name that ends in .mkv, which can be played without its end"
            )


class _NothingWrittenError(Exception):
    """Keeps an empty file from being moved into place."""


def fit(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring a picture to a size, whole and undistorted, with black bars where its shape is another.

    Args:
        picture: uint8, shape (H, W, 3).
        size: width and height to be.
    """
    width, height = size
    if picture.shape[:2] == (height, width):
        return picture
    old_height, old_width = picture.shape[:2]
    lacks_an_edge = width - old_width in (0, 1) and height - old_height in (0, 1)
    if not lacks_an_edge:
        scale = min(width / old_width, height / old_height)
        inner = (max(1, min(width, round(old_width * scale))), max(1, min(height, round(old_height * scale))))
        picture = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    free_x, free_y = width - picture.shape[1], height - picture.shape[0]
    left, top = free_x // 2, free_y // 2
    # The one row or column that an odd frame lacks is repeated: a black line would catch the eye.
    border = cv2.BORDER_REPLICATE if lacks_an_edge else cv2.BORDER_CONSTANT
    return np.asarray(cv2.copyMakeBorder(picture, top, free_y - top, left, free_x - left, border))


def _video_size(width: int, height: int) -> tuple[int, int]:
    """Return the video's size for a first frame: even, as encoders ask, and within what they can hold."""
    scale = min(1.0, LARGEST_SIDE / max(width, height))
    sides = (max(SMALLEST_SIDE, round(side * scale)) for side in (width, height))
    wide, high = (side + side % 2 for side in sides)
    return wide, high


def _sensible(fps: float | None) -> float | None:
    """Return the rate in hundredths, which every container can hold; None for one that a video cannot have."""
    if fps is None or not math.isfinite(fps) or not FPS_RANGE[0] <= fps <= FPS_RANGE[1]:
        return None
    return round(fps, 2)


def _measured(captured: list[float]) -> float:
    """Return the rate at which frames came: from the median pause, since the first ones come unevenly."""
    pauses = np.diff(captured)
    pause = float(np.median(pauses)) if len(pauses) else 0.0
    if pause <= 0:
        return DEFAULT_FPS
    return round(min(max(1 / pause, FPS_RANGE[0]), FPS_RANGE[1]), 2)
