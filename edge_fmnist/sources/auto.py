"""Whatever camera this machine has."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np

from edge_fmnist.errors import SourceError
from edge_fmnist.sources.base import Source, Wishes
from edge_fmnist.sources.camera import Camera
from edge_fmnist.sources.devices import list_cameras
from edge_fmnist.sources.picamera import PiCamera

NAME = "auto"
ADVICE = (
    "connect a USB camera; for a Raspberry Pi's own camera: sudo apt install python3-picamera2; "
    "without any camera, --source demo shows a drawn scene"
)


class Auto(Source):
    """A Raspberry Pi's own camera where there is one, else the first V4L2 camera that delivers a frame.

    It chooses anew each time it is opened: a camera put back may come under another number.
    """

    def __init__(self, wishes: Wishes) -> None:
        self.name = NAME
        self.wishes = wishes
        self._chosen: Source | None = None

    def open(self) -> None:
        """See :meth:`Source.open`.

        Raises:
            SourceError: no camera delivers a frame; says what was tried and what to do.
        """
        self.close()
        problems = []
        for candidate in self._candidates():
            # Known to close() while it opens.
            self._chosen = candidate
            try:
                candidate.open()
            except SourceError as error:
                problems.append(str(error))
            else:
                self.name, self.fps = candidate.name, candidate.fps
                return
        self.close()
        tried = f" (tried: {'; '.join(problems)})" if problems else ""
        raise SourceError(f"{NAME}: no camera found; {ADVICE}{tried}")

    def _candidates(self) -> Iterator[Source]:
        if find_spec("picamera2") is not None:
            yield PiCamera(self.wishes)
        for device in list_cameras():
            yield Camera(device, self.wishes)

    def read(self) -> np.ndarray | None:
        """See :meth:`Source.read`."""
        return self._opened().read()

    def skip(self) -> bool:
        """See :meth:`Source.skip`."""
        return self._opened().skip()

    def _opened(self) -> Source:
        chosen = self._chosen
        if chosen is None:
            raise SourceError(f"{self.name}: not open")
        return chosen

    def close(self) -> None:
        """See :meth:`Source.close`."""
        chosen, self._chosen = self._chosen, None
        if chosen is not None:
            chosen.close()
