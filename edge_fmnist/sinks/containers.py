"""Video containers that are written piece by piece and can be played at any moment, even if the last piece is missing.

OpenCV's writer keeps up to 256 KiB in memory and completes an MP4 file only at its end, so that a killed program loses
seconds or all of it. Here its packets are put into a fragmented MP4 file (ISO/IEC 14496-12), a Matroska file of unknown
size (RFC 9559) or an AVI file without sizes.
"""

from __future__ import annotations

import re
import struct
from abc import ABC, abstractmethod

# Parts of a sample entry and of a header that every player ignores or expects like this.
MATRIX = struct.pack(">9I", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
RESOLUTION = struct.pack(">II", 72 << 16, 72 << 16)
# ISO/IEC 14496-2 start codes: a picture; a group of pictures or a picture, before which the configuration ends.
PICTURE = b"\0\0\1\xb6"
CONFIGURATION_END = re.compile(b"\0\0\1[\xb3\xb6]")
# Units of a frame's duration: the frame rate has two decimals.
TICKS = 100


def is_key(packet: bytes) -> bool:
    """Return whether a packet of FFmpeg's MPEG-4 encoder, or a JPEG picture, can be decoded without earlier ones."""
    return not packet.startswith(PICTURE)


class Container(ABC):
    """Bytes of a video file with one stream of constant frame rate.

    Attributes:
        incomplete: type, in bytes 4 to 8, that makes players skip a piece while it is written; None if they play a file
            wherever it ends.
        frames: number of frames so far.
    """

    incomplete: bytes | None = None

    def __init__(self, size: tuple[int, int], fps: float) -> None:
        """Describe the stream.

        Args:
            size: width and height.
            fps: frames per second, with at most two decimals.
        """
        self.size = size
        self.fps = fps
        self.frames = 0

    @abstractmethod
    def begin(self, packet: bytes) -> bytes:
        """Return the beginning of the file; ``packet`` is the first one."""

    def add(self, packets: list[bytes]) -> bytes:
        """Return the next piece of the file."""
        piece = self.piece(packets)
        self.frames += len(packets)
        return piece

    @abstractmethod
    def piece(self, packets: list[bytes]) -> bytes:
        """Return these packets, which follow :attr:`frames` others, as a piece of the file."""

    @abstractmethod
    def patches(self, begin: bytes, length: int) -> dict[int, bytes]:
        """Return what to write into the finished file, by position: fields that were not known before."""


class FragmentedMp4(Container):
    """MP4 with a fragment for each piece; MPEG-4 packets."""

    # FFmpeg refuses a file that ends within the description of a fragment.
    incomplete = b"free"

    def begin(self, packet: bytes) -> bytes:
        """See :meth:`Container.begin`."""
        width, height = self.size
        configuration = CONFIGURATION_END.split(packet, 1)[0]
        decoder = b"\x20\x11" + bytes(11) + _descriptor(5, configuration)
        stream = b"\0\1\0" + _descriptor(4, decoder) + _descriptor(6, b"\2")
        entry = struct.pack(">6xH16xHH", 1, width, height) + RESOLUTION + struct.pack(">4xH32xHh", 1, 24, -1)
        entry += _box("esds", bytes(4), _descriptor(3, stream))
        empty = [_box(kind, bytes(size)) for kind, size in (("stts", 8), ("stsc", 8), ("stsz", 12), ("stco", 8))]
        table = _box("stbl", _box("stsd", struct.pack(">4xI", 1), _box("mp4v", entry)), *empty)
        references = _box("dref", struct.pack(">4xI", 1), _box("url ", b"\0\0\0\1"))
        information = _box("minf", _box("vmhd", b"\0\0\0\1", bytes(8)), _box("dinf", references), table)
        media = _box(
            "mdia",
            _box("mdhd", struct.pack(">12xII4s", self._timescale, 0, b"\x55\xc4\0\0")),
            _box("hdlr", bytes(8), b"vide", bytes(12), b"video\0"),
            information,
        )
        track = struct.pack(">4s8xI24x", b"\0\0\0\3", 1) + MATRIX + struct.pack(">II", width << 16, height << 16)
        extends = _box("mehd", struct.pack(">B3xQ", 1, 0)), _box("trex", struct.pack(">4xIIIII", 1, 1, TICKS, 0, 0))
        movie = struct.pack(">12xIIIH10x", self._timescale, 0, 1 << 16, 1 << 8) + MATRIX + struct.pack(">24xI", 2)
        return _box("ftyp", b"iso5\0\0\2\0iso5iso6mp41") + _box(
            "moov", _box("mvhd", movie), _box("trak", _box("tkhd", track), media), _box("mvex", *extends)
        )

    def piece(self, packets: list[bytes]) -> bytes:
        """See :meth:`Container.piece`."""
        samples = [struct.pack(">II", len(each), 0x02000000 if is_key(each) else 0x01010000) for each in packets]
        # The position of the data, from the start of the fragment, has to be known before its size: 8 bytes per sample.
        position = 8 + 16 + 8 + 16 + 20 + 20 + 8 * len(packets) + 8
        run = _box("trun", struct.pack(">III", 0x000601, len(packets), position), *samples)
        start = _box("tfdt", struct.pack(">B3xQ", 1, self.frames * TICKS))
        track = _box("traf", _box("tfhd", struct.pack(">II", 0x020000, 1)), start, run)
        return _box("moof", _box("mfhd", struct.pack(">4xI", self.frames + 1)), track) + _box("mdat", *packets)

    def patches(self, begin: bytes, length: int) -> dict[int, bytes]:  # noqa: ARG002 - not needed here
        """See :meth:`Container.patches`: the duration."""
        return {begin.index(b"mehd") + 8: struct.pack(">Q", self.frames * TICKS)}

    @property
    def _timescale(self) -> int:
        return round(self.fps * TICKS)


class Matroska(Container):
    """Matroska with a cluster for each piece; MPEG-4 packets."""

    def begin(self, packet: bytes) -> bytes:
        """See :meth:`Container.begin`."""
        width, height = self.size
        name = b"edge-fmnist"
        header = _element("1A45DFA3", _element("4282", b"matroska"), _element("4287", b"\4"), _element("4285", b"\2"))
        scale = _element("2AD7B1", struct.pack(">I", 1_000_000))
        information = _element("1549A966", scale, UNKNOWN_DURATION, _element("4D80", name), _element("5741", name))
        track = _element(
            "AE",
            *(_element("D7", b"\1"), _element("73C5", b"\1"), _element("83", b"\1"), _element("9C", b"\0")),
            _element("86", b"V_MPEG4/ISO/ASP"),
            _element("63A2", CONFIGURATION_END.split(packet, 1)[0]),
            _element("23E383", struct.pack(">Q", round(1e9 / self.fps))),
            _element("E0", _element("B0", struct.pack(">H", width)), _element("BA", struct.pack(">H", height))),
        )
        segment = bytes.fromhex("18538067 01FFFFFFFFFFFFFF")
        return header + segment + information + _element("1654AE6B", track)

    def piece(self, packets: list[bytes]) -> bytes:
        """See :meth:`Container.piece`."""
        start = self._milliseconds(self.frames)
        blocks = [
            _element(
                "A3",
                struct.pack(">BhB", 0x81, self._milliseconds(self.frames + i) - start, 0x80 * is_key(packet)),
                packet,
            )
            for i, packet in enumerate(packets)
        ]
        return _element("1F43B675", _element("E7", struct.pack(">Q", start)), *blocks)

    def patches(self, begin: bytes, length: int) -> dict[int, bytes]:  # noqa: ARG002 - not needed here
        """See :meth:`Container.patches`: the duration."""
        duration = _element("4489", struct.pack(">d", self._milliseconds(self.frames)))
        return {begin.index(UNKNOWN_DURATION): duration}

    def _milliseconds(self, frames: int) -> int:
        return round(1000 * frames / self.fps)


class Avi(Container):
    """AVI with JPEG pictures. Sizes of 0 mean until the end of the file; the index is written last."""

    def __init__(self, size: tuple[int, int], fps: float) -> None:
        """See :meth:`Container.__init__`."""
        super().__init__(size, fps)
        self._index: list[bytes] = []
        self._position = 4

    def begin(self, packet: bytes) -> bytes:  # noqa: ARG002 - not needed here
        """See :meth:`Container.begin`."""
        width, height = self.size
        rate = round(self.fps * TICKS)
        main = struct.pack("<I8xIIIIIII16x", round(1e6 / self.fps), 0x10, 0, 0, 1, 0, width, height)
        stream = struct.pack("<4s4s12xIIIIIII4H", b"vids", b"MJPG", TICKS, rate, 0, 0, 0, 0, 0, 0, 0, width, height)
        picture = struct.pack("<IiiHH4sI16x", 40, width, height, 1, 24, b"MJPG", width * height * 3)
        streams = _chunk("LIST", b"strl", _chunk("strh", stream), _chunk("strf", picture))
        return b"RIFF\0\0\0\0AVI " + _chunk("LIST", b"hdrl", _chunk("avih", main), streams) + b"LIST\0\0\0\0movi"

    def piece(self, packets: list[bytes]) -> bytes:
        """See :meth:`Container.piece`."""
        chunks = [_chunk("00dc", packet) for packet in packets]
        for packet, chunk in zip(packets, chunks, strict=True):
            self._index.append(struct.pack("<4sIII", b"00dc", 0x10, self._position, len(packet)))
            self._position += len(chunk)
        return b"".join(chunks)

    def patches(self, begin: bytes, length: int) -> dict[int, bytes]:
        """See :meth:`Container.patches`: sizes, number of frames, index."""
        # Without a last piece that could not be written.
        index = _chunk("idx1", *self._index[: self.frames])
        number = struct.pack("<I", self.frames)
        return {
            length: index,
            4: struct.pack("<I", length + len(index) - 8),
            begin.index(b"avih") + 24: number,
            begin.index(b"strh") + 40: number,
            len(begin) - 8: struct.pack("<I", length - len(begin) + 4),
        }


def _box(kind: str, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), kind.encode()) + content


def _descriptor(tag: int, content: bytes) -> bytes:
    return bytes([tag, 0x80, 0x80, len(content) >> 7 | 0x80, len(content) & 0x7F]) + content


def _element(identifier: str, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return bytes.fromhex(identifier) + struct.pack(">Q", 1 << 56 | len(content)) + content


# A void element, replaced by the duration, which has the same length.
UNKNOWN_DURATION = _element("EC", bytes(9))


def _chunk(kind: str, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack("<4sI", kind.encode(), len(content)) + content + bytes(len(content) % 2)
