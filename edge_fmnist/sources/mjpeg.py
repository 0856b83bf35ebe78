"""Motion JPEG over HTTP: images in an endless multipart/x-mixed-replace response.

Not read through FFmpeg, which scales later frames to the size of the first,
shows frames without a Content-Length one frame late, and does not say why a
server refused.
"""

from __future__ import annotations

import http.client
from abc import abstractmethod

import numpy as np

from edge_fmnist.errors import ImageError, SourceError
from edge_fmnist.sources.base import NO_PICTURE, Source
from edge_fmnist.vision.picture_files import HEADER_BYTES, PICTURE_FORMATS, identify
from edge_fmnist.vision.read_image import decode_picture

MAX_IMAGE_BYTES = 64 << 20
MAX_LINE_BYTES = 1 << 16
# Between two images, where only a line break is expected.
MAX_PREAMBLE_BYTES = 1 << 20
# Damaged images are unusable frames, but this many in a row are not a stream.
MAX_DAMAGED = 10
# The end marker of a JPEG and the line break that servers add.
JPEG_END = b"\xff\xd9\r\n"
# Shorter boundaries could occur by accident within an image.
MIN_BOUNDARY = 5


class PictureStream(Source):
    """Pictures over HTTP, one after another; a damaged one becomes an unusable frame."""

    pausable = False
    _first: np.ndarray | None = None
    _damaged = 0

    @abstractmethod
    def next_content(self) -> bytes:
        """Return the next picture file; raises as :meth:`Source.read`."""

    def read(self) -> np.ndarray:
        """See :meth:`Source.read`."""
        first, self._first = self._first, None
        if first is not None:
            return first
        from edge_fmnist.vision.preprocess import to_frame

        try:
            picture = to_frame(decode_picture(self.next_content(), self.name))
        except ImageError as error:
            self.problem = str(error)
            self._damaged += 1
            if self._damaged == MAX_DAMAGED:
                raise SourceError(f"{error} ({MAX_DAMAGED} in a row)") from error
            return NO_PICTURE
        self._damaged = 0
        return picture

    def skip(self) -> bool:
        """See :meth:`Source.skip`."""
        first, self._first = self._first, None
        if first is None:
            self.next_content()
        return True


class MjpegStream(PictureStream):
    """The images of a multipart response, whose frame size may change. It cannot be reopened."""

    def __init__(self, response: http.client.HTTPResponse, name: str) -> None:
        """Take over a response whose headers have been read; ``name`` is for messages."""
        self.name = name
        self._response = response
        self._boundary = b""

    def open(self) -> None:
        """See :meth:`Source.open`."""
        while (picture := self.read()) is NO_PICTURE:
            pass
        self._first = picture

    def next_content(self) -> bytes:
        """Return the content of the next part that is not empty and may be an image."""
        # Some servers send an empty part, or only a line break, to keep the connection open.
        content = b""
        while not content.strip():
            try:
                content = self._next_part()
            except (OSError, http.client.HTTPException, ValueError, OverflowError) as error:
                raise SourceError(f"{self.name}: the stream broke off ({error or type(error).__name__})") from error
        return content

    def _next_part(self) -> bytes:
        boundary = self._skip_to_boundary()
        headers = http.client.parse_headers(self._response)
        length = headers.get("Content-Length", "").strip()
        content = self._read_exactly(int(length)) if length.isdecimal() and int(length) else self._read_to(boundary)
        if "Content-Type" not in headers or headers.get_content_maintype() == "image":
            return content
        # Some servers send measurements between the images.
        return content if identify(content[:HEADER_BYTES]) in PICTURE_FORMATS else b""

    def _skip_to_boundary(self) -> bytes:
        """Return the next line that is a boundary."""
        # Any line that starts with dashes: servers disagree with their own header on how many there are.
        boundary, self._boundary = self._boundary, b""
        if boundary:
            return boundary
        skipped = 0
        while not (line := self._read_line()).startswith(b"--"):
            skipped += len(line)
            if skipped > MAX_PREAMBLE_BYTES:
                raise ValueError("no boundary between parts")
        return line.rstrip()

    def _read_line(self) -> bytes:
        line = self._response.readline(MAX_LINE_BYTES)
        if not line:
            raise ConnectionError("the server closed the connection")
        return line

    def _read_exactly(self, length: int) -> bytes:
        if length > MAX_IMAGE_BYTES:
            raise ValueError(f"an image of {length} bytes, more than {MAX_IMAGE_BYTES}")
        content = self._response.read(length)
        if len(content) < length:
            raise ConnectionError("the server closed the connection in the middle of an image")
        return content

    def _read_to(self, boundary: bytes) -> bytes:
        """Return the content before the next boundary, or up to the end of a JPEG, without waiting for the boundary."""
        content = bytearray()
        while not (line := self._read_line()).startswith(boundary):
            # Some servers send no line break between image and boundary.
            end = line.find(boundary) if len(boundary) >= MIN_BOUNDARY else -1
            if end >= 0:
                content += line[:end]
                line = line[end:]
                break
            content += line
            if content.endswith(JPEG_END):
                return bytes(content)
            if len(content) > MAX_IMAGE_BYTES:
                raise ValueError(f"an image of more than {MAX_IMAGE_BYTES} bytes")
        self._boundary = line.rstrip()
        return bytes(content)

    def close(self) -> None:
        """See :meth:`Source.close`."""
        self._response.close()

    def interrupt(self) -> None:
        """Do nothing: the stream shuts the connection down."""
