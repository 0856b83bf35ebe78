"""Teaches beside a running loop: in a process of lower priority, whose result the loop can take."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_fmnist.errors import SinkError, UsageError
from edge_fmnist.model.registry import ModelBytes, read_model
from edge_fmnist.subprocesses import module_command

if TYPE_CHECKING:
    from edge_fmnist.model.classifier import Classifier
    from edge_fmnist.pipeline.loop import LiveLoop

TAUGHT, FORMER = "taught.tflite", "taught.former.tflite"
# In a hidden folder, which is no class, under its later name, which is the name of the model.
CANDIDATE = ".new/taught.tflite"
EXCHANGED = ".exchanged.tflite"
# Added to the niceness of this process: the loop comes first.
NICENESS = 10


class BackgroundTeacher:
    """Teaches a model from a folder of photographs, shows how good it is, and swaps it in when asked to.

    A process and not a thread: in a thread, the loop would wait for Python's global lock at every step of its own.
    May be used from any thread. What cannot be done now raises ``UsageError``.
    """

    def __init__(self, folder: Path, loop: LiveLoop) -> None:
        """Create a teacher; the folder has the photographs, and gets the taught model, which replaces the loop's."""
        self._folder, self._loop = folder, loop
        self._lock = threading.RLock()
        self._process: subprocess.Popen[str] | None = None
        self._started = 0.0
        self._report: dict[str, Any] | None = None
        self._error: str | None = None
        self._former: Classifier | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values: ``state`` (idle, teaching, taught), seconds, report, error, and the models."""
        with self._lock:
            teaching = self._process is not None
            return {
                "state": "teaching" if teaching else "idle" if self._report is None else "taught",
                "seconds": round(time.monotonic() - self._started) if teaching else None,
                "report": self._report,
                "error": self._error,
                "model": self._loop.classifier.source,
                "former": self._former.source if self._former else None,
            }

    def start(self, add: bool) -> None:
        """Start teaching; ``add`` keeps the classes of the model that is in use."""
        with self._lock:
            if self._process is not None:
                raise UsageError("it is teaching already")
            self._report = self._error = None
            command = module_command("edge_fmnist", "teach", str(self._folder), *(["--add"] if add else []))
            command += [f"--output={self._folder / CANDIDATE}", f"--model={self._loop.classifier.source}", "--json"]
            self._started = time.monotonic()
            pipe = subprocess.PIPE
            self._process = process = subprocess.Popen(  # noqa: S603 - the same Python and program
                command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
            )
            # It may have ended already.
            with contextlib.suppress(ProcessLookupError):
                os.setpriority(os.PRIO_PROCESS, process.pid, os.nice(0) + NICENESS)
        threading.Thread(target=self._wait, args=(process,), name="teacher", daemon=True).start()

    def cancel(self) -> None:
        """Stop teaching, or discard what was taught."""
        with self._lock:
            process, self._process = self._process, None
            self._report = self._error = None
            if process is not None:
                process.terminate()
            self._tidy()

    def use(self) -> None:
        """Take the taught model into the loop, and keep the former one beside it.

        Raises:
            ModelError: the file was damaged meanwhile; the former model stays in use.
            SinkError: the files cannot be moved; the taught model is in use all the same.
        """
        with self._lock:
            if self._report is None:
                raise UsageError("nothing was taught yet")
            former = self._loop.classifier
            content = read_model(self._folder / CANDIDATE).content
            self._loop.swap(former.load_other(ModelBytes(content, str(self._folder / TAUGHT))))
            self._report, self._former = None, former
            self._move((TAUGHT, FORMER), (CANDIDATE, TAUGHT))
            self._tidy()

    def restore(self) -> None:
        """Take the former model into the loop again; a second call takes the taught one; errors as for :meth:`use`."""
        with self._lock:
            if self._former is None:
                raise UsageError("there is no former model")
            former, self._former = self._former, self._loop.classifier
            self._loop.swap(former)
            self._move((TAUGHT, EXCHANGED), (FORMER, TAUGHT), (EXCHANGED, FORMER))

    def _wait(self, process: subprocess.Popen[str]) -> None:
        output, errors = process.communicate()
        with self._lock:
            # Not after cancel().
            if self._process is process:
                self._process = None
                with contextlib.suppress(ValueError):
                    self._report = json.loads(output) if process.returncode == 0 else None
                if self._report is None:
                    lines = [line.removeprefix("Error: ") for line in errors.splitlines() if line.strip()]
                    self._error = lines[-1] if lines else f"teaching ended with exit code {process.returncode}"

    def _tidy(self) -> None:
        # Nothing else: a folder of this name may be the user's. The pattern is of what was not written to its end.
        candidate = self._folder / CANDIDATE
        with contextlib.suppress(OSError):
            for path in (candidate, *candidate.parent.glob(f".{candidate.name}.????????{candidate.suffix}")):
                path.unlink(missing_ok=True)
            candidate.parent.rmdir()

    def _move(self, *moves: tuple[str, str]) -> None:
        """Move files; a source that does not exist (a shipped model) removes the target: no old model is left."""
        for source, target in moves:
            try:
                if (self._folder / source).exists():
                    (self._folder / source).replace(self._folder / target)
                else:
                    (self._folder / target).unlink(missing_ok=True)
            except OSError as error:
                raise SinkError(
                    f"{self._folder / target}: the model is in use, but cannot be stored ({error.strerror or error})"
                ) from error
