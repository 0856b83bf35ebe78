"""The base class of all sinks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

from edge_fmnist.pipeline.results import LiveResult

Self = TypeVar("Self", bound="Sink")


class Sink(ABC):
    """Receives each result of the live loop.

    A sink that may block is wrapped in a :class:`edge_fmnist.sinks.queued.QueuedSink`. Sinks are context managers:
    opened by ``__init__``, closed at the end of the ``with`` block.

    Attributes:
        name: what messages call it.
        main_thread: whether it must be closed in the thread that writes to it, as window systems require.
    """

    name = "an output"
    main_thread = False

    @abstractmethod
    def write(self, result: LiveResult) -> None:
        """Write one result.

        Raises:
            SinkError: the result cannot be written, and later ones will not be either (disk full, window closed);
                what was written before stays readable.
        """

    def reopen(self) -> None:  # noqa: B027 - not every sink has files
        """Reopen files, as daemons do on SIGHUP; by default, there are none to reopen."""

    @abstractmethod
    def close(self) -> None:
        """Flush, move files into place and stop threads. May be called more than once."""

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
