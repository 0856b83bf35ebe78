"""Picture files: find them by file, folder or glob, and decode them."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edge_fmnist.errors import ImageError, SourceError
from edge_fmnist.vision.opencv import silence

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
STDIN = "-"
MAX_BYTES = 256 << 20
JPEG_MAGIC = b"\xff\xd8\xff"


def find_pictures(argument: str) -> Iterator[str]:
    """Yield the picture files that a file, a folder, a glob or ``-`` stands for.

    A folder gives the pictures directly in it, sorted by name. A path that is
    not there is yielded as it is, so that reading it can report it.

    Raises:
        SourceError: a folder without pictures, or a glob that matches nothing.
    """
    path = Path(argument)
    if argument == STDIN or path.is_file():
        yield argument
    elif path.is_dir():
        yield from _in_folder(path)
    elif glob.has_magic(argument):
        matches = sorted(glob.glob(argument, recursive=True))  # noqa: PTH207 - takes absolute patterns too
        files = [match for match in matches if Path(match).is_file()]
        if not files:
            raise SourceError(f"{argument}: no file matches this pattern")
        yield from files
    else:
        yield argument


def _in_folder(folder: Path) -> Iterator[str]:
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not pictures:
        raise SourceError(f"{folder}: no pictures in this folder (looked for {', '.join(sorted(SUFFIXES))})")
    yield from map(str, pictures)


def read_picture(source: str) -> np.ndarray:
    """Read and decode one picture.

    Args:
        source: a path, or ``-`` for standard input.

    Returns:
        uint8 or uint16; shape (H, W) grey, (H, W, 3) BGR or (H, W, 4) BGRA.

    Raises:
        SourceError: the file is not there.
        ImageError: it cannot be read or is no picture.
    """
    if source == STDIN:
        data = sys.stdin.buffer.read(MAX_BYTES + 1)
    else:
        path = Path(source)
        if not path.exists():
            raise SourceError(f"{source}: no such file")
        try:
            with path.open("rb") as stream:
                data = stream.read(MAX_BYTES + 1)
        except OSError as error:
            raise ImageError(f"{source}: cannot be read ({error.strerror or error})") from error
    if len(data) > MAX_BYTES:
        raise ImageError(f"{source}: larger than {MAX_BYTES >> 20} MiB, so not a picture for this package")
    return decode_picture(data, source)


def decode_picture(data: bytes, source: str) -> np.ndarray:
    """Decode the bytes of a picture file; ``source`` names it in messages.

    Raises:
        ImageError: no picture, or a damaged one.
    """
    import cv2

    if not data:
        raise ImageError(f"{source}: empty, expected a picture")
    content = np.frombuffer(data, np.uint8)
    # A damaged file is told of once, by the error below.
    silence()
    try:
        # IMREAD_UNCHANGED keeps alpha but leaves photographs as the Exif orientation found them.
        # JPEG, what cameras write, has no alpha; the other formats tell only when decoded.
        picture = None if data.startswith(JPEG_MAGIC) else cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
        if picture is None or picture.shape[2:] != (4,):
            picture = cv2.imdecode(content, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise ImageError(f"{source}: cannot be decoded as a picture ({error.err})") from error
    if picture is None:
        raise ImageError(f"{source}: not a picture that OpenCV can decode, or a damaged one")
    return np.asarray(picture)
