"""Read the tables of a flatbuffer (https://flatbuffers.dev/internals/) without its schema."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

# What reading a damaged file raises.
DAMAGE = (struct.error, IndexError, KeyError, ValueError, OverflowError)


class Table:
    """A table of a flatbuffer, whose fields are read by number; a read outside of the content raises ``ValueError``."""

    def __init__(self, content: bytes, position: int) -> None:
        """Take the table at a position; :meth:`root` finds the first one."""
        self._content, self.position = content, position
        vtable = position - self._at("<i", position)
        size = self._at("<H", vtable)
        if size % 2 or vtable + size > len(content):
            raise ValueError("damaged table")
        self._offsets = struct.unpack_from(f"<{max(0, size // 2 - 2)}H", content, vtable + 4)

    @classmethod
    def root(cls, content: bytes) -> Table:
        """Return the root table of a file."""
        return cls(content, int(struct.unpack_from("<I", content)[0]))

    def _at(self, kind: str, position: int) -> Any:
        # unpack_from counts a negative offset from the end.
        if position < 0:
            raise ValueError("offset outside of the file")
        return struct.unpack_from(kind, self._content, position)[0]

    def place(self, field: int) -> int:
        """Return where a field lies; 0 if it is absent."""
        offset = self._offsets[field] if field < len(self._offsets) else 0
        return self.position + offset if offset else 0

    def target(self, field: int) -> int:
        """Return where the table or vector of a field lies; 0 if it is absent."""
        place = self.place(field)
        return place + self._at("<I", place) if place else 0

    def number(self, field: int, kind: str) -> int:
        """Return a scalar, 0 if it is absent; ``kind`` as in :mod:`struct`."""
        place = self.place(field)
        return int(self._at(f"<{kind}", place)) if place else 0

    def numbers(self, field: int, dtype: str) -> np.ndarray:
        """Return a vector of numbers, empty if it is absent."""
        place = self.target(field)
        if not place:
            return np.empty(0, dtype)
        return np.frombuffer(self._content, dtype, self._at("<I", place), place + 4)

    def text(self, field: int) -> str:
        """Return a string, empty if it is absent."""
        return self.numbers(field, "u1").tobytes().decode(errors="replace")

    def table(self, field: int) -> Table | None:
        """Return a table, or None if it is absent."""
        place = self.target(field)
        return Table(self._content, place) if place else None

    def tables(self, field: int) -> list[Table]:
        """Return a vector of tables, empty if it is absent."""
        start = self.target(field) + 4
        return [Table(self._content, start + 4 * i + int(o)) for i, o in enumerate(self.numbers(field, "<u4"))]
