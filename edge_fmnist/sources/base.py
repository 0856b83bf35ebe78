"""What every source of frames offers."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge_fmnist.errors import UsageError

OPEN_TIMEOUT = 5.0
READ_TIMEOUT = 5.0

# Is told of what goes wrong without ending the source: one unreadable picture among many.
Warn = Callable[[str], None]
log_warning: Warn = logging.getLogger("edge_fmnist").warning


@dataclass(frozen=True)
class Wishes:
    """What is asked of a source; a source that cannot obey gives what it has.

    Attributes:
        width: of the frames, in pixels.
        height: of the frames, in pixels.
        fps: frames a second.
        timeout: seconds in which the first good frame must come.

    Raises:
        UsageError: one of them is not above zero.
    """

    width: int | None = None
    height: int | None = None
    fps: float | None = None
    timeout: float = OPEN_TIMEOUT

    def __post_init__(self) -> None:
        for name in ("width", "height", "fps", "timeout"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name}: expected a number above zero, got {value}")


class Source(ABC):
    """A source of frames, opened before it is read.

    Attributes:
        name: what messages call it.
        realtime: whether frames come when they come, so that a slow reader
            should skip to the newest; False for files, which are read whole.
        fps: frames a second where known after opening, else None.
    """

    name: str
    realtime: bool = True
    fps: float | None = None

    @abstractmethod
    def open(self) -> None:
        """Open the source, or open it again after it was closed or lost.

        Returns only when one good frame has come; that frame is the first that :meth:`read` returns.

        Raises:
            SourceError: the source is not there or delivers nothing in time; says what to do.
        """

    @abstractmethod
    def read(self) -> np.ndarray | None:
        """Return the next frame, waiting for it; None at the end of a source that ends.

        Returns:
            uint8, shape (H, W, 3), BGR, safe to keep.

        Raises:
            SourceError: the source was lost: a camera pulled out, a stream that stopped. It may be opened again.
        """

    def skip(self) -> bool:
        """Pass over the next frame, waiting for it, without the work of decoding it where the source can.

        Returns:
            False at the end of a source that ends.

        Raises:
            SourceError: as :meth:`read`.
        """
        return self.read() is not None

    @abstractmethod
    def close(self) -> None:
        """Let go of the source; harmless when it is not open, and while another thread reads or opens it."""

    @property
    def frame_name(self) -> str:
        """What the frame read last is called: its file for sources of files, else the source's name."""
        return self.name
