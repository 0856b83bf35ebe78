"""The interface of a source of frames."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from edge_fmnist.errors import EdgeFmnistError, SourceError, UsageError
from edge_fmnist.vision.picture_files import Warn as Warn
from edge_fmnist.vision.picture_files import log_warning as log_warning

T = TypeVar("T")

# A frame that is counted as unusable.
NO_PICTURE = np.empty(0, np.uint8)
# How addresses of encrypted sources begin.
ENCRYPTED = ("https://", "rtsps://")
OPEN_TIMEOUT = 5.0
READ_TIMEOUT = 5.0


@dataclass(frozen=True)
class CaptureSettings:
    """What to request from a source; one that does not support a value uses the nearest it has.

    Attributes:
        width: frame width in pixels.
        height: frame height in pixels.
        fps: frames per second.
        timeout: seconds to wait for the first frame.
        ca: PEM file of the authority that signed the certificate of an ``https://`` or ``rtsps://`` source; None for
            those of the system.
        insecure: whether to accept any certificate.

    Raises:
        UsageError: a value that is not above zero.
    """

    width: int | None = None
    height: int | None = None
    fps: float | None = None
    timeout: float = OPEN_TIMEOUT
    ca: str | Path | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        for name in ("width", "height", "fps", "timeout"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(f"expected a number above zero, got {value}", setting=name)


class Source(ABC):
    """A source of frames. One thread opens, reads and closes it; only :meth:`interrupt` is called from others.

    Attributes:
        name: how messages refer to it.
        realtime: True if frames arrive at their own pace, so that a slow reader should skip to the newest;
            False for files, where every frame is read.
        pausable: whether a realtime source may be left unread for a while. False for network streams, whose
            frames would queue up and be seconds old.
        fps: frames per second if known after opening, else None.
        open_timeout: seconds after which opening has failed; None waits forever.
        read_timeout: seconds after which a read has failed: the source's own limit, and its pause between frames;
            infinite for one that cannot block.
        small: the frame read last at low resolution, uint8, shape (h, w, 3), BGR, in which the garment is then found;
            None for a source that delivers one resolution.
        problem: why the last frame without a picture has none; None if there was no such frame.
    """

    name: str = "source"
    realtime: bool = True
    pausable: bool = True
    fps: float | None = None
    open_timeout: float | None = None
    read_timeout: float = READ_TIMEOUT
    small: np.ndarray | None = None
    problem: str | None = None

    @abstractmethod
    def open(self) -> None:
        """Open the source, or reopen it after it was closed or lost.

        Returns once a first valid frame has arrived, which :meth:`read` then returns.

        Raises:
            SourceError: the source does not exist or delivers nothing in time; says what to do.
        """

    @abstractmethod
    def read(self) -> np.ndarray | None:
        """Return the next frame, waiting for it; None at the end of a source that ends.

        Returns:
            uint8, safe to keep; shape (H, W, 3) BGR, or (H, W, 4) BGRA, whose alpha channel is the garment's mask.

        Raises:
            SourceError: the source was lost: a camera unplugged, a stream that stopped. It may be reopened.
        """

    def skip(self) -> bool:
        """Skip the next frame, waiting for it, but not decoding it if possible.

        Returns:
            False at the end of a source that ends.

        Raises:
            SourceError: see :meth:`read`.
        """
        return self.read() is not None

    @abstractmethod
    def close(self) -> None:
        """Release the source; does nothing if it is not open."""

    def interrupt(self) -> None:
        """Make a blocked :meth:`open` or :meth:`read` return soon, if possible; called from another thread."""
        self.close()

    def first_picture(self) -> np.ndarray | None:
        """Return the first picture of a source of still pictures, before it is opened; None for other sources."""
        return None

    @property
    def frame_name(self) -> str:
        """Name of the frame read last: its file for sources of files, else the source's name."""
        return self.name


def guarded(source: Source, call: Callable[[], T]) -> T:
    """Call a method of a source; an unexpected exception, of a library or of bad input, counts as a loss.

    Raises:
        EdgeFmnistError: as the method; a SourceError in place of other exceptions.
    """
    try:
        return call()
    except EdgeFmnistError:
        raise
    except Exception as error:
        reason = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        raise SourceError(f"{source.name}: {reason}") from error


class ChosenSource(Source):
    """A source that chooses, each time it is opened, which other source to read."""

    chosen: Source | None = None

    def _opened(self) -> Source:
        if self.chosen is None:
            raise SourceError(f"{self.name}: not open")
        return self.chosen

    def read(self) -> np.ndarray | None:
        """See :meth:`Source.read`."""
        source = self._opened()
        picture = source.read()
        self.small, self.problem = source.small, source.problem
        return picture

    def skip(self) -> bool:
        """See :meth:`Source.skip`."""
        return self._opened().skip()

    def close(self) -> None:
        """See :meth:`Source.close`."""
        chosen, self.chosen = self.chosen, None
        if chosen is not None:
            chosen.close()

    def interrupt(self) -> None:
        """See :meth:`Source.interrupt`."""
        chosen = self.chosen
        if chosen is not None:
            chosen.interrupt()
