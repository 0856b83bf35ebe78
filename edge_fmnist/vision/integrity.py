"""Whether the data of a picture is whole, where the decoder would fill up what is missing."""

from __future__ import annotations

import re
import struct

# The entropy-coded data of a JPEG ends at the first marker that is neither a stuffed zero nor a restart, or at the fill
# bytes before it.
_END_OF_SCAN = re.compile(rb"(?<!\xff)\xff+[^\x00\xd0-\xd7\xff]")
_FILL_BYTES = re.compile(rb"\xff+")
_EOI = b"\xff\xd9"
# Follows the data in place of the end marker: then libjpeg asks for more where it would fill up a damaged picture.
_PADDING = b"\x55" * 16
# Longer than any run of zeros in the data of a scan, unless plain areas are written as zeros there.
_ZEROS = bytes(512)
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)


def prepare_jpeg(data: bytes) -> tuple[bytes, bool]:
    """Return a JPEG as the decoder is to see it, and whether it is progressive or has several scans.

    Format: ITU-T T.81, annex B.

    Raises:
        ValueError: damaged.
    """
    position, components, progressive = 2, 0, False
    bits: dict[tuple[int, int], int] = {}
    first_symbols: dict[int, int] = {}
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            raise ValueError("no marker where one is expected")
        marker = data[position + 1]
        if marker == 0xFF:
            position = _FILL_BYTES.match(data, position).end() - 1  # type: ignore[union-attr]
            continue
        if marker == 0xD9:
            break
        (length,) = struct.unpack_from(">H", data, position + 2)
        segment = data[position + 4 : position + 2 + length]
        position += 2 + length
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            components, progressive = segment[5], marker in _PROGRESSIVE
        if marker == 0xC4:
            first_symbols |= _first_symbols(segment)
        if marker != 0xDA:
            continue
        end = _END_OF_SCAN.search(data, position)
        stop = end.start() if end else len(data)
        if not progressive and segment[0] == components:
            return data[:stop] + _PADDING, False
        if not _has_zeros(segment, first_symbols, progressive) and data.find(_ZEROS, position, stop) >= 0:
            raise ValueError("a block of zeros in the data")
        first, last, approximation = segment[-3], segment[-2], segment[-1] & 15
        bits |= {
            (component, k): approximation for component in segment[1:-3:2] for k in (0, 1, 63) if first <= k <= last
        }
        position = stop
    if len({component for component, _ in bits}) < components or (progressive and any(bits.values())):
        raise ValueError("the data ends early")
    return (data if data.endswith(_EOI) else data + _EOI), True


def is_zero_filled(data: bytes, pixels: int, exif: bytes | None = None) -> bool:
    """Return whether a large part of a lossy WebP, AVIF or HEIC picture is zeros, as after a power failure.

    A plain area takes up to a byte of zeros for 10,000 pixels. Exif data may be padded with zeros.
    """
    coded = _lossy_data(data) if data.startswith(b"RIFF") else _media_data(data)
    if exif:
        coded = coded.replace(exif.removeprefix(b"Exif\0\0"), b"")
    return bytes(256 + pixels // 2048 + len(coded) // 8) in coded


def _lossy_data(data: bytes) -> bytes:
    """Return the chunk ``VP8`` of a WebP picture, empty without one. Format: RFC 9649."""
    position = 12
    while position + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, position)
        if kind == b"VP8 ":
            return data[position + 8 : position + 8 + size]
        position += 8 + size + size % 2
    return b""


def _media_data(data: bytes) -> bytes:
    """Return the first box ``mdat``, empty without one. Format: ISO/IEC 14496-12, section 4.2."""
    position = 0
    while position + 16 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, position + 8)
        if kind == b"mdat":
            return data[position : position + size if size else None]
        if size < 8:
            break
        position += size
    return b""


def _first_symbols(segment: bytes) -> dict[int, int]:
    """Return the first symbol of each Huffman table in a segment, by class and number: its code is all zeros."""
    found, position = {}, 0
    while position + 17 < len(segment):
        found[segment[position]] = segment[position + 17]
        position += 17 + sum(segment[position + 1 : position + 17])
    return found


def _has_zeros(scan: bytes, first_symbols: dict[int, int], progressive: bool) -> bool:
    """Return whether an encoder may write a plain area, such as a white ground, as a long run of zeros in a scan."""
    last, approximation = scan[-2], scan[-1]
    if progressive and last:
        # Runs of blocks without these coefficients are counted.
        return False
    if progressive and approximation >> 4:
        # One bit for each block.
        return True
    tables = {selector >> 4 for selector in scan[2:-3:2]}
    if not progressive:
        tables |= {0x10 | selector & 15 for selector in scan[2:-3:2]}
    # The symbol 0: no difference to the block before, or no further coefficients in a block.
    return all(first_symbols.get(table) == 0 for table in tables)
