"""Write the first images of Fashion-MNIST as a small data set: ``python first_images.py COUNT FOLDER``."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

from edge_fmnist.data.dataset import IMAGES, TARGETS, find_data, idx_path
from edge_fmnist.data.files import write_bytes
from edge_fmnist.data.idx import parse_idx, read_bytes


def write(count: int, folder: Path) -> None:
    """Write the four IDX files of the data set that :func:`find_data` returns, shortened to ``count`` images each.

    Raises:
        DataNotFoundError: no data set was found.
        DataError: a file is damaged.
    """
    source = find_data()
    for names, dimensions in ((IMAGES, 3), (TARGETS, 1)):
        for name in names.values():
            data = read_bytes(idx_path(source, name) or source / name)
            kept = parse_idx(data, dimensions=dimensions, name=name)[:count]
            write_bytes(folder / name, data[:4] + struct.pack(f">{dimensions}I", *kept.shape) + kept.tobytes())


if __name__ == "__main__":
    write(int(sys.argv[1]), Path(sys.argv[2]))
