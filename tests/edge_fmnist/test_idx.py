"""Reading IDX files."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from edge_fmnist.data import idx
from edge_fmnist.data.idx import parse_idx, read_bytes, read_idx
from edge_fmnist.errors import DataError

ARRAY = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def idx_bytes(array: np.ndarray = ARRAY, magic: bytes = b"\0\0\x08\x03") -> bytes:
    return magic + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def test_parse_gives_the_array_in_c_order() -> None:
    array = parse_idx(idx_bytes(), dimensions=3, name="x")
    assert array.dtype == np.uint8
    assert np.array_equal(array, ARRAY)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(idx_bytes(magic=b"\0\0\x08\x01"), "expected 00000803 .*got 00000801", id="labels"),
        pytest.param(idx_bytes(magic=b"\0\0\x0d\x03"), "wrong magic number: .*got 00000d03", id="float elements"),
        pytest.param(b"", "wrong magic number: .*got an empty file", id="empty"),
        pytest.param(idx_bytes()[:-5], "truncated or damaged: expected 2 x 3 x 4 = 24 bytes, got 19", id="cut off"),
        pytest.param(idx_bytes() + b"\0", "expected 2 x 3 x 4 = 24 bytes, got 25", id="too long"),
        pytest.param(idx_bytes()[:10], "truncated within its header of 16 bytes", id="cut off in the header"),
        pytest.param(
            b"\0\0\x08\x03" + b"\xff" * 12, f"= {(2**32 - 1) ** 3} bytes, got 0", id="sizes that overflow 64 bits"
        ),
    ],
)
def test_content_that_is_not_idx(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=f"^some-file: .*{message}"):
        parse_idx(content, dimensions=3, name="some-file")


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("packed", [False, True])
def test_plain_and_gzip_whatever_the_name(tmp_path: Path, suffix: str, packed: bool) -> None:
    path = tmp_path / f"images{suffix}"
    path.write_bytes(gzip.compress(idx_bytes()) if packed else idx_bytes())
    array, sha256 = read_idx(path, dimensions=3)
    assert np.array_equal(array, ARRAY)
    assert sha256 == hashlib.sha256(idx_bytes()).hexdigest()


def changed(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :]


GZIP = gzip.compress(idx_bytes(np.random.default_rng(0).integers(0, 9, (9, 9, 9), dtype=np.uint8)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(GZIP[:5], "the gzip stream ends early: the file is truncated", id="cut in the header"),
        pytest.param(GZIP[:-1], "the gzip stream ends early: the file is truncated", id="cut at the end"),
        pytest.param(changed(GZIP, 11), "damaged gzip file", id="deflate stream"),
        pytest.param(changed(GZIP, len(GZIP) - 8), "damaged gzip file", id="checksum"),
        pytest.param(None, r"cannot be read \(No such file", id="absent"),
    ],
)
def test_damaged_gzip(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "images.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=rf"images\.gz: {message}"):
        read_idx(path, dimensions=3)


def test_gzip_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx, "MAX_BYTES", 1 << 20)
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(bytes((1 << 20) + 1)))
    with pytest.raises(DataError, match="unpacks to more than 1 MiB"):
        read_bytes(path)
