"""Results as lines of JSON."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from edge_fmnist.errors import SinkClosedError, SinkError, UsageError
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.jsonl import JsonLines

MakeResult = Callable[..., LiveResult]


def lines(path: Path) -> list[dict[str, Any]]:
    text = path.read_text()
    assert not text or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_one_line_for_each_result_at_once(tmp_path: Path, make_result: MakeResult) -> None:
    path = tmp_path / "new" / "folder" / "out.jsonl"
    results = [make_result(index, label) for index, label in enumerate(("Coat", "unknown", None))]
    with JsonLines(str(path)) as sink:
        for count, result in enumerate(results, 1):
            sink.write(result)
            assert len(lines(path)) == count
    assert lines(path) == [result.as_dict() for result in results]


def test_a_file_that_exists_is_replaced_by_the_first_result(tmp_path: Path, make_result: MakeResult) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old text\n" * 1000)
    with JsonLines(path) as sink:
        assert path.read_text().startswith("old text")
        sink.write(make_result())
        assert len(lines(path)) == 1


def test_without_a_result_an_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old")
    JsonLines(path).close()
    assert path.read_text() == "old"


def test_close_twice(tmp_path: Path) -> None:
    sink = JsonLines(tmp_path / "out.jsonl")
    sink.close()
    sink.close()


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a folder, expected a file"):
        JsonLines(tmp_path)


def test_a_path_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(SinkError, match=r"out\.jsonl: cannot be opened for writing"):
        JsonLines(tmp_path / "file" / "out.jsonl")


@pytest.mark.parametrize("extra", [1, 100, 0])
def test_full_disk_leaves_whole_lines(
    tmp_path: Path, make_result: MakeResult, file_size_limit: Callable[[int], AbstractContextManager[None]], extra: int
) -> None:
    path = tmp_path / "out.jsonl"
    result = make_result(3)
    length = len(json.dumps(result.as_dict())) + 1
    sink = JsonLines(path)
    with file_size_limit(5 * length + extra):
        for _ in range(5):
            sink.write(result)
        with pytest.raises(SinkError, match=r"cannot be written.*the 5 lines before are whole"):
            sink.write(result)
    sink.close()
    assert lines(path) == [result.as_dict()] * 5


def test_device_without_room(make_result: MakeResult) -> None:
    with JsonLines("/dev/full") as sink, pytest.raises(SinkError, match="No space left on device"):
        sink.write(make_result())


def test_device_that_takes_all(make_result: MakeResult) -> None:
    with JsonLines("/dev/null") as sink:
        sink.write(make_result())


def test_a_pipe_that_nobody_reads(tmp_path: Path, make_result: MakeResult) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sink = JsonLines(path)
    sink.write(make_result())
    os.close(reader)
    with pytest.raises(SinkClosedError, match="nobody reads it any more"):
        sink.write(make_result())
    sink.close()


def test_standard_output(capfd: pytest.CaptureFixture[str], make_result: MakeResult) -> None:
    results = [make_result(index) for index in range(3)]
    with JsonLines("-") as sink:
        for result in results:
            sink.write(result)
    print("still open")
    *written, last = capfd.readouterr().out.splitlines()
    assert [json.loads(line) for line in written] == [result.as_dict() for result in results]
    assert last == "still open"


def test_standard_output_that_is_redirected_within_python(
    capsys: pytest.CaptureFixture[str], make_result: MakeResult
) -> None:
    with JsonLines("-") as sink:
        sink.write(make_result())
    assert json.loads(capsys.readouterr().out)["label"] == "Coat"


def with_descriptor(monkeypatch: pytest.MonkeyPatch, descriptor: int) -> io.TextIOWrapper:
    stream = io.TextIOWrapper(os.fdopen(descriptor, "wb", closefd=False))
    monkeypatch.setattr(sys, "stdout", stream)
    return stream


def test_standard_output_that_nobody_reads(monkeypatch: pytest.MonkeyPatch, make_result: MakeResult) -> None:
    reader, writer = os.pipe()
    stream = with_descriptor(monkeypatch, writer)
    sink = JsonLines("-")
    os.close(reader)
    with pytest.raises(SinkClosedError, match="standard output: nobody reads it any more"):
        sink.write(make_result())
    stream.flush()  # nothing is left in it that would fail at the interpreter's end
    sink.close()
    os.close(writer)


def test_standard_output_on_a_full_disk(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_result: MakeResult,
    file_size_limit: Callable[[int], AbstractContextManager[None]],
) -> None:
    path = tmp_path / "redirected"
    path.write_text('{"before": true}\n')
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    with_descriptor(monkeypatch, descriptor)
    sink = JsonLines("-")
    with file_size_limit(100), pytest.raises(SinkError, match="standard output: cannot be written"):
        sink.write(make_result())
    os.close(descriptor)
    assert lines(path) == [{"before": True}]


def test_standard_output_that_blocks(monkeypatch: pytest.MonkeyPatch, make_result: MakeResult) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with_descriptor(monkeypatch, writer)
    sink = JsonLines("-")
    result = make_result()

    def write_until_full() -> None:
        for _ in range(1000):
            sink.write(result)

    with pytest.raises(SinkError, match=os.strerror(errno.EAGAIN)):
        write_until_full()
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("closed", [None, io.StringIO()])
def test_no_standard_output(monkeypatch: pytest.MonkeyPatch, closed: object) -> None:
    monkeypatch.setattr(sys, "stdout", closed)
    with pytest.raises(SinkError, match="standard output is closed"):
        JsonLines("-")
