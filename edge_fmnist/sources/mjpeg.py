"""Motion JPEG over HTTP: pictures in a multipart/x-mixed-replace answer that does not end.

Read here and not by FFmpeg, which scales later frames to the size of the first,
shows frames without a Content-Length one frame late, and does not say why a
server refused.
"""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from edge_fmnist.errors import ImageError, SourceError
from edge_fmnist.sources.convert import as_frame
from edge_fmnist.sources.guard import Reader
from edge_fmnist.vision.read_image import decode_picture

MAX_PICTURE = 64 << 20
MAX_LINE = 1 << 16
# What may stand between two pictures, where nothing but a line end is expected.
MAX_PREAMBLE = 1 << 20
# A damaged picture is passed over; a stream of them is no stream.
MAX_DAMAGED = 10
# A JPEG ends with this marker; the line end after it is the server's.
END_OF_JPEG = b"\xff\xd9\r\n"


class MjpegReader(Reader):
    """Reads the pictures of a multipart answer; a frame's size may change in mid-stream."""

    def __init__(self, response: http.client.HTTPResponse, name: str) -> None:
        """Take over the response, whose headers have been read; ``name`` is for messages."""
        self._response = response
        # A handle of its own: the response lets go of its when the server hangs up.
        self._connection = socket.socket(fileno=os.dup(response.fileno()))
        self._name = name
        self._boundary = b""

    def read(self) -> np.ndarray:
        """Return the next picture as a frame.

        Raises:
            SourceError: the stream ended, stalled, or sends something else.
        """
        for content in self._contents():
            with suppress(ImageError):
                return as_frame(decode_picture(content, self._name))
        raise self._no_pictures()

    def skip(self) -> bool:
        """Pass over the next picture, whole or damaged, without decoding it, and return True.

        Raises:
            SourceError: the stream ended, stalled, or sends empty parts only.
        """
        for _ in self._contents():
            return True
        raise self._no_pictures()

    def _no_pictures(self) -> SourceError:
        return SourceError(f"{self._name}: {MAX_DAMAGED} parts in a row that are no pictures")

    def _contents(self) -> Iterator[bytes]:
        """Yield what the next few parts hold."""
        for _ in range(MAX_DAMAGED):
            try:
                content = self._next_part()
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise SourceError(f"{self._name}: the stream broke off ({error or type(error).__name__})") from error
            # Some servers send an empty part (or a bare line end) to keep the connection open.
            if content.strip():
                yield content

    def _next_part(self) -> bytes:
        """Return the body of the next part."""
        boundary = self._skip_to_boundary()
        headers = http.client.parse_headers(self._response)
        length = headers.get("Content-Length", "").strip()
        if length.isdecimal() and int(length):
            return self._read_exactly(int(length))
        return self._read_to(boundary)

    def _skip_to_boundary(self) -> bytes:
        """Return the next line that is a boundary."""
        # Any line of this form: servers disagree with their own header on how many dashes there are.
        boundary, self._boundary = self._boundary, b""
        if boundary:
            return boundary
        skipped = 0
        while not (line := self._read_line()).startswith(b"--"):
            skipped += len(line)
            if skipped > MAX_PREAMBLE:
                raise ValueError("no boundary between parts")
        return line.rstrip()

    def _read_line(self) -> bytes:
        line = self._response.readline(MAX_LINE)
        if not line:
            raise ConnectionError("the server closed the connection")
        return line

    def _read_exactly(self, length: int) -> bytes:
        if length > MAX_PICTURE:
            raise ValueError(f"a picture of {length} bytes, more than {MAX_PICTURE}")
        content = self._response.read(length)
        if len(content) < length:
            raise ConnectionError("the server closed the connection in the middle of a picture")
        return content

    def _read_to(self, boundary: bytes) -> bytes:
        """Return what stands before the next boundary, without waiting for the boundary where it is a JPEG."""
        content = bytearray()
        while not (line := self._read_line()).startswith(boundary):
            content += line
            if content.endswith(END_OF_JPEG):
                return bytes(content)
            if len(content) > MAX_PICTURE:
                raise ValueError(f"a picture of more than {MAX_PICTURE} bytes")
        self._boundary = line.rstrip()
        return bytes(content)

    def release(self) -> None:
        """Close the connection."""
        self._response.close()
        self._connection.close()

    def interrupt(self) -> None:
        """Shut the connection down, which wakes a read that waits for bytes."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
