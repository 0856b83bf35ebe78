"""Snapshots: image files saved each time the label changes."""

from __future__ import annotations

import contextlib
import re
from collections import deque
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np

from edge_fmnist.data.files import advice, as_json, write_bytes
from edge_fmnist.errors import SinkError, UsageError
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.annotate import annotate
from edge_fmnist.sinks.base import Sink

LIMIT = 1000
JPEG_QUALITY = 92
LEFTOVER = re.compile(r"\.\d{6,}-.+-\d{8}T\d{6}(-frame|-image)?\.(jpg|png|json)\.\w+\.(jpg|png|json)")
NUMBERED = re.compile(r"(\d{6,})-.+\.json")


class Snapshots(Sink):
    """Saves four files to a folder each time the displayed label changes.

    ::

        000001-ankle-boot-20260131T142507.jpg         annotated frame
        000001-ankle-boot-20260131T142507-frame.jpg   original frame
        000001-ankle-boot-20260131T142507-image.png   model input, 28x28
        000001-ankle-boot-20260131T142507.json        result, time, names of the other files

    The JSON file is written last: if it exists, the other three are complete. A change to no garment saves nothing,
    but the same garment shown again afterwards does. Numbering continues where an earlier run stopped.
    """

    def __init__(
        self,
        folder: str | Path,
        limit: int = LIMIT,
        clock: Callable[[], datetime] = lambda: datetime.now().astimezone(),
    ) -> None:
        """Create the folder.

        Args:
            folder: where the files are saved.
            limit: number of snapshots of this run to keep; the oldest are deleted, but never files of earlier runs.
            clock: returns the local time with its zone.

        Raises:
            UsageError: the folder is a file.
            SinkError: the folder cannot be created or read.
        """
        self._folder = Path(folder)
        self._limit = limit
        self._clock = clock
        self._label: str | None = None
        self._saved: deque[list[Path]] = deque()
        try:
            if self._folder.exists() and not self._folder.is_dir():
                raise UsageError(f"{folder}: expected a folder for snapshots, got a file")
            self._folder.mkdir(parents=True, exist_ok=True)
            # Temporary files of a run that was killed.
            _remove([path for path in self._folder.iterdir() if LEFTOVER.fullmatch(path.name)])
            self._count = self._last_number()
        except OSError as error:
            raise SinkError(f"{folder}: cannot be used for snapshots ({advice(error, self._folder)})") from error

    def write(self, result: LiveResult) -> None:
        """Save the four files if the label has changed.

        Raises:
            SinkError: they cannot be written, for example on a full disk; earlier snapshots stay.
        """
        changed = result.label is not None and result.label != self._label
        self._label = result.label
        if not changed:
            return
        # Another run may save into the same folder. If that cannot be read, saving says so.
        with contextlib.suppress(OSError):
            self._count = max(self._count, self._last_number())
        self._count += 1
        now = self._clock()
        self._saved.append(self._save(_files(result, f"{self._count:06d}-{_slug(str(result.label))}", now)))
        if len(self._saved) > self._limit:
            _remove(self._saved.popleft())

    def close(self) -> None:
        """Do nothing: every file is complete once it is written."""

    def _last_number(self) -> int:
        matches = (NUMBERED.fullmatch(path.name) for path in self._folder.iterdir())
        return max((int(match[1]) for match in matches if match), default=0)

    def _save(self, files: dict[str, bytes]) -> list[Path]:
        written: list[Path] = []
        try:
            for name, content in files.items():
                write_bytes(self._folder / name, content)
                written.append(self._folder / name)
        except OSError as error:
            _remove(written)
            raise SinkError(
                f"{self._folder}: cannot save a snapshot ({error.strerror or error}); earlier snapshots are complete; "
                "free some space and start again"
            ) from error
        return written


def _files(result: LiveResult, prefix: str, now: datetime) -> dict[str, bytes]:
    """Return the contents of the four files by name, in the order of writing."""
    stem = f"{prefix}-{now:%Y%m%dT%H%M%S}"
    names = {"annotated": f"{stem}.jpg", "frame": f"{stem}-frame.jpg", "image": f"{stem}-image.png"}
    facts = {"time": now.isoformat(timespec="milliseconds"), "files": names, **result.as_dict()}
    return {
        names["annotated"]: _encode(".jpg", annotate(result)),
        names["frame"]: _encode(".jpg", result.frame.picture),
        names["image"]: _encode(".png", result.garment.image),
        f"{stem}.json": (as_json(facts, indent=2) + "\n").encode(),
    }


def _encode(suffix: str, picture: np.ndarray) -> bytes:
    # OpenCV writes a warning to standard error for a parameter that the format does not have.
    parameters = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if suffix == ".jpg" else []
    return cv2.imencode(suffix, picture, parameters)[1].tobytes()


def _slug(label: str) -> str:
    """Return a label as lower-case letters, digits and hyphens, valid in any file system."""
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")[:40] or "label"


def _remove(paths: list[Path]) -> None:
    for path in paths:
        # A file may have been moved or protected by the user meanwhile.
        with contextlib.suppress(OSError):
            path.unlink()
