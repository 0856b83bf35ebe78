"""The folder of ``live --collect``: photographs in a subfolder for each class, as :func:`edge_fmnist.teach` reads them.

::

    DIR/
    ├── hat/20260131T142507312.jpg      frames as they came, JPEG of quality 95
    ├── Ankle boot/…
    ├── unsorted/…                      frames below --collect-below, not yet in a class
    └── collected.jsonl                 a line for each change: time, file, class, what was answered
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import threading
from collections import deque
from collections.abc import Iterator
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from edge_fmnist.data.files import write_bytes
from edge_fmnist.data.labels import MAX_LABEL_LENGTH, NONE, UNKNOWN, is_unused
from edge_fmnist.errors import SinkError, UsageError
from edge_fmnist.model.photos import UNSORTED, class_key, folder_form
from edge_fmnist.sources.base import Warn, log_warning
from edge_fmnist.teaching.background import FORMER, TAUGHT
from edge_fmnist.teaching.photographs import MAX_CLASSES
from edge_fmnist.vision.picture_files import SUFFIXES

LOG = "collected.jsonl"
# Names in the folder that no class can have.
RESERVED = (UNSORTED, UNKNOWN, LOG, TAUGHT, FORMER)
# A sixth of the bytes of a PNG; the 28x28 image differs by 0.3 of 255 grey levels in the median of 57 photographs.
JPEG_QUALITY = 95
# Two frames count as the same if no more than this many of the 64 bits of their hashes differ.
SAME_BITS = 6
# Differences of grey levels below this are noise.
HASH_NOISE = 4
MAX_HASHES = 5000
RESERVE_BYTES = 32 << 20
# A file without a suffix may be a picture.
PICTURES = SUFFIXES | {".heic", ".heif", ""}
NO_ANSWER: dict[str, Any] = {"label": None, "score": 0.0, "scores": {}}


class CollectedFrame(NamedTuple):
    """A frame without an outline, when it was classified (Unix time), the hash of its 28x28 image, and the answer.

    The answer has ``label``, ``score`` and ``scores`` of the three best classes.
    """

    jpeg: bytes
    time: float
    hash: int
    answer: dict[str, Any]


def perceptual_hash(image: np.ndarray) -> int:
    """Return 64 bits that change little with noise: where grey values of a 28x28 image rise from left to right."""
    small = cv2.resize(image, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1] + HASH_NOISE).tobytes(), "big")


def similar(one: int, other: int) -> bool:
    """Return whether two perceptual hashes are those of nearly the same image."""
    return (one ^ other).bit_count() <= SAME_BITS


def folder_name(label: str) -> str:
    """Return the name of the folder for a class, a label or what a person typed; ``UsageError`` if there is none."""
    name = folder_form(label[: 4 * MAX_LABEL_LENGTH])
    if not name.isprintable():
        raise UsageError("expected a name of printable characters for the class")
    if not name or len(name) > MAX_LABEL_LENGTH or len(name.encode()) > 200:
        raise UsageError(f"expected a name of 1 to {MAX_LABEL_LENGTH} characters for the class")
    if name.casefold() in RESERVED or is_unused(name.casefold()):
        raise UsageError(f"{name!r} has another meaning; choose another name for the class, or {NONE!r} for rejects")
    # Another case of it would be an ordinary class.
    return NONE if name.casefold() == NONE else name


class Collection:
    """Stores photographs; may be used from any thread.

    What cannot be stored raises ``SinkError``: nothing of it is left behind, and what was stored before stays.
    """

    def __init__(
        self, folder: str | Path, max_frames: int = 500, max_bytes: int = 200_000_000, warn: Warn = log_warning
    ) -> None:
        """Create the folder, or continue one.

        Args:
            folder: the folder; ``UsageError`` if it is a file.
            max_frames: most frames in the subfolder ``unsorted``.
            max_bytes: most bytes in it.
            warn: called once when it is full.
        """
        self.folder = Path(folder)
        self._max_frames, self._max_bytes = max_frames, max_bytes
        self._warn, self._full = warn, False
        self._lock = threading.RLock()
        # What undo takes back: the file, and where it came from.
        self._done: list[tuple[Path, Path | None]] = []
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"{folder}: expected a folder to collect in, got a file", setting="collect")
        with self._changing():
            self.folder.mkdir(parents=True, exist_ok=True)
            lines = self._lines()
        hashes: dict[str, int] = {}
        for line in lines:
            if re.fullmatch("[0-9a-f]{16}", text := str(line.get("hash"))):
                hashes[line["file"]] = int(text, 16)
            elif line.get("undone"):
                hashes.pop(line["file"], None)
        self._hashes = deque(hashes.items(), MAX_HASHES)
        answers = [(line["file"], line.get("answer")) for line in lines]
        self._answers = {file: answer for file, answer in answers if _is_answer(answer)}

    def counts(self) -> dict[str, int]:
        """Return the number of photographs of each class, by the name of its folder."""
        with self._lock:
            return {path.name: len(_pictures(path)) for path in self._classes()}

    def unsorted(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the file names in ``unsorted`` with their answers, least sure first."""
        paths = _pictures(self.folder / UNSORTED)
        files = [(path.name, self._answers.get(self._relative(path), NO_ANSWER)) for path in paths]
        return sorted(files, key=lambda file: float(file[1]["score"]))

    def find_unsorted(self, name: str) -> Path | None:
        """Return the path of a file of ``unsorted``; None if there is no such file."""
        return next((path for path in _pictures(self.folder / UNSORTED) if path.name == name), None)

    def add(self, frame: CollectedFrame, label: str) -> str:
        """Store a frame in a class; return the name of its folder. ``UsageError``: a name that no class can have."""
        with self._changing():
            folder = self._class_folder(label)
            self._done.append((self._write(folder, frame), None))
            return folder.name

    def sort(self, name: str, label: str) -> str:
        """Move a file of ``unsorted`` to a class; return the name of its folder; errors as for :meth:`add`."""
        with self._changing():
            source = self.find_unsorted(name)
            if source is None:
                raise UsageError("this frame is not there any more")
            target = self._move(source, self._class_folder(label) / name)
            self._done.append((target, source))
            return target.parent.name

    def undo(self) -> str | None:
        """Take back the last stored or sorted frame of this run; return the folder that it was in, or None."""
        with self._changing():
            if not self._done:
                return None
            path, source = self._done.pop()
            if source is not None:
                self._move(path, source)
            else:
                path.unlink(missing_ok=True)
                name = self._relative(path)
                self._hashes = deque((known for known in self._hashes if known[0] != name), MAX_HASHES)
                self._log({"file": name, "undone": True})
            _remove_if_empty(path.parent)
            return path.parent.name

    @property
    def last(self) -> str | None:
        """The folder of what :meth:`undo` would take back."""
        return self._done[-1][0].parent.name if self._done else None

    def add_unsorted(self, frame: CollectedFrame) -> bool:
        """Store a frame that is in no class yet; return False if it looks like a stored one, or the folder is full."""
        with self._changing():
            if any(similar(frame.hash, known) for _, known in self._hashes):
                return False
            files = _pictures(self.folder / UNSORTED)
            size = sum(path.stat().st_size for path in files)
            was_full = self._full
            self._full = len(files) >= self._max_frames or size + len(frame.jpeg) > self._max_bytes
            if self._full and not was_full:
                self._warn(
                    f"{self.folder / UNSORTED}: full, with {len(files)} frames and {size / 1e6:.0f} MB; no more are "
                    "stored; sort or delete some, or raise --collect-max-frames and --collect-max-mb"
                )
            if not self._full:
                self._write(self.folder / UNSORTED, frame)
            return not self._full

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Let no other thread in, and say what to do if the disk takes nothing."""
        with self._lock:
            try:
                yield
            except OSError as error:
                raise SinkError(
                    f"{self.folder}: cannot store frames ({error.strerror or error}); what is stored stays; free some "
                    "space or choose another folder"
                ) from error

    def _class_folder(self, label: str) -> Path:
        """Return the folder of a class: an existing one whatever its case, or a new one."""
        name, folders = folder_name(label), self._classes()
        same = next((path for path in folders if name != NONE and class_key(path.name) == class_key(name)), None)
        if same is None and len(folders) >= MAX_CLASSES:
            raise UsageError(f"expected at most {MAX_CLASSES} classes")
        return same or self.folder / name

    def _classes(self) -> list[Path]:
        paths = sorted(self.folder.glob("[!.]*"))
        return [path for path in paths if path.is_dir() and path.name != UNSORTED]

    def _write(self, folder: Path, frame: CollectedFrame) -> Path:
        when = datetime.fromtimestamp(frame.time, timezone.utc)
        stem = f"{when:%Y%m%dT%H%M%S}{when.microsecond // 1000:03d}"
        path = _free(folder / f"{stem}.jpg")
        if shutil.disk_usage(self.folder).free < len(frame.jpeg) + RESERVE_BYTES:
            raise OSError(None, f"less than {RESERVE_BYTES >> 20} MiB free")
        try:
            write_bytes(path, frame.jpeg)
            self._log({"file": self._relative(path), "answer": frame.answer, "hash": f"{frame.hash:016x}"}, when)
        except OSError:
            path.unlink(missing_ok=True)
            _remove_if_empty(folder)
            raise
        self._hashes.append((self._relative(path), frame.hash))
        self._answers[self._relative(path)] = frame.answer
        return path

    def _move(self, source: Path, wanted: Path) -> Path:
        """Move a file to a path, or to one that is free; return that path."""
        wanted.parent.mkdir(exist_ok=True)
        target = _free(wanted)
        try:
            source.replace(target)
            self._log({"file": self._relative(target), "from": self._relative(source)})
        except OSError:
            if target.exists():
                target.replace(source)
            _remove_if_empty(target.parent)
            raise
        return target

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _log(self, facts: dict[str, Any], when: datetime | None = None) -> None:
        when = when or datetime.now(timezone.utc)
        line = json.dumps({"time": when.isoformat(timespec="milliseconds"), **facts}) + "\n"
        path = self.folder / LOG
        with path.open("ab") as file:
            # A power cut or a full disk may have left an incomplete line.
            torn = file.tell() > 0 and not _ends_with(path, b"\n")
            file.write(b"\n" * torn + line.encode())

    def _lines(self) -> list[dict[str, Any]]:
        """Return the lines of the log; those that are damaged, such as by a power cut, are left out."""
        lines: list[dict[str, Any]] = []
        with contextlib.suppress(FileNotFoundError):
            for text in (self.folder / LOG).read_text("utf-8", "replace").splitlines():
                with contextlib.suppress(ValueError):
                    line = json.loads(text)
                    if isinstance(line, dict) and isinstance(line.get("file"), str):
                        lines.append(line)
        return lines


def _ends_with(path: Path, byte: bytes) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == byte


def _is_answer(value: Any) -> bool:
    """Return whether a value of the log, which is a file that anyone may change, is an answer."""
    kinds = {"label": str | None, "score": int | float, "scores": dict}
    known = isinstance(value, dict) and all(isinstance(value.get(name, ()), kind) for name, kind in kinds.items())
    # JSON as Python reads it has NaN, and numbers larger than any float.
    return known and 0 <= value["score"] <= 1


def _free(path: Path) -> Path:
    """Return a path, with a number in its name if there is such a file already."""
    return next(p for n in count() if not (p := path.with_stem(f"{path.stem}-{n}") if n else path).exists())


def _remove_if_empty(folder: Path) -> None:
    """Remove a class without photographs, which teach does not accept; a link to a folder stays."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def _pictures(folder: Path) -> list[Path]:
    """Return the pictures in a folder, by their suffix, without hidden ones; none if there is no such folder."""
    return sorted(path for path in folder.glob("[!.]*") if path.suffix.lower() in PICTURES and path.is_file())
