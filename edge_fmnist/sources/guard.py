"""Readers that may block for ever, each read in a thread of its own.

``VideoCapture.read`` of a camera that delivers nothing does not return, and
releasing a capture while another thread reads it crashes. So one thread alone
touches the reader, and nobody waits for that thread longer than asked.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent import futures
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np

from edge_fmnist.errors import SourceError
from edge_fmnist.sources.base import READ_TIMEOUT, Source, Wishes

# How long closing waits for a blocked read; a thread that is still blocked then ends when its read returns.
PATIENCE = 1.0

Answer = TypeVar("Answer")


class Reader(ABC):
    """An open camera, file or stream; only :meth:`interrupt` is called from another thread.

    Attributes:
        fps: frames a second where known, else None.
    """

    fps: float | None = None

    @abstractmethod
    def read(self) -> np.ndarray | None:
        """Return the next frame, uint8, shape (H, W, 3), BGR; None at the end.

        Raises:
            SourceError: it was lost.
        """

    def skip(self) -> bool:
        """Pass over the next frame, undecoded where that can be done; False at the end.

        Raises:
            SourceError: it was lost.
        """
        return self.read() is not None

    @abstractmethod
    def release(self) -> None:
        """Let go of it."""

    def interrupt(self) -> None:  # noqa: B027 - not every reader can
        """Make a read that another thread is in return soon, where that can be done."""


@dataclass(frozen=True, eq=False)
class Request:
    """Something asked of a reader, and where its answer is put."""

    operation: Callable[[Reader], Any]
    answer: futures.Future[Any]


class Guard:
    """Connects a reader and reads it in a thread of its own."""

    def __init__(self, connect: Callable[[], Reader], name: str) -> None:
        self._connect = connect
        self._name = name
        self._reader: Reader | None = None
        self._answer: futures.Future[Any] | None = None
        self._requests: SimpleQueue[Request | None] = SimpleQueue()
        # A daemon, so that a camera that blocks for ever does not keep the program from ending.
        self._thread = threading.Thread(target=self._run, name=f"source {name}", daemon=True)
        self._thread.start()

    @property
    def fps(self) -> float | None:
        """Frames a second where known after the first read, else None."""
        return self._reader.fps if self._reader else None

    def ask(self, operation: Callable[[Reader], Answer], seconds: float) -> Answer:
        """Return what an operation on the reader gives, connecting first where that has not been done.

        Args:
            operation: called with the reader, in the guard's thread.
            seconds: how long to wait for it.

        Raises:
            SourceError: nothing came in this time, the reader was lost, or :meth:`stop` was called.
        """
        answer: futures.Future[Answer] = futures.Future()
        self._answer = answer
        self._requests.put(Request(operation, answer))
        try:
            return answer.result(seconds)
        except futures.TimeoutError as error:
            raise SourceError(f"{self._name}: no picture within {seconds:g} s") from error

    def stop(self) -> None:
        """Release the reader and end the thread, waiting a little where a read is blocked."""
        if self._answer is not None:
            with suppress(futures.InvalidStateError):
                self._answer.set_exception(SourceError(f"{self._name}: closed while it was read"))
        if self._reader is not None:
            self._reader.interrupt()
        self._requests.put(None)
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        try:
            while (request := self._requests.get()) is not None:
                self._fulfil(request)
        finally:
            if self._reader is not None:
                self._reader.release()

    def _fulfil(self, request: Request) -> None:
        try:
            if self._reader is None:
                self._reader = self._connect()
            result = request.operation(self._reader)
        except Exception as error:
            # Whatever it is belongs to the caller, who may have left by now.
            with suppress(futures.InvalidStateError):
                request.answer.set_exception(error)
        else:
            with suppress(futures.InvalidStateError):
                request.answer.set_result(result)


class GuardedSource(Source):
    """A source whose reader is connected and read under a :class:`Guard`.

    Attributes:
        advice: what to try when no first frame comes, put at the end of the message.
    """

    advice = ""

    def __init__(self, name: str, wishes: Wishes) -> None:
        self.name = name
        self.wishes = wishes
        self._guard: Guard | None = None
        self._first: np.ndarray | None = None

    @abstractmethod
    def connect(self) -> Reader:
        """Return an open reader; called in the guard's thread.

        Raises:
            SourceError: it cannot be opened; says why.
        """

    def open(self) -> None:
        """See :meth:`Source.open`."""
        self.close()
        guard = self._guard = Guard(self.connect, self.name)
        try:
            first = guard.ask(lambda reader: reader.read(), self.wishes.timeout)
        except SourceError as error:
            self.close()
            raise SourceError(f"{error}{self.advice}") from error
        if first is None:
            self.close()
            raise SourceError(f"{self.name}: no picture in it can be decoded; it may be damaged")
        self.fps = guard.fps
        self._first = first

    def read(self) -> np.ndarray | None:
        """See :meth:`Source.read`."""
        first, self._first = self._first, None
        return self._answer(lambda reader: reader.read()) if first is None else first

    def skip(self) -> bool:
        """See :meth:`Source.skip`."""
        first, self._first = self._first, None
        return first is not None or self._answer(lambda reader: reader.skip())

    def _answer(self, operation: Callable[[Reader], Answer]) -> Answer:
        guard = self._guard
        if guard is None:
            raise SourceError(f"{self.name}: not open")
        try:
            return guard.ask(operation, READ_TIMEOUT)
        except SourceError:
            self.close()
            raise

    def close(self) -> None:
        """See :meth:`Source.close`."""
        guard, self._guard = self._guard, None
        self._first = None
        if guard is not None:
            guard.stop()
