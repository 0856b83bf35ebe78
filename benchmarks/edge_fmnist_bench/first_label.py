"""Run one variant once in this process and print the label and the peak memory; started by ``process.py``.

The variant arrives pickled on standard input, from the parent process.
"""

from __future__ import annotations

import json
import pickle
import sys

import numpy as np

from edge_fmnist.model.measure import peak_memory_bytes


def main() -> None:
    """Classify one image with the variant; print the label as soon as it is known, then the peak memory."""
    variant = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by the parent process
    run = variant.open(threads=1, batch=1)
    label = int(run(np.zeros((1, 28, 28), np.uint8)).argmax())
    # The parent times the arrival of this line.
    print(label, flush=True)
    print(json.dumps({"peak_bytes": peak_memory_bytes()}), flush=True)


if __name__ == "__main__":
    main()
