"""Pictures of the moments at which the label changed."""

from __future__ import annotations

import contextlib
import json
import re
from collections import deque
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np

from edge_fmnist.errors import SinkError, UsageError
from edge_fmnist.files import write_bytes
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.annotate import annotate
from edge_fmnist.sinks.base import Sink

LIMIT = 1000
JPEG_QUALITY = 92
COUNTED = re.compile(r"(\d{6,})-.+\.json")


class Snapshots(Sink):
    """Writes four files into a folder each time that the shown label changes.

    ::

        000001-ankle-boot-20260131T142507.jpg         the annotated picture
        000001-ankle-boot-20260131T142507-frame.jpg   the frame as it came
        000001-ankle-boot-20260131T142507-image.png   what the model saw, 28x28
        000001-ankle-boot-20260131T142507.json        the result, the time, the names of the others

    The JSON file is written last: where it is, the other three are whole. A
    change to no garment is not a moment of its own, but the same garment shown
    again after it is. Counting goes on where an earlier run left off.
    """

    def __init__(
        self,
        folder: str | Path,
        limit: int | None = LIMIT,
        clock: Callable[[], datetime] = lambda: datetime.now().astimezone(),
    ) -> None:
        """Make the folder.

        Args:
            folder: where the files go.
            limit: how many moments of this run are kept, the newest; None keeps all. Files of
                earlier runs are left alone.
            clock: the time of day, with its zone.

        Raises:
            UsageError: the folder is a file, or the limit is below 1.
            SinkError: the folder cannot be made or read.
        """
        if limit is not None and limit < 1:
            raise UsageError(f"limit: expected at least 1, got {limit}")
        self._folder = Path(folder)
        self._limit = limit
        self._clock = clock
        self._label: str | None = None
        self._kept: deque[list[Path]] = deque()
        if self._folder.exists() and not self._folder.is_dir():
            raise UsageError(f"{folder}: a file, expected a folder for snapshots")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._count = max((int(match[1]) for match in map(_counted, self._folder.iterdir()) if match), default=0)
        except OSError as error:
            raise SinkError(f"{folder}: cannot be used for snapshots ({error.strerror or error})") from error

    def write(self, result: LiveResult) -> None:
        """Write the four files if the label has changed.

        Raises:
            SinkError: they cannot be written, as on a full disk; the moments before stay.
        """
        changed = result.label is not None and result.label != self._label
        self._label = result.label
        if not changed:
            return
        self._count += 1
        now = self._clock()
        stem = f"{self._count:06d}-{_slug(str(result.label))}-{now:%Y%m%dT%H%M%S}"
        self._kept.append(self._save(_contents(result, stem, now)))
        if self._limit is not None and len(self._kept) > self._limit:
            _remove(self._kept.popleft())

    def close(self) -> None:
        """Do nothing: every file was finished when it was written."""

    def _save(self, contents: dict[str, bytes]) -> list[Path]:
        written: list[Path] = []
        try:
            for name, content in contents.items():
                write_bytes(self._folder / name, content)
                written.append(self._folder / name)
        except OSError as error:
            _remove(written)
            raise SinkError(
                f"{self._folder}: a snapshot cannot be written ({error.strerror or error}); "
                "those before are whole; make room and start again"
            ) from error
        return written


def _contents(result: LiveResult, stem: str, now: datetime) -> dict[str, bytes]:
    """Return the four files by name, in the order in which they are to be written."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    files = {
        f"{stem}.jpg": _encoded(".jpg", annotate(result), quality),
        f"{stem}-frame.jpg": _encoded(".jpg", result.frame.picture, quality),
        f"{stem}-image.png": _encoded(".png", result.garment.image, []),
    }
    annotated, frame, image = files
    facts = {
        "time": now.isoformat(timespec="milliseconds"),
        "files": {"annotated": annotated, "frame": frame, "image": image},
        **result.as_dict(),
    }
    return {**files, f"{stem}.json": (json.dumps(facts, indent=2) + "\n").encode()}


def _encoded(suffix: str, picture: np.ndarray, settings: list[int]) -> bytes:
    return bytes(cv2.imencode(suffix, picture, settings)[1].tobytes())


def _counted(path: Path) -> re.Match[str] | None:
    return COUNTED.fullmatch(path.name)


def _slug(label: str) -> str:
    """Return a label in letters and digits that any file system takes."""
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")[:40] or "label"


def _remove(paths: list[Path]) -> None:
    for path in paths:
        # A file that somebody moved away or protected is theirs.
        with contextlib.suppress(OSError):
            path.unlink()
