"""Stops a running command by signals."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any

# Ctrl-C, a service manager, and a terminal or SSH connection that closes.
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


@contextlib.contextmanager
def stopped_by_signals(stop: Callable[[], None], reopen: Callable[[], None] | None = None) -> Iterator[None]:
    """Call ``stop`` at the first signal to end inside the block; a second one acts as before the block.

    SIGHUP calls ``reopen``, if given, unless it means that the terminal was closed. Signals that were ignored stay so:
    ``nohup`` and shells in the background rely on it. Does nothing outside the main thread, where Python allows no
    handlers.
    """
    terminal = _has_terminal()

    def handle(number: int, _: FrameType | None, former: Any) -> None:
        if reopen is not None and number == getattr(signal, "SIGHUP", None) and terminal == _has_terminal():
            reopen()
            return
        signal.signal(number, former)
        stop()

    with _handled(SIGNALS, handle):
        yield


@contextlib.contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP inside the block do what Ctrl-C does, so that child processes and temporary files go.

    Signals that were ignored stay so, as in :func:`stopped_by_signals`. Does nothing outside the main thread.
    """

    def handle(_: int, frame: FrameType | None, __: Any) -> None:
        # It may be held back by interrupted_later. A shell ignores Ctrl-C for commands in the background.
        interrupt = signal.getsignal(signal.SIGINT)
        (interrupt if callable(interrupt) else signal.default_int_handler)(signal.SIGINT, frame)

    with _handled([name for name in SIGNALS if name != "SIGINT"], handle):
        yield


@contextlib.contextmanager
def interrupted_later() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C back until the end of the block, for native code that calls Python.

    There, KeyboardInterrupt becomes another exception, leaves work half done, or ends the process with SIGSEGV, as in
    TensorFlow.

    Yields:
        A function that raises KeyboardInterrupt if Ctrl-C was pressed, for safe places in a long block.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    pressed: list[int] = []

    def check() -> None:
        if pressed:
            pressed.clear()
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield check
        return
    signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
    check()


@contextlib.contextmanager
def _handled(names: Iterable[str], handle: Callable[[int, FrameType | None, Any], None]) -> Iterator[None]:
    """Call ``handle`` for signals inside the block, also with their former handler; those that were ignored stay so.

    Does nothing outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for name in names if (number := getattr(signal, name, None))}
    before = {number: former for number, former in before.items() if former not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, lambda number, frame: handle(number, frame, before[number]))
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def _has_terminal() -> bool:
    """Return whether the process has a terminal; after the kernel's hang-up, it has none."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
