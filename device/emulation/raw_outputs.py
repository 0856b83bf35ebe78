"""Write a model's raw outputs for the test images of a data set: ``python raw_outputs.py MODEL FOLDER FILE``."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from edge_fmnist import Classifier
from edge_fmnist.data.dataset import load


def write(model: str, folder: Path, file: Path) -> None:
    """Write ``outputs``, int8, shape (N, 10), and ``targets``, uint8, shape (N,), to an .npz file.

    Raises:
        EdgeFmnistError: the model or the data set cannot be read.
    """
    split = load("test", folder)
    outputs, _ = Classifier.load(model).outputs(split.images)
    np.savez(file, outputs=outputs, targets=split.targets)


if __name__ == "__main__":
    write(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
