"""Measure calls in turns, and the peak memory of this process."""

from __future__ import annotations

import contextlib
import gc
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

STATUS = Path("/proc/self/status")


def timed(call: Callable[[], object]) -> int:
    """Return the duration of a call in nanoseconds."""
    started = time.perf_counter_ns()
    call()
    return time.perf_counter_ns() - started


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Disable Python's garbage collector inside the block."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def take_turns(names: Sequence[str], rounds: int, seed: int, take: Callable[[str], None]) -> dict[str, Exception]:
    """Call ``take`` once per name and round, in a random order that changes with each round; return the errors by name.

    Whatever slows the machine for a while then slows all of them alike.
    """
    rng = np.random.default_rng(seed)
    failures: dict[str, Exception] = {}
    for _ in range(rounds):
        for index in rng.permutation(len(names)):
            name = names[index]
            if name in failures:
                continue
            try:
                take(name)
            except Exception as error:  # whatever a library raises is the result of that name
                failures[name] = error
    return failures


def peak_memory_bytes() -> int:
    """Return the peak resident memory of this process in bytes."""
    # On Linux, ru_maxrss of a child starts at the value of its parent; the kernel's high-water mark does not.
    if STATUS.is_file():
        for line in STATUS.read_text("utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    # Kibibytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
