"""Run one variant once, in this process alone, and tell how much memory it took: ``process.py`` starts this.

The variant comes pickled on standard input, from the process that started this one.
"""

from __future__ import annotations

import json
import pickle
import resource
import sys
from pathlib import Path

import numpy as np

STATUS = Path("/proc/self/status")


def peak_bytes() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    # ru_maxrss starts from that of the parent on Linux; the kernel's high-water mark does not.
    if STATUS.is_file():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    """Name one image with the variant; print when that was done, and after it the peak memory."""
    variant = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by the parent process
    run = variant.open(threads=1, batch=1)
    label = int(run(np.zeros((1, 28, 28), np.uint8)).argmax())
    # One line as soon as there is a label: its arrival is what is timed.
    print(label, flush=True)
    print(json.dumps({"peak_bytes": peak_bytes()}), flush=True)


if __name__ == "__main__":
    main()
