"""Read IDX files, the format of MNIST and its relatives.

An IDX file is a big-endian header (two zero bytes, element type, number of dimensions, one 32-bit size for each
dimension), followed by the elements in C order. Format: http://yann.lecun.com/exdb/mnist/, "The IDX file format".
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge_fmnist.errors import DataError

UNSIGNED_BYTE = 0x08
GZIP_MAGIC = b"\x1f\x8b"
# The command downloads only files that are missing.
AGAIN = "delete it, and download it again (for Fashion-MNIST with edge-fmnist data)"
# Larger than any IDX set of this shape; stops a hostile gzip file from filling memory.
MAX_BYTES = 1 << 30


class IdxFile(NamedTuple):
    """The array in an IDX file, and the SHA-256 of the unpacked bytes."""

    array: np.ndarray
    sha256: str


def read_bytes(path: Path) -> bytes:
    """Return the unpacked bytes of a file, gzip-compressed or not, whatever its name.

    Raises:
        DataError: the gzip stream is damaged or ends early, or the file is larger than 1 GiB.
    """
    try:
        with path.open("rb") as file:
            packed = file.peek(2).startswith(GZIP_MAGIC)
            stream: io.BufferedIOBase = gzip.GzipFile(fileobj=file) if packed else file
            data = stream.read(MAX_BYTES + 1)
    except EOFError as error:
        raise DataError(f"{path}: the gzip stream ends early: the file is truncated; {AGAIN}") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip file ({error}); {AGAIN}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len(data) > MAX_BYTES:
        raise DataError(f"{path}: unpacks to more than {MAX_BYTES >> 20} MiB, so not a data set of 28x28 images")
    return data


def parse_idx(data: bytes, *, dimensions: int, name: str) -> np.ndarray:
    """Return the array in the unpacked bytes of an IDX file; ``name`` is its name for messages.

    Returns:
        uint8, read-only; shares memory with ``data``.

    Raises:
        DataError: wrong magic number, element type, number of dimensions or length.
    """
    expected = bytes([0, 0, UNSIGNED_BYTE, dimensions])
    header_size = 4 + 4 * dimensions
    if data[:4] != expected:
        raise DataError(
            f"{name}: wrong magic number: expected {expected.hex()} (IDX, uint8, {dimensions}-D), "
            f"got {data[:4].hex() or 'an empty file'}; {AGAIN}"
        )
    if len(data) < header_size:
        raise DataError(f"{name}: truncated within its header of {header_size} bytes; {AGAIN}")
    shape = struct.unpack(f">{dimensions}I", data[4:header_size])
    if len(data) - header_size != math.prod(shape):
        raise DataError(
            f"{name}: truncated or damaged: expected {' x '.join(map(str, shape))} = {math.prod(shape)} bytes, "
            f"got {len(data) - header_size}"
        )
    return np.frombuffer(data, np.uint8, offset=header_size).reshape(shape)


def read_idx(path: Path, *, dimensions: int) -> IdxFile:
    """Read an IDX file of unsigned bytes, gzip-compressed or not.

    Raises:
        DataError: the file is damaged, truncated, or not IDX with this number of dimensions.
    """
    data = read_bytes(path)
    return IdxFile(parse_idx(data, dimensions=dimensions, name=str(path)), hashlib.sha256(data).hexdigest())
