"""Files are whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_fmnist.data.files import (
    advice,
    as_json,
    check_replaceable,
    moved_into_place,
    write_bytes,
    write_json,
    write_text,
)
from edge_fmnist.errors import UsageError


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def fail_midway(path: Path, error: BaseException) -> None:
    with moved_into_place(path) as temporary:
        temporary.write_text("half")
        raise error


def test_write_json_reads_back_as_utf8(tmp_path: Path) -> None:
    value = {"b": [1, 2.5, None], "a": "é"}
    path = tmp_path / "new" / "folder" / "value.json"
    write_json(path, value)
    text = path.read_text("utf-8")
    assert list(path.parent.iterdir()) == [path]
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


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match=r"No space left on device: '.*file\.bin'"),
        moved_into_place(tmp_path / "file.bin"),
    ):
        raise OSError(28, "No space left on device")


def test_paths_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("old")
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path / "folder", "text")
    with pytest.raises(FileExistsError):
        write_text(tmp_path / "file" / "child", "text")
    assert (tmp_path / "file").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2


def test_json_of_names_that_are_not_utf8() -> None:
    value = {"a": os.fsdecode(b"caf\xe9.jpg"), "b": ["é", "\ud800", 1, None]}
    assert json.loads(as_json(value)) == {"a": r"caf\xe9.jpg", "b": ["é", r"\ud800", 1, None]}


@pytest.mark.parametrize("name", ["x" * 255, f"x.{'y' * 250}", "é" * 120 + ".json"])
def test_a_name_as_long_as_the_file_system_allows(tmp_path: Path, name: str) -> None:
    write_text(tmp_path / name, "{}")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        write_bytes(tmp_path / "pipe", b"new")
    assert [path.is_fifo() for path in tmp_path.iterdir()] == [True]


@pytest.mark.usefixtures("umask")
def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "text")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
    (tmp_path / "file").chmod(0o600)
    write_text(tmp_path / "file", "a new text keeps them")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
    assert os.umask(0o027) == 0o027


def test_json_that_is_nested_too_deeply_is_no_earlier_result(tmp_path: Path) -> None:
    (tmp_path / "mark.json").write_text("[" * 200_000)
    with pytest.raises(UsageError, match=r"holds other files \(mark.json\)"):
        check_replaceable(tmp_path, ["mark.json"], "mark.json", "key")


def test_an_error_of_a_file_says_what_to_do(tmp_path: Path) -> None:
    full, closed = OSError(28, "No space left on device"), OSError(13, "Permission denied")
    assert advice(full, tmp_path) == "No space left on device: free some space"
    assert advice(closed, tmp_path / "new" / "file").endswith(f"or give this user access to {tmp_path}")
    assert advice(OSError("odd"), tmp_path) == "odd"
