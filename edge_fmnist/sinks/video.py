"""Video recording of the annotated frames."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import re
import struct
import time
from pathlib import Path

import cv2
import numpy as np

from edge_fmnist.data.files import advice
from edge_fmnist.errors import SinkError, UsageError
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.annotate import annotate
from edge_fmnist.sinks.base import Sink
from edge_fmnist.sinks.containers import Avi, Container, FragmentedMp4, Matroska
from edge_fmnist.sources.base import OPEN_TIMEOUT, Warn, log_warning
from edge_fmnist.sources.capture import open_ffmpeg, utf8_path

# The wheel of OpenCV has no H.264 encoder; VP8 and VP9 are too slow for small devices.
FORMATS: dict[str, tuple[str, type[Container]]] = {
    ".mp4": ("mp4v", FragmentedMp4),
    ".mkv": ("mp4v", Matroska),
    ".avi": ("MJPG", Avi),
}

DEFAULT_FPS = 15.0
# Of a measured rate, and of one that a source states; others state 0 or 90,000 for one that they do not know.
FPS_RANGE = (1.0, 240.0)
GIVEN_FPS_RANGE = (0.01, 1000.0)
MEASURED_FRAMES = 10
MEASURED_BYTES = 64 << 20

# Seconds of video, and of time, after which frames are appended to the file: what a killed run loses.
PIECE_SECONDS = 1.0
# Largest file: below the limits of FAT32, the file system of most USB sticks, and of AVI. The next file goes on.
MAX_BYTES = 4_000_000_000

# Limits of MPEG-4, and a minimum that players accept.
MIN_SIDE, MAX_SIDE = 16, 4096


def recording_path(path: Path) -> Path:
    """Return the path that a video has until it is complete."""
    return path.with_name(f"{path.stem}.recording{path.suffix}")


class VideoRecorder(Sink):
    """Records the annotated frame of every result to a video file.

    The first frame sets the video size; frames of another size are letterboxed. The file is named ``*.recording.*``
    until :meth:`close` moves it into place, replacing an existing one; without any result nothing is moved. It can be
    played at any moment: a killed run loses the last second. What a killed run left is kept under a numbered name.

    With ``segment``, and where a file would exceed 4 GB, numbered files follow each other: ``out-000001.mp4``.
    """

    def __init__(
        self,
        path: str | Path,
        fps: float | None = None,
        *,
        segment: float | None = None,
        warn: Warn = log_warning,
    ) -> None:
        """Check the file name, recover what a killed run left, and create the file.

        Args:
            path: ends in ``.mp4`` (MPEG-4), ``.mkv`` (MPEG-4) or ``.avi`` (Motion JPEG).
            fps: playback frame rate; None, or a value outside 0.01 to 1000, measures it over the first ten frames.
            segment: seconds after which the next file is started; None records one file.
            warn: receives a message about a file of a killed run.

        Raises:
            UsageError: unsupported suffix, a path that is not UTF-8, or a folder.
            SinkError: the file cannot be written there, or another process records to it.
        """
        # The file that a link names stays where it is.
        self._path = Path(utf8_path(os.path.realpath(path)))
        suffix = self._path.suffix.lower()
        if suffix not in FORMATS:
            raise UsageError(f"{path}: expected a video file that ends in {', '.join(FORMATS)}, got {suffix!r}")
        self._codec, self._format = FORMATS[suffix]
        self._segment, self._warn = segment, warn
        valid = fps is not None and math.isfinite(fps) and GIVEN_FPS_RANGE[0] <= fps <= GIVEN_FPS_RANGE[1]
        # Hundredths fit into the header of every container.
        self._fps = round(fps, 2) if fps is not None and valid else None
        self._recording = recording_path(self._path)
        self._encoded = self._path.with_name(f".{self._path.name}.piece.avi")
        self._file: int | None = None
        self._writer: cv2.VideoWriter | None = None
        self._container: Container | None = None
        self._size = (0, 0)
        self._pending: list[np.ndarray] = []
        self._captured: list[float] = []
        self._piece_frames = self._length = self._files = 0
        self._begin = b""
        # When the oldest frame came that is not in the file yet.
        self._waiting_since: float | None = None
        self._segment_since = 0.0
        try:
            if self._path.is_dir():
                raise UsageError(f"{path}: expected a video file, got a folder")
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._create()
        except OSError as error:
            raise SinkError(f"{path}: cannot be written ({advice(error, self._path)})") from error

    def write(self, result: LiveResult) -> None:
        """Write one frame.

        Raises:
            SinkError: the disk is full, or the video cannot be written for another reason.
        """
        picture = annotate(result)
        if self._waiting_since is None:
            self._waiting_since = time.monotonic()
        if self._fps is not None:
            self._encode(picture)
            self._append_if_due()
            return
        self._pending.append(picture)
        self._captured.append(result.frame.captured)
        enough = len(self._pending) == MEASURED_FRAMES or picture.nbytes * len(self._pending) >= MEASURED_BYTES
        if enough or (len(self._pending) > 1 and self._waited() >= PIECE_SECONDS):
            self._flush()
            self._append_if_due()

    def reopen(self) -> None:
        """Start the next numbered file."""
        if self._container is not None:
            self._next_file()

    def close(self) -> None:
        """Finish the file and move it into place.

        Raises:
            SinkError: it cannot be finished or moved; what was recorded stays.
        """
        if self._file is None:
            return
        try:
            self._flush()
            self._finish(self._path if not self._segment and not self._files else self._numbered())
        finally:
            self._release()

    def _create(self) -> int:
        """Return the descriptor of a new, locked file, after keeping or removing that of a killed run."""
        if self._recording.exists():
            old = os.open(self._recording, os.O_RDWR)
            try:
                fcntl.flock(old, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_playable(self._recording):
                    kept = self._numbered()
                    self._recording.replace(kept)
                    self._warn(f"{self._path}: the video of a run that was killed is kept as {kept}")
                else:
                    self._recording.unlink()
                    self._warn(f"{self._recording}: removed; a run that was killed left it without a frame")
            except BlockingIOError as error:
                raise SinkError(f"{self._path}: another process records to this file; choose another") from error
            finally:
                os.close(old)
        self._encoded.unlink(missing_ok=True)
        file = os.open(self._recording, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return file

    def _numbered(self) -> Path:
        """Return the name for the next numbered file."""
        pattern = re.compile(rf"{re.escape(self._path.stem)}-(\d{{6,}}){re.escape(self._path.suffix)}")
        numbers = [int(match[1]) for path in self._path.parent.iterdir() if (match := pattern.fullmatch(path.name))]
        return self._path.with_name(f"{self._path.stem}-{max(numbers, default=0) + 1:06d}{self._path.suffix}")

    def _flush(self) -> None:
        """Write the frames that were held back to measure the frame rate."""
        pending, self._pending = self._pending, []
        if pending:
            self._fps = _measured_fps(self._captured)
        for picture in pending:
            self._encode(picture)

    def _encode(self, picture: np.ndarray) -> None:
        fps = self._fps or DEFAULT_FPS
        if self._container is None:
            self._size = _video_size(picture.shape[1], picture.shape[0])
            self._container = self._format(self._size, fps)
            self._segment_since = self._waiting_since or time.monotonic()
        if self._writer is None:
            self._writer = self._open(fps)
        self._writer.write(letterbox(picture, self._size))
        self._piece_frames += 1

    def _waited(self) -> float:
        """Return for how many seconds the oldest frame that is not in the file has been waiting."""
        return 0.0 if self._waiting_since is None else time.monotonic() - self._waiting_since

    def _append_if_due(self) -> None:
        """Append the encoded frames, and start the next file, when it is time."""
        fps = self._fps or DEFAULT_FPS
        if self._container is None or (self._piece_frames < fps * PIECE_SECONDS and self._waited() < PIECE_SECONDS):
            return
        self._append_piece()
        seconds = max(self._container.frames / fps, time.monotonic() - self._segment_since)
        if self._length >= MAX_BYTES or (self._segment and seconds >= self._segment):
            self._next_file()

    def _open(self, fps: float) -> cv2.VideoWriter:
        fourcc = cv2.VideoWriter.fourcc(*self._codec)
        writer = cv2.VideoWriter(str(self._encoded), cv2.CAP_FFMPEG, fourcc, fps, self._size)
        if not writer.isOpened():
            raise SinkError(
                f"{self._path}: OpenCV cannot encode this video on this machine ({self._codec}, "
                f"{self._size[0]}x{self._size[1]}); try another suffix"
            )
        return writer

    def _append_piece(self) -> None:
        """Append the encoded frames to the file; if that fails, it ends with the frames before."""
        writer, self._writer = self._writer, None
        expected, self._piece_frames, self._waiting_since = self._piece_frames, 0, None
        if writer is None or self._container is None or self._file is None:
            return
        writer.release()
        try:
            packets = _packets(self._encoded)
        except OSError as error:
            raise SinkError(f"{self._path}: cannot be written ({advice(error, self._path)})") from error
        # Before the system writes it to disk. File systems write a file that is truncated instead when it is closed.
        self._encoded.unlink(missing_ok=True)
        if len(packets) < expected:
            raise SinkError(f"{self._path}: frames cannot be encoded (no space left?); recorded frames are kept")
        begin = b"" if self._begin else self._container.begin(packets[0])
        try:
            piece, incomplete = self._container.add(packets), self._container.incomplete
            _write_all(self._file, begin + piece[:4] + (incomplete or piece[4:8]) + piece[8:], self._length)
            if incomplete is not None:
                _write_all(self._file, piece[4:8], self._length + len(begin) + 4)
        except OSError as error:
            self._container.frames -= len(packets)
            os.truncate(self._file, self._length)
            raise SinkError(
                f"{self._path}: write failed ({advice(error, self._path)}); recorded frames are kept"
            ) from error
        self._begin = self._begin or begin
        self._length = os.fstat(self._file).st_size

    def _finish(self, target: Path) -> None:
        """Complete the file and move it into place, or remove it if it has no frame."""
        try:
            self._append_piece()
        finally:
            if self._file is not None and self._container is not None and self._length:
                self._complete(self._file, self._container, target)

    def _complete(self, file: int, container: Container, target: Path) -> None:
        """Add what makes seeking quick, where there is room for it, and move the file."""
        try:
            with contextlib.suppress(OSError):
                for position, content in container.patches(self._begin, self._length).items():
                    _write_all(file, content, position)
            os.fsync(file)
            self._recording.replace(target)
        except OSError as error:
            raise SinkError(
                f"{self._path}: cannot be completed ({advice(error, self._path)}); what was recorded is in "
                f"{self._recording}"
            ) from error

    def _next_file(self) -> None:
        self._finish(self._numbered())
        self._release()
        self._files += 1
        self._container, self._begin, self._length = None, b"", 0
        self._file = self._create()

    def _release(self) -> None:
        if self._file is not None:
            if not self._length:
                self._recording.unlink(missing_ok=True)
            os.close(self._file)
        self._file = None
        self._encoded.unlink(missing_ok=True)


def _is_playable(path: Path) -> bool:
    if not path.stat().st_size:
        return False
    video = open_ffmpeg(str(path.absolute()), OPEN_TIMEOUT)
    playable = video.isOpened() and video.read()[0]
    video.release()
    return bool(playable)


def _packets(path: Path) -> list[bytes]:
    """Return the complete packets of an AVI file."""
    content = path.read_bytes()
    packets = []
    position = content.find(b"movi") + 4
    while content[position : position + 4] == b"00dc":
        (size,) = struct.unpack_from("<I", content, position + 4)
        packet = content[position + 8 : position + 8 + size]
        if len(packet) < size:
            break
        packets.append(packet)
        position += 8 + size + size % 2
    return packets


def _write_all(file: int, content: bytes, position: int) -> None:
    rest = memoryview(content)
    while rest:
        written = os.pwrite(file, rest, position)
        position += written
        rest = rest[written:]


def letterbox(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a picture, shape (H, W, 3), to a width and height without distortion, padded with black bars."""
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
