"""How the C library treats memory that a training step frees."""

from __future__ import annotations

import ctypes

# From glibc's malloc.h; what they do: man 3 mallopt.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MOST_BYTES = 2**30


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, instead of giving it back to the system.

    Each step of training frees hundreds of megabytes of activations and asks for as many again, which the system then
    hands out anew, page by page. On the torch back end, where steps take their memory from the C library, a step of
    ``edge`` takes 271 ms without this and 211 ms with it. It does nothing where the C library is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(M_TRIM_THRESHOLD, MOST_BYTES)
    mallopt(M_MMAP_THRESHOLD, MOST_BYTES)
