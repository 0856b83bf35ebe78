"""``--watch-model``: takes a model file into the running loop when it was replaced."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Protocol

from edge_fmnist.errors import EdgeFmnistError
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.registry import read_model
from edge_fmnist.sources.base import Warn

# Seconds between two looks at the file. It is read once it looks the same twice, so never while it is being copied.
INTERVAL = 0.5
# Loading a model takes less, except on a machine that is about to fail.
JOIN_TIMEOUT = 5.0

Stamp = tuple[int, int, int] | None


class ModelUser(Protocol):
    """What runs a model and can change to another one: the live loop."""

    @property
    def classifier(self) -> Classifier:
        """The model in use."""

    def swap(self, classifier: Classifier) -> None:
        """Use another model from now on."""


class ModelWatch:
    """Looks at a model file in a thread; a damaged file is reported, and the former model stays in use."""

    def __init__(self, path: str, user: ModelUser, warn: Warn) -> None:
        self._path = path
        self._user = user
        self._warn = warn
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="model-watch", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Tell the thread to end, without waiting for it."""
        self._stop.set()

    def close(self, time_left: float) -> None:
        """Stop the thread and wait for it, at most ``time_left`` seconds; may be called before :meth:`start`."""
        self.stop()
        if self._thread.is_alive():
            self._thread.join(min(JOIN_TIMEOUT, max(0.0, time_left)))

    def _run(self) -> None:
        # The file may have changed since it was loaded, so it is compared once.
        known = seen = None
        while not self._stop.wait(INTERVAL):
            stamp = _stamp(self._path)
            if stamp is not None and stamp == seen and stamp != known:
                known = stamp
                self._take()
            seen = stamp

    def _take(self) -> None:
        former = self._user.classifier
        try:
            model = read_model(self._path)
            if model.content == former.content:
                return
            classifier = former.load_other(model)
            for assumption in classifier.assumptions:
                self._warn(assumption)
            self._user.swap(classifier)
        except EdgeFmnistError as error:
            self._warn(f"{error}; the former model stays in use")


def _stamp(path: str) -> Stamp:
    """Return what changes with the content of a file; None while there is none."""
    try:
        stat = Path(path).stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
