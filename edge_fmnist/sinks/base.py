"""What every sink of results offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

from edge_fmnist.pipeline.results import LiveResult

Self = TypeVar("Self", bound="Sink")


class Sink(ABC):
    """Takes each result of the loop, in its thread.

    A sink for slow readers hands results to a thread of its own and drops what
    is not fetched, so that it never slows the loop. A context manager: it is
    opened by ``__init__`` and closed at the end of the block.
    """

    @abstractmethod
    def write(self, result: LiveResult) -> None:
        """Take one result.

        Raises:
            SinkError: it cannot be written, and later ones will not be either (a full disk, a closed window);
                what was written before stays readable.
        """

    @abstractmethod
    def close(self) -> None:
        """Finish: flush, move into place, stop threads; harmless when called twice."""

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
