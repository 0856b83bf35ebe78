"""Read IDX files, the format of MNIST and its relatives.

An IDX file is a big-endian header (two zero bytes, the element type, the number
of dimensions, then one 32-bit size for each dimension) followed by the elements
in C order. Format: http://yann.lecun.com/exdb/mnist/, "The IDX file format".
"""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge_fmnist.errors import DataError

UNSIGNED_BYTE = 0x08
# Larger than any IDX set of this shape; stops a hostile gzip from filling memory.
MAX_BYTES = 1 << 30


class IdxFile(NamedTuple):
    """The content of an IDX file and the SHA-256 of its unpacked bytes."""

    array: np.ndarray
    sha256: str


def read_bytes(path: Path) -> bytes:
    """Return the unpacked bytes of ``path``, gzip-compressed or not.

    Raises:
        DataError: the gzip stream is damaged or ends early, or the file is larger than 1 GiB.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as stream:
            data: bytes = stream.read(MAX_BYTES + 1)
    except EOFError as error:
        raise DataError(
            f"{path}: the gzip stream ends early, so the file is truncated; delete it and fetch it again"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: not a whole gzip file ({error}); delete it and fetch it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len(data) > MAX_BYTES:
        raise DataError(f"{path}: unpacks to more than {MAX_BYTES >> 20} MiB, which no data set of this kind does")
    return data


def parse_idx(data: bytes, *, dimensions: int, name: str) -> np.ndarray:
    """Return the uint8 array in the IDX bytes ``data``.

    Args:
        data: the unpacked bytes of an IDX file.
        dimensions: how many dimensions are expected: 3 for images, 1 for labels.
        name: what messages call the file.

    Returns:
        A read-only uint8 array of ``dimensions`` dimensions that shares memory with ``data``.

    Raises:
        DataError: wrong magic number, element type or number of dimensions, or a
            length that does not match the sizes in the header.
    """
    expected = bytes([0, 0, UNSIGNED_BYTE, dimensions])
    header_size = 4 + 4 * dimensions
    if data[:4] != expected:
        raise DataError(
            f"{name}: wrong magic number: expected {expected.hex()} (IDX, uint8, {dimensions}-D), "
            f"got {data[:4].hex() or 'an empty file'}"
        )
    if len(data) < header_size:
        raise DataError(f"{name}: ends within its header of {header_size} bytes; it is truncated")
    shape = struct.unpack(f">{dimensions}I", data[4:header_size])
    if len(data) - header_size != math.prod(shape):
        raise DataError(
            f"{name}: the header promises {' x '.join(map(str, shape))} = {math.prod(shape)} bytes, "
            f"the file holds {len(data) - header_size}; it is truncated or damaged"
        )
    return np.frombuffer(data, np.uint8, offset=header_size).reshape(shape)


def read_idx(path: Path, *, dimensions: int) -> IdxFile:
    """Read an IDX file of unsigned bytes, gzip-compressed (``.gz``) or not.

    Args:
        path: the file.
        dimensions: how many dimensions are expected: 3 for images, 1 for labels.

    Raises:
        DataError: the file is damaged, truncated, or not IDX of that kind.
    """
    data = read_bytes(path)
    return IdxFile(parse_idx(data, dimensions=dimensions, name=str(path)), hashlib.sha256(data).hexdigest())
