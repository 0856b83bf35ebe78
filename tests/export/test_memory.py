from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import pytest


def faults(keep: bool) -> None:
    """Print how many pages the system hands out while blocks of memory are taken and freed in turn."""
    import resource

    from edge_fmnist_export.training.memory import keep_freed_memory

    if keep:
        keep_freed_memory()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        # Larger than what glibc learns to keep by itself.
        bytearray(b"x") * (48 << 20)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_taken_again(spawn_calls: Callable[..., list[Any]]) -> None:
    (given_back,), (kept,) = spawn_calls((faults, False)), spawn_calls((faults, True))
    # 20 blocks against one.
    assert 5 * kept < given_back
