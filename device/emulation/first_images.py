"""Write the first images of a data set as a data set of its own, small enough for an emulated processor.

``python first_images.py COUNT FOLDER``: the four IDX files, from the data set that the project finds.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

from edge_fmnist.data.dataset import IMAGES, TARGETS, find_data, idx_path
from edge_fmnist.data.files import write_bytes
from edge_fmnist.data.idx import read_bytes

# Magic number, then one 32-bit size for each dimension: three of images, one of labels.
IMAGE_HEADER, TARGET_HEADER = 16, 8


def first(data: bytes, count: int, header: int) -> bytes:
    """Return an IDX file's first items as an IDX file.

    Args:
        data: the bytes of the file, unpacked.
        count: how many items; all where there are fewer.
        header: bytes of the header.
    """
    items = struct.unpack(">I", data[4:8])[0]
    size = (len(data) - header) // items
    kept = min(count, items)
    return data[:4] + struct.pack(">I", kept) + data[8 : header + kept * size]


def write(count: int, folder: Path) -> None:
    """Write the four files into a folder.

    Raises:
        DataNotFoundError: no data set was found.
        DataError: one of its files is damaged.
    """
    source = find_data()
    for names, header in ((IMAGES, IMAGE_HEADER), (TARGETS, TARGET_HEADER)):
        for name in names.values():
            path = idx_path(source, name) or source / name
            write_bytes(folder / name, first(read_bytes(path), count, header))


if __name__ == "__main__":
    write(int(sys.argv[1]), Path(sys.argv[2]))
