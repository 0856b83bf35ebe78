"""Write the first images of Fashion-MNIST as a small data set: ``python first_images.py COUNT FOLDER``."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

from edge_fmnist.data.dataset import IMAGES, TARGETS, find_data, idx_path
from edge_fmnist.data.files import write_bytes
from edge_fmnist.data.idx import read_bytes

# Magic number, then one 32-bit size per dimension: three for images, one for labels.
IMAGE_HEADER, TARGET_HEADER = 16, 8


def first(data: bytes, count: int, header: int) -> bytes:
    """Return the first items of an IDX file as an IDX file.

    Args:
        data: uncompressed content of the file.
        count: maximum number of items.
        header: size of the header in bytes.
    """
    items = struct.unpack(">I", data[4:8])[0]
    size = (len(data) - header) // items
    kept = min(count, items)
    return data[:4] + struct.pack(">I", kept) + data[8 : header + kept * size]


def write(count: int, folder: Path) -> None:
    """Write the four IDX files of the data set that :func:`find_data` returns, shortened to ``count`` images each.

    Raises:
        DataNotFoundError: no data set was found.
        DataError: a file is damaged.
    """
    source = find_data()
    for names, header in ((IMAGES, IMAGE_HEADER), (TARGETS, TARGET_HEADER)):
        for name in names.values():
            path = idx_path(source, name) or source / name
            write_bytes(folder / name, first(read_bytes(path), count, header))


if __name__ == "__main__":
    write(int(sys.argv[1]), Path(sys.argv[2]))
