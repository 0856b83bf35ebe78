"""Downloading from mirrors: right, wrong, cut short, absent."""

from __future__ import annotations

import gzip
import hashlib
import socket
from collections.abc import Callable
from http.client import HTTPResponse
from pathlib import Path

import pytest

from edge_fmnist.data import download as module
from edge_fmnist.data.dataset import FASHION_MNIST_SHA256, load
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
    assert download(place, silent, [serve(published)]) == place
    assert {path.name: path.read_bytes() for path in place.iterdir()} == published
    assert len(load("train", place)) == 60


def test_progress_counts_up_to_the_length(published: dict[str, bytes], serve: Serve, place: Path) -> None:
    last: dict[str, tuple[int, int | None]] = {}
    download(place, lambda name, done, total: last.update({name: (done, total)}), [serve(published)])
    assert last == {name.removesuffix(".gz"): (len(body), len(body)) for name, body in published.items()}


def test_mirror_without_a_trailing_slash(published: dict[str, bytes], serve: Serve, place: Path) -> None:
    download(place, silent, [serve(published).rstrip("/")])
    assert left_behind(place) == sorted(published)


def test_fetches_only_what_is_missing(
    published: dict[str, bytes], small_data: Path, serve: Serve, closed_port: str
) -> None:
    assert download(small_data, silent, [closed_port]) == small_data
    (small_data / f"{FIRST}.gz").unlink()
    download(small_data, silent, [serve({f"{FIRST}.gz": published[f"{FIRST}.gz"]})])
    assert left_behind(small_data) == sorted(published)


def test_no_network(closed_port: str, place: Path) -> None:
    with pytest.raises(
        DownloadError, match=rf"no mirror delivered {FIRST}: {closed_port}.*refused.*Check the network, or"
    ):
        download(place, silent, [closed_port])
    assert left_behind(place) == []


def test_unknown_host(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(DownloadError, match=rf"http://mirror\.invalid/{FIRST}\.gz: .*Name or service not known"):
        download(place, silent, ["http://mirror.invalid/"])
    assert left_behind(place) == []


def test_404(serve: Serve, place: Path) -> None:
    with pytest.raises(DownloadError, match=rf"{FIRST}\.gz: Not Found"):
        download(place, silent, [serve({})])
    assert left_behind(place) == []


def test_truncated_body(published: dict[str, bytes], serve: Serve, place: Path) -> None:
    length = len(published[f"{FIRST}.gz"])
    with pytest.raises(DownloadError, match=f"the connection ended after {length - 10} of {length} bytes"):
        download(place, silent, [serve(published, cut=10)])
    assert left_behind(place) == []


def test_truncated_file_served_whole(published: dict[str, bytes], serve: Serve, place: Path) -> None:
    short = {name: body[:-10] for name, body in published.items()}
    with pytest.raises(DownloadError, match="not a whole gzip file"):
        download(place, silent, [serve(short)])
    assert left_behind(place) == []


def test_page_in_place_of_the_file(published: dict[str, bytes], serve: Serve, place: Path) -> None:
    pages = dict.fromkeys(published, b"<html>please sign in</html>")
    with pytest.raises(DownloadError, match=r"not a whole gzip file .Not a gzipped file"):
        download(place, silent, [serve(pages)])
    assert left_behind(place) == []


def test_wrong_bytes(published: dict[str, bytes], serve: Serve, place: Path) -> None:
    got = hashlib.sha256(b"other").hexdigest()[:16]
    others = dict.fromkeys(published, gzip.compress(b"other"))
    with pytest.raises(
        DownloadError, match=f"wrong hash: expected SHA-256 {FASHION_MNIST_SHA256[FIRST][:16]}… unpacked, got {got}…"
    ):
        download(place, silent, [serve(others)])
    assert left_behind(place) == []


@pytest.mark.parametrize("fault", ["closed", "404", "cut", "wrong bytes"])
def test_second_mirror_makes_up_for_the_first(
    published: dict[str, bytes], serve: Serve, closed_port: str, place: Path, fault: str
) -> None:
    first = {
        "closed": lambda: closed_port,
        "404": lambda: serve({}),
        "cut": lambda: serve(published, cut=1),
        "wrong bytes": lambda: serve(dict.fromkeys(published, gzip.compress(b"other"))),
    }[fault]()
    download(place, silent, [first, serve(published)])
    assert {path.name: path.read_bytes() for path in place.iterdir()} == published


def test_message_tells_what_each_mirror_said(serve: Serve, closed_port: str, place: Path) -> None:
    empty = serve({})
    with pytest.raises(DownloadError) as caught:
        download(place, silent, [closed_port, empty])
    assert f"{closed_port}{FIRST}.gz: " in str(caught.value)
    assert f"{empty}{FIRST}.gz: Not Found" in str(caught.value)


def test_whole_files_stay_when_a_later_one_fails(published: dict[str, bytes], serve: Serve, place: Path) -> None:
    with pytest.raises(DownloadError, match="no mirror delivered train-labels-idx1-ubyte"):
        download(place, silent, [serve({f"{FIRST}.gz": published[f"{FIRST}.gz"]})])
    assert left_behind(place) == [f"{FIRST}.gz"]


def test_body_larger_than_any_file_of_the_set(
    published: dict[str, bytes], serve: Serve, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_COMPRESSED", 1000)
    with pytest.raises(DownloadError, match="so not a file of Fashion-MNIST"):
        download(place, silent, [serve(published)])
    assert left_behind(place) == []


def test_body_that_unpacks_to_too_much(
    published: dict[str, bytes], serve: Serve, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    with pytest.raises(DownloadError, match="unpacks to more than"):
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


def test_interrupted_download_leaves_nothing(published: dict[str, bytes], serve: Serve, place: Path) -> None:
    def interrupt(name: str, done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(place, interrupt, [serve(published)])
    assert left_behind(place) == []


def test_network_error_midway_goes_on_to_the_next_mirror(
    published: dict[str, bytes], serve: Serve, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, errors = HTTPResponse.read, [OSError(113, "No route to host")]

    def read_or_fail(response: HTTPResponse, amount: int | None = None) -> bytes:
        if errors:
            raise errors.pop()
        return read(response, amount)

    monkeypatch.setattr(HTTPResponse, "read", read_or_fail)
    download(place, silent, [serve(published), serve(published)])
    assert left_behind(place) == sorted(published)
