"""Fetch Fashion-MNIST from its mirrors, checked by hash, moved into place when whole."""

from __future__ import annotations

import gzip
import hashlib
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Sequence
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from edge_fmnist.data.dataset import FASHION_MNIST_SHA256, OTHER_WAYS, idx_path
from edge_fmnist.data.idx import MAX_BYTES
from edge_fmnist.errors import DownloadError
from edge_fmnist.files import moved_into_place

# The authors' bucket (https://github.com/zalandoresearch/fashion-mnist) and the copy that Keras uses.
MIRRORS = (
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)
TIMEOUT_SECONDS = 30.0
CHUNK = 1 << 16
# The largest of the four is 26 MB compressed.
MAX_COMPRESSED = 64 << 20

# Called with a file's name, the bytes so far and the bytes in all (None where the server does not say).
Progress = Callable[[str, int, "int | None"], None]


def download(folder: Path, progress: Progress, mirrors: Sequence[str] = MIRRORS) -> Path:
    """Download the files of Fashion-MNIST that ``folder`` lacks.

    Each file is tried on each mirror in turn, checked by the SHA-256 of its
    unpacked bytes, and moved into place when it is whole and right; nothing
    else stays behind.

    Args:
        folder: where the files go.
        progress: told of the bytes as they come.
        mirrors: base URLs, each ending in a slash.

    Returns:
        ``folder``, which now holds all four files.

    Raises:
        DownloadError: no mirror delivered a file; the message tells what each said.
    """
    for name in FASHION_MNIST_SHA256:
        if idx_path(folder, name) is None:
            _download_file(name, folder, progress, mirrors)
    return folder


def _download_file(name: str, folder: Path, progress: Progress, mirrors: Sequence[str]) -> None:
    failures = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{name}.gz"
        try:
            with moved_into_place(folder / f"{name}.gz") as temporary:
                _fetch(url, temporary, lambda done, total: progress(name, done, total))
                _check(temporary, name)
            return
        except (
            urllib.error.URLError,
            HTTPException,
            TimeoutError,
            ConnectionError,
            DownloadError,
            ValueError,
        ) as error:
            failures.append(f"{url}: {getattr(error, 'reason', None) or error}")
        except OSError as error:
            raise DownloadError(f"{folder}: cannot be written to ({error.strerror or error})") from error
    raise DownloadError(f"no mirror delivered {name}: {'; '.join(failures)}. Check the network, or {OTHER_WAYS}")


def _fetch(url: str, path: Path, progress: Callable[[int, int | None], None]) -> None:
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"expected an http or https URL, got {url}")
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response, path.open("wb") as file:  # noqa: S310
        length = response.headers.get("Content-Length")
        total, done = int(length) if length else None, 0
        while chunk := _received(response):
            done += len(chunk)
            if done > MAX_COMPRESSED:
                raise DownloadError(f"larger than {MAX_COMPRESSED >> 20} MiB, so not a file of Fashion-MNIST")
            file.write(chunk)
            progress(done, total)
    if total is not None and done != total:
        raise DownloadError(f"the connection ended after {done} of {total} bytes")


def _received(response: HTTPResponse) -> bytes:
    try:
        return response.read(CHUNK)
    except OSError as error:
        raise DownloadError(f"the connection broke ({error.strerror or error})") from error


def _check(path: Path, name: str) -> None:
    digest = hashlib.sha256()
    try:
        with gzip.open(path, "rb") as stream:
            read = 0
            while chunk := stream.read(CHUNK):
                read += len(chunk)
                if read > MAX_BYTES:
                    raise DownloadError("unpacks to more than 1 GiB")
                digest.update(chunk)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DownloadError(f"not a whole gzip file ({error})") from error
    if digest.hexdigest() != FASHION_MNIST_SHA256[name]:
        raise DownloadError(
            f"wrong hash: expected SHA-256 {FASHION_MNIST_SHA256[name][:16]}… unpacked, got {digest.hexdigest()[:16]}…"
        )
