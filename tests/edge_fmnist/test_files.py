"""Files are whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_fmnist.data.files import moved_into_place, write_bytes, write_json, write_text


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def fail_midway(path: Path, error: BaseException) -> None:
    with moved_into_place(path) as temporary:
        temporary.write_text("half")
        raise error


def test_write_bytes_makes_the_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.bin"
    write_bytes(path, b"\0content")
    assert path.read_bytes() == b"\0content"
    assert list(path.parent.iterdir()) == [path]


def test_write_json_reads_back_as_utf8(tmp_path: Path) -> None:
    value = {"b": [1, 2.5, None], "a": "é"}
    write_json(tmp_path / "value.json", value)
    text = (tmp_path / "value.json").read_text("utf-8")
    assert json.loads(text) == value
    assert text.endswith("}\n")


def test_temporary_file_is_beside_the_path_with_its_suffix(tmp_path: Path) -> None:
    with moved_into_place(tmp_path / "file.gz") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".gz"
        assert not (tmp_path / "file.gz").exists()


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_failure_keeps_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(error):
        fail_midway(path, error())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_path_that_is_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(IsADirectoryError):
        write_text(folder, "text")
    assert list(tmp_path.iterdir()) == [folder]


def test_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(FileExistsError):
        write_text(tmp_path / "file" / "child", "text")
    assert (tmp_path / "file").read_text() == "old"


@pytest.mark.usefixtures("umask")
def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "text")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
    assert os.umask(0o027) == 0o027
