"""The base class of all sinks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

from edge_fmnist.pipeline.results import LiveResult

Self = TypeVar("Self", bound="Sink")


class Sink(ABC):
    """Receives each result of the live loop, in the thread of the loop.

    A sink with slow readers hands results to its own thread and drops what is not read, so that it never slows the
    loop down. Sinks are context managers: opened by ``__init__``, closed at the end of the ``with`` block.
    """

    @abstractmethod
    def write(self, result: LiveResult) -> None:
        """Write one result.

        Raises:
            SinkError: the result cannot be written, and later ones will not be either (disk full, window closed);
                what was written before stays readable.
        """

    @abstractmethod
    def close(self) -> None:
        """Flush, move files into place and stop threads. May be called more than once."""

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
