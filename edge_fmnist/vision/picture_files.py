"""Find still pictures: in folders, by patterns, and by content, never by the file name alone."""

from __future__ import annotations

import glob
import importlib.util
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from edge_fmnist.errors import SourceError

STDIN = "-"
# What can be decoded; HEIC with an extra.
PICTURE_FORMATS = frozenset({"AVIF", "BMP", "GIF", "HEIC", "JPEG", "JPEG 2000", "PNG", "PNM", "TIFF", "WebP"})
SIGNATURES = tuple(
    (re.compile(pattern, re.DOTALL), kind)
    for pattern, kind in (
        (rb"\xff\xd8\xff", "JPEG"),
        (rb"\x89PNG\r\n\x1a\n", "PNG"),
        (rb"RIFF....WEBP", "WebP"),
        (rb"GIF8[79]a", "GIF"),
        (rb"BM....\0\0\0\0", "BMP"),
        (rb"II[*+]\0|MM\0[*+]", "TIFF"),
        (rb"P[1-6]\s+[#\d]", "PNM"),
        (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000"),
        (rb"....ftyp(?:hei[cmsx]|hev[cx])", "HEIC"),
        (rb"....ftypavi[fs]|....ftypmi[af]f?1.{4}(?:.{4})*avif", "AVIF"),
        (rb"....ftyp(?:mif1|msf1)", "HEIC"),
        (rb"....ftypqt", "QuickTime video"),
        (rb"....ftyp", "MP4 video"),
        (rb"RIFF....AVI ", "AVI video"),
        (rb"\x1aE\xdf\xa3", "Matroska or WebM video"),
        (rb"\0\0\0\x0cJXL |\xff\x0a", "JPEG XL"),
        (rb"\0\x05\x16[\0\x07]", "macOS resource fork"),
        (rb"%PDF", "PDF"),
        (rb"\s*<(?:svg|\?xml)", "SVG or XML"),
    )
)
# Known, and neither pictures nor videos that can be decoded.
OTHER_FILES = frozenset({"JPEG XL", "macOS resource fork", "PDF", "SVG or XML"})
HEADER_BYTES = 64
# A part of a glob that stands for any number of folders.
RECURSIVE = re.compile(r"(?:^|/)\*\*(?:/+\*\*)*(?:/+|$)")
# Suffixes that promise a picture: such a file in a folder is never left out, so that a damaged one is reported.
SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("avif", "bmp", "gif", "j2c", "j2k", "jfif", "jp2", "jpe", "jpeg", "jpf", "jpg", "jpx", "mpo"),
        *("pbm", "pgm", "png", "pnm", "ppm", "tif", "tiff", "webp"),
    )
)

# Receives problems that do not end the work, such as one unreadable picture among many.
Warn = Callable[[str], None]
log_warning: Warn = logging.getLogger("edge_fmnist").warning


def identify(data: bytes) -> str | None:
    """Return the format of a file from its first 64 bytes, such as ``"JPEG"`` or ``"MP4 video"``; None if unknown."""
    return next((kind for pattern, kind in SIGNATURES if pattern.match(data[:HEADER_BYTES])), None)


def is_picture(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file is a still picture by its content, or else promises to be one by its suffix."""
    return _is_picture(identify_file(path), Path(path))


def find_pictures(argument: str, warn: Warn = log_warning) -> Iterator[str]:
    """Yield the picture files that a file, a folder, a glob or ``-`` stands for.

    A folder stands for the pictures directly in it, sorted by name; the files that it leaves out are counted and
    named in one warning. A path that is not there is yielded as it is, so that reading it reports it.

    Raises:
        SourceError: a folder without pictures or without permission, or a glob that matches nothing.
    """
    if argument == STDIN or os.path.isfile(argument):  # noqa: PTH113 - False for names that are too long
        yield argument
    elif os.path.isdir(argument):  # noqa: PTH112
        pictures = list_pictures(Path(argument), warn)
        if not pictures:
            raise SourceError(f"{argument}: no pictures in this folder")
        yield from map(str, pictures)
    elif glob.has_magic(argument):
        files = [match for match in sorted(matches(argument)) if _is_listed(Path(match))]
        if not files:
            raise SourceError(f"{argument}: no file matches this pattern")
        yield from files
    else:
        yield argument


def matches(pattern: str, top: str | None = None) -> set[str]:
    """Return the paths that a glob matches, relative to a folder; ``**`` stands for any folders, but follows no links.

    ``glob.glob`` would follow links to folders, also in circles, and list the same files several times.
    """
    parts = RECURSIVE.split(pattern, maxsplit=1)
    if len(parts) == 1:
        return set(glob.glob(pattern, root_dir=top))  # noqa: PTH207 - takes absolute patterns too
    start, rest = parts
    if not rest and pattern.endswith("/"):
        # Folders only.
        return set()
    roots = glob.glob(start, root_dir=top) if start else ["/" if pattern.startswith("/") else ""]  # noqa: PTH207
    found: set[str] = set()
    for root in roots:
        begin = os.path.join(top or "", root) or os.curdir  # noqa: PTH118
        for folder, names, _ in walk(begin):
            names[:] = [name for name in names if not name.startswith(".")]
            below = os.path.relpath(folder, begin)
            inside = root if below == os.curdir else os.path.join(root, below)  # noqa: PTH118
            found |= {os.path.join(inside, match) for match in matches(rest or "*", folder)}  # noqa: PTH118
    return found


def walk(top: str, onerror: Callable[[OSError], object] | None = None) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk as ``os.walk`` does.

    Raises:
        SourceError: folders are nested too deeply for Python.
    """
    try:
        yield from os.walk(top, onerror=onerror)
    except RecursionError as error:
        raise SourceError(f"{top}: folders are nested too deeply") from error


def list_pictures(folder: Path, warn: Warn = log_warning) -> list[Path]:
    """Return the pictures directly in a folder, sorted by name, and count the other files in one warning.

    Hidden files, such as ``._IMG_1.jpg`` of macOS, do not count.

    Raises:
        SourceError: the folder cannot be read.
    """
    pictures, skipped = [], Counter[str]()
    try:
        files = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and _is_listed(path))
    except OSError as error:
        raise SourceError(f"{folder}: cannot be read ({error.strerror or error})") from error
    heif = importlib.util.find_spec("pillow_heif") is not None
    for path in files:
        kind = identify_file(path)
        if kind == "HEIC" and not heif:
            skipped["HEIC (needs the extra edge-fmnist[heif])"] += 1
        elif _is_picture(kind, path):
            pictures.append(path)
        else:
            skipped[kind or path.suffix.lower() or "no suffix"] += 1
    if skipped:
        kinds = ", ".join(f"{count} {kind}" for kind, count in skipped.most_common())
        warn(f"{folder}: {skipped.total()} files skipped: {kinds}")
    return pictures


def _is_listed(path: Path) -> bool:
    """Return whether this is a file, or a picture that is a link to nothing, which reading it then reports."""
    return path.is_file() or (path.suffix.lower() in SUFFIXES and not path.exists())


def _is_picture(kind: str | None, path: Path) -> bool:
    return kind in PICTURE_FORMATS or (kind is None and path.suffix.lower() in SUFFIXES)


def identify_file(path: str | os.PathLike[str]) -> str | None:
    """Return the format of a file as :func:`identify` does; None for one that is not regular or cannot be read."""
    try:
        # Opening a pipe would wait for its writer.
        if not os.path.isfile(path):  # noqa: PTH113
            return None
        with open(path, "rb") as stream:  # noqa: PTH123
            return identify(stream.read(HEADER_BYTES))
    except OSError:
        return None
