"""Settings of the whole process that several threads change for a while."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SharedSetting(Generic[T]):
    """A setting of the process: threads that want the same value hold it together, others wait for it.

    Each for itself would restore what another one has set.
    """

    def __init__(self, change: Callable[[T], AbstractContextManager[Any]]) -> None:
        """Create it; ``change`` returns a context manager that sets a value and restores the former one."""
        self._change = change
        self._changed = threading.Condition()
        self._holders = 0
        self._held: tuple[T, AbstractContextManager[Any]] | None = None

    @contextmanager
    def held(self, value: T) -> Iterator[None]:
        """Set a value for the block; waits while other threads hold another value."""
        with self._changed:
            self._changed.wait_for(lambda: self._held is None or self._held[0] == value)
            if self._held is None:
                change = self._change(value)
                change.__enter__()
                self._held = value, change
            self._holders += 1
        try:
            yield
        finally:
            with self._changed:
                self._holders -= 1
                if not self._holders:
                    _, change = self._held
                    self._held = None
                    change.__exit__(None, None, None)
                    self._changed.notify_all()
