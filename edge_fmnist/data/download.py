"""Download Fashion-MNIST from its mirrors or from Debian, checked by hash, moved into place when complete."""

from __future__ import annotations

import errno
import hashlib
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path

from edge_fmnist.data.dataset import DEBIAN_FOLDER, FASHION_MNIST_SHA256, OTHER_WAYS, check_hash, idx_path
from edge_fmnist.data.files import moved_into_place
from edge_fmnist.data.idx import read_bytes
from edge_fmnist.errors import DataError, DownloadError

# The authors' bucket (https://github.com/zalandoresearch/fashion-mnist) and the copy that Keras uses.
MIRRORS = (
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)
DEBIAN_PACKAGE = "dataset-fashion-mnist"
TIMEOUT_SECONDS = 30.0
# A file that comes more slowly than this, measured after the timeout, is not waited for; nor is one that takes longer
# than the limit.
MIN_BYTES_PER_SECOND = 4096
LIMIT_SECONDS = 1800.0
CHUNK = 1 << 16
# The largest of the four is 26 MB compressed.
MAX_COMPRESSED = 64 << 20

# Called with the name of a file, the bytes so far, and the total number of bytes (None if unknown).
Progress = Callable[[str, int, "int | None"], None]


def download(folder: Path, progress: Progress, mirrors: Sequence[str] | None = None) -> Path:
    """Download the files of Fashion-MNIST that a folder lacks.

    Each file is tried on each mirror in turn. Without ``mirrors``, the two built-in ones are tried, and then Debian's
    package, which ``apt-get download`` fetches without root. Files are checked by the SHA-256 of their unpacked bytes
    and moved into place when complete; nothing else is left behind.

    Returns:
        ``folder``, which now has all four files.

    Raises:
        DownloadError: no mirror delivered a file; says why for each.
    """
    for name in FASHION_MNIST_SHA256:
        if idx_path(folder, name) is not None:
            continue
        failures = _from_mirrors(name, folder, progress, MIRRORS if mirrors is None else mirrors)
        if failures and mirrors is None:
            try:
                _from_debian(folder)
                break
            except (OSError, subprocess.SubprocessError, DownloadError) as error:
                failures.append(f"Debian's package {DEBIAN_PACKAGE}: {error}")
        if failures:
            raise DownloadError(
                f"no mirror delivered {name}: {'; '.join(failures)}. Check the network, or {OTHER_WAYS}"
            )
    return folder


def _from_mirrors(name: str, folder: Path, progress: Progress, mirrors: Sequence[str]) -> list[str]:
    """Download one file; return why each mirror failed, empty after success."""
    failures = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{name}.gz"
        try:
            with moved_into_place(folder / f"{name}.gz") as temporary:
                try:
                    _fetch(url, temporary, lambda done, total: progress(name, done, total))
                    _check(temporary, name)
                except (OSError, HTTPException, ValueError) as error:
                    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                        # A local error, not one of the mirror.
                        raise
                    raise DownloadError(f"{getattr(error, 'reason', None) or error}") from error
            return []
        except DownloadError as error:
            failures.append(f"{url}: {error}")
        except OSError as error:
            raise DownloadError(f"{folder}: cannot be written to ({error.strerror or error})") from error
    return failures


def _fetch(url: str, path: Path, progress: Callable[[int, int | None], None]) -> None:
    if not url.startswith(("https://", "http://")):
        raise DownloadError(f"expected an http or https URL, got {url}")
    started = time.monotonic()
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response, path.open("wb") as file:  # noqa: S310
        length = response.headers.get("Content-Length")
        total, done = int(length) if length else None, 0
        # read1 returns what has arrived, where read would wait for the whole chunk.
        while chunk := response.read1(CHUNK):
            done += len(chunk)
            if done > MAX_COMPRESSED:
                raise DownloadError(f"larger than {MAX_COMPRESSED >> 20} MiB, so not a file of Fashion-MNIST")
            seconds = time.monotonic() - started
            if seconds > LIMIT_SECONDS or (seconds > TIMEOUT_SECONDS and done < seconds * MIN_BYTES_PER_SECOND):
                raise DownloadError(f"too slow: {done} bytes in {seconds:.0f} s")
            file.write(chunk)
            progress(done, total)
    if total is not None and done != total:
        raise DownloadError(f"the connection ended after {done} of {total} bytes")


def _check(path: Path, name: str) -> None:
    try:
        check_hash(name, hashlib.sha256(read_bytes(path)).hexdigest(), where=name)
    except DataError as error:
        raise DownloadError(str(error).removeprefix(f"{path}: ")) from error


def _from_debian(folder: Path) -> None:
    """Get all four files from Debian's package, as an ordinary user, into the folder.

    Raises:
        DownloadError: this is not Debian, or the package does not have the files.
        OSError: a file cannot be written.
        subprocess.SubprocessError: a command failed or took too long.
    """
    apt, dpkg = shutil.which("apt-get"), shutil.which("dpkg-deb")
    if apt is None or dpkg is None:
        raise DownloadError("apt-get and dpkg-deb are not installed")
    with tempfile.TemporaryDirectory() as temporary:
        _run([apt, "download", DEBIAN_PACKAGE], temporary)
        packages = list(Path(temporary).glob("*.deb"))
        if not packages:
            raise DownloadError("apt-get downloaded nothing")
        _run([dpkg, "-x", str(packages[0]), "unpacked"], temporary)
        unpacked = Path(temporary, "unpacked", *DEBIAN_FOLDER.parts[1:])
        for name in FASHION_MNIST_SHA256:
            path = idx_path(unpacked, name)
            if path is None:
                raise DownloadError(f"the package has no {name}")
            _check(path, name)
            with moved_into_place(folder / path.name) as target:
                shutil.copyfile(path, target)


def _run(command: list[str], folder: str) -> None:
    run = subprocess.run(  # noqa: S603
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    if run.returncode:
        lines = run.stderr.strip().splitlines() or [f"exit code {run.returncode}"]
        raise DownloadError(f"`{Path(command[0]).name}` failed ({lines[-1]})")
