"""Downloads from mirrors and from Debian's package, and their failures."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from edge_fmnist.data import download as module
from edge_fmnist.data.dataset import DEBIAN_FOLDER, load
from edge_fmnist.data.download import download
from edge_fmnist.errors import DownloadError

Serve = Callable[..., str]
FIRST = "train-images-idx3-ubyte"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "new" / "place"


def silent(name: str, done: int, total: int | None) -> None:
    pass


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_downloads_four_checked_files(published: dict[str, bytes], serve: Serve, place: Path) -> None:
    last: dict[str, tuple[int, int | None]] = {}
    mirror = serve(published).rstrip("/")
    assert download(place, lambda name, done, total: last.update({name: (done, total)}), [mirror]) == place
    assert {path.name: path.read_bytes() for path in place.iterdir()} == published
    assert len(load("train", place)) == 60
    assert last == {name.removesuffix(".gz"): (len(body), len(body)) for name, body in published.items()}


def test_fetches_only_what_is_missing(
    published: dict[str, bytes], small_data: Path, serve: Serve, closed_port: str
) -> None:
    assert download(small_data, silent, [closed_port]) == small_data
    (small_data / f"{FIRST}.gz").unlink()
    download(small_data, silent, [serve({f"{FIRST}.gz": published[f"{FIRST}.gz"]})])
    assert left_behind(small_data) == sorted(published)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("closed", rf"no mirror delivered {FIRST}: .*refused.*Check the network, or"),
        ("404", rf"{FIRST}\.gz: Not Found"),
        ("cut", r"the connection ended after \d+ of \d+ bytes"),
        ("page", rf"wrong hash: expected SHA-256 .* Fashion-MNIST's {FIRST} unpacked"),
        ("other", rf"wrong hash: expected SHA-256 .* Fashion-MNIST's {FIRST} unpacked"),
    ],
)
def test_the_next_mirror_replaces_one_that_fails(
    published: dict[str, bytes], serve: Serve, closed_port: str, place: Path, fault: str, message: str
) -> None:
    failing = {
        "closed": lambda: closed_port,
        "404": lambda: serve({}),
        "cut": lambda: serve(published, cut=10),
        "page": lambda: serve(dict.fromkeys(published, b"<html>please sign in</html>")),
        "other": lambda: serve(dict.fromkeys(published, gzip.compress(b"other"))),
    }[fault]()
    with pytest.raises(DownloadError, match=message):
        download(place, silent, [failing])
    assert left_behind(place) == []
    download(place, silent, [failing, serve(published)])
    assert {path.name: path.read_bytes() for path in place.iterdir()} == published


def test_whole_files_stay_when_a_later_one_fails(published: dict[str, bytes], serve: Serve, place: Path) -> None:
    with pytest.raises(DownloadError, match="no mirror delivered train-labels-idx1-ubyte"):
        download(place, silent, [serve({f"{FIRST}.gz": published[f"{FIRST}.gz"]})])
    assert left_behind(place) == [f"{FIRST}.gz"]


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("edge_fmnist.data.download.MAX_COMPRESSED", "so not a file of Fashion-MNIST"),
        ("edge_fmnist.data.idx.MAX_BYTES", "unpacks to more than"),
    ],
)
def test_a_body_that_is_too_large(
    published: dict[str, bytes], serve: Serve, place: Path, monkeypatch: pytest.MonkeyPatch, limit: str, message: str
) -> None:
    monkeypatch.setattr(limit, 1000)
    with pytest.raises(DownloadError, match=message):
        download(place, silent, [serve(published)])
    assert left_behind(place) == []


@pytest.mark.parametrize("mirror", ["file:///etc/", "ftp://127.0.0.1/", "mirror"])
def test_other_schemes_are_refused(place: Path, mirror: str) -> None:
    with pytest.raises(DownloadError, match="expected an http or https URL"):
        download(place, silent, [mirror])
    assert left_behind(place) == []


def test_folder_that_cannot_be_made(published: dict[str, bytes], serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadError, match=r"file: cannot be written to .File exists"):
        download(tmp_path / "file", silent, [serve(published)])


def test_a_full_disk_is_no_fault_of_the_mirror(
    published: dict[str, bytes],
    serve: Serve,
    place: Path,
    file_size_limit: Callable[[int], AbstractContextManager[None]],
) -> None:
    with file_size_limit(1000), pytest.raises(DownloadError, match=r"place: cannot be written to \(File too large\)"):
        download(place, silent, [serve(published)])
    assert left_behind(place) == []


def test_interrupted_download_leaves_nothing(published: dict[str, bytes], serve: Serve, place: Path) -> None:
    def interrupt(name: str, done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(place, interrupt, [serve(published)])
    assert left_behind(place) == []


@pytest.mark.parametrize("limit", ["TIMEOUT_SECONDS", "LIMIT_SECONDS"])
def test_a_mirror_that_drips(
    published: dict[str, bytes], serve: Serve, place: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(module, limit, 0.2)
    if limit == "LIMIT_SECONDS":
        monkeypatch.setattr(module, "MIN_BYTES_PER_SECOND", 0)
    with pytest.raises(DownloadError, match=r"too slow: \d+ bytes in 0 s"):
        download(place, silent, [serve(published, drip=True)])
    assert left_behind(place) == []


def test_a_mirror_that_says_nothing_is_not_waited_for(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float | None] = []

    def refuse(url: str, timeout: float | None = None) -> None:
        limits.append(timeout)
        raise TimeoutError("timed out")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(DownloadError, match="timed out"):
        download(place, silent, ["http://localhost/"])
    assert limits == [module.TIMEOUT_SECONDS]


@pytest.fixture
def debian(
    published: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed_port: str
) -> Callable[..., Path]:
    """Return a function that puts a stub of apt-get on the path; the mirrors do not answer."""
    monkeypatch.setattr(module, "MIRRORS", (closed_port,))
    package = tmp_path / "package" / DEBIAN_FOLDER.relative_to("/")
    package.mkdir(parents=True)
    for name, content in published.items():
        (package / name).write_bytes(content)
    stubs = tmp_path / "bin"
    stubs.mkdir()
    monkeypatch.setenv("PATH", f"{stubs}:/usr/bin:/bin")

    def stub(apt: str = 'test "$1 $2" = "download dataset-fashion-mnist" && touch fashion.deb') -> Path:
        for name, script in (("apt-get", apt), ("dpkg-deb", f'test -e "$2" && cp -r {tmp_path / "package"} "$3"')):
            (stubs / name).write_text(f"#!/bin/sh\n{script}\n", "utf-8")
            (stubs / name).chmod(0o755)
        return package

    return stub


def test_debians_package_is_used_if_the_mirrors_fail(
    debian: Callable[..., Path], published: dict[str, bytes], place: Path
) -> None:
    debian()
    download(place, silent)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == published


def test_debians_package_is_checked_by_hash(debian: Callable[..., Path], place: Path) -> None:
    (debian() / f"{FIRST}.gz").write_bytes(gzip.compress(b"other"))
    with pytest.raises(DownloadError, match=r"Debian's package dataset-fashion-mnist: .*wrong hash"):
        download(place, silent)
    assert left_behind(place) == []


@pytest.mark.parametrize(
    ("apt", "message"),
    [
        ("echo E: Unable to locate package >&2; exit 100", r"`apt-get` failed \(E: Unable to locate package\)"),
        ("true", "apt-get downloaded nothing"),
    ],
)
def test_debian_without_the_package(debian: Callable[..., Path], place: Path, apt: str, message: str) -> None:
    debian(apt)
    with pytest.raises(DownloadError, match=rf"no mirror delivered {FIRST}: .*refused.*{message}"):
        download(place, silent)


def test_a_system_without_apt(
    debian: Callable[..., Path], place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DownloadError, match="apt-get and dpkg-deb are not installed"):
        download(place, silent)
