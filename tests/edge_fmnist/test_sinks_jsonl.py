"""Results as lines of JSON."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_fmnist.errors import SinkClosedError, SinkError, UsageError
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks import jsonl
from edge_fmnist.sinks.jsonl import JsonLines, json_line, new_run_id

MakeResult = Callable[..., LiveResult]
FIRST = b'{"time": "2026-01-31T12:00:00", "frame": 1}'


def lines(path: Path) -> list[dict[str, Any]]:
    text = path.read_text()
    assert not text or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def without_time(line: str | dict[str, Any]) -> dict[str, Any]:
    """Return a line as a dictionary, after checking its time and the id of its run."""
    value: dict[str, Any] = json.loads(line) if isinstance(line, str) else dict(line)
    assert re.fullmatch("[0-9a-f]{8}", value.pop("run"))
    written = datetime.fromisoformat(value.pop("time"))
    assert written.utcoffset() == timedelta(0)
    assert abs((datetime.now(timezone.utc) - written).total_seconds()) < 60
    return value


def test_one_line_for_each_result_at_once(tmp_path: Path, make_result: MakeResult) -> None:
    path = tmp_path / "new" / "folder" / "out.jsonl"
    results = [make_result(index, label) for index, label in enumerate(("Coat", "unknown", None))]
    with JsonLines(str(path)) as sink:
        for count, result in enumerate(results, 1):
            sink.write(result)
            assert len(lines(path)) == count
    sink.close()
    assert [without_time(line) for line in lines(path)] == [result.as_dict() for result in results]


@pytest.mark.parametrize("recreate", [False, True])
def test_a_renamed_file_is_reopened(tmp_path: Path, make_result: MakeResult, recreate: bool) -> None:
    path, rotated = tmp_path / "out.jsonl", tmp_path / "out.jsonl.1"
    with JsonLines(path) as sink:
        sink.write(make_result(0))
        path.rename(rotated)
        if recreate:
            path.touch()
        sink.write(make_result(1))
        sink.write(make_result(2))
        path.unlink()
        sink.write(make_result(3))
    assert [line["frame"] for line in lines(rotated)] == [0]
    assert [line["frame"] for line in lines(path)] == [3]


def test_a_file_that_cannot_be_reopened(tmp_path: Path, make_result: MakeResult) -> None:
    path = tmp_path / "folder" / "out.jsonl"
    sink = JsonLines(path)
    sink.write(make_result(0))
    path.parent.rename(tmp_path / "moved")
    path.parent.write_text("a file")
    with pytest.raises(SinkError, match=r"out\.jsonl: .*Not a directory"):
        sink.write(make_result(1))
    sink.close()
    assert len(lines(tmp_path / "moved" / "out.jsonl")) == 1


def test_bad_paths(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected a file for JSON Lines, got a folder"):
        JsonLines(tmp_path)
    (tmp_path / "file").write_text("old")
    with pytest.raises(SinkError, match=r"out\.jsonl: cannot be opened for writing"):
        JsonLines(tmp_path / "file" / "out.jsonl")


def test_lines_are_appended_to_those_of_earlier_runs(tmp_path: Path, make_result: MakeResult) -> None:
    path = tmp_path / "out.jsonl"
    for run in range(3):
        with JsonLines(path, overwrite=run == 2) as sink:
            assert len(lines(path)) == 2 * run  # emptied by the first result, not before
            sink.write(make_result(0))
            sink.write(make_result(1))
        if run == 1:
            assert [line["frame"] for line in lines(path)] == [0, 1, 0, 1]
            assert len({line["run"] for line in lines(path)}) == 2
    assert len(lines(path)) == 2


@pytest.mark.parametrize(
    ("end", "kept", "message"),
    [
        (b'{"time": "2026-01-3', [], "removed an incomplete last line (19 bytes)"),
        (FIRST + b'\n{"time": "2026', [1], "removed an incomplete last line"),
        (FIRST + b"\n" + bytes(300), [1], "removed an incomplete last line (300 bytes)"),
        (bytes(300), [], "removed an incomplete last line (300 bytes)"),
        (FIRST + b'\n{"frame": 2}', [1, 2], None),
        (b"", [], None),
    ],
)
def test_the_end_of_a_killed_run(
    tmp_path: Path, make_result: MakeResult, end: bytes, kept: list[int], message: str | None
) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(end)
    warnings: list[str] = []
    with JsonLines(path, warn=warnings.append) as sink:
        sink.write(make_result(7))
    assert [line["frame"] for line in lines(path)] == [*kept, 7]
    assert len(warnings) == (message is not None)
    assert message is None or message in warnings[0]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "content",
    [
        b"notes\n",
        b'{\n  "pretty": 1\n}\n',
        b"{torn",
        b"\x89PNG\r\n\0",
        FIRST + b"\nnotes",
        b"[1]\n",
        b"\n",
        b'{"a": 1}\n',
        b'{"a": 1}',
    ],
)
def test_a_file_with_other_content_is_refused(tmp_path: Path, content: bytes, overwrite: bool) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="expected JSON Lines of this program or an empty file, got other content"):
        JsonLines(path, overwrite=overwrite)
    assert path.read_bytes() == content


@pytest.mark.parametrize("old", [True, False])
def test_a_link_stays_one(tmp_path: Path, make_result: MakeResult, old: bool) -> None:
    (tmp_path / "disk").mkdir()
    if old:
        (tmp_path / "disk" / "results.jsonl").touch()
    path = tmp_path / "out.jsonl"
    path.symlink_to("disk/results.jsonl")
    with JsonLines(path, max_bytes=4096, keep=1) as sink:
        for index in range(40):
            sink.write(make_result(index))
    assert path.is_symlink()
    assert sorted(file.name for file in (tmp_path / "disk").iterdir()) == ["results.jsonl", "results.jsonl.1"]


@pytest.mark.parametrize("keep", [0, 2])
def test_a_limit_on_the_size_rotates(tmp_path: Path, make_result: MakeResult, keep: int) -> None:
    path = tmp_path / "out.jsonl"
    length = json_line(make_result(), new_run_id()).nbytes
    with JsonLines(path, max_bytes=2 * length + 10, keep=keep) as sink:
        for index in range(9):
            sink.write(make_result(index))
    files = [path, *(tmp_path / f"out.jsonl.{number}" for number in range(1, keep + 1))]
    assert sorted(tmp_path.iterdir()) == files
    assert [[line["frame"] for line in lines(file)] for file in files] == [[8], [6, 7], [4, 5]][: keep + 1]


def test_only_a_change_of_label_is_synced(
    tmp_path: Path, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    monkeypatch.setattr(jsonl, "SYNC_SECONDS", 0)
    with JsonLines(tmp_path / "out.jsonl") as sink:
        for count, label in ((1, "Coat"), (1, "Coat"), (2, "Bag"), (2, "Bag"), (3, None)):
            sink.write(make_result(label=label))
            assert len(synced) == count
    assert len(synced) == 4


def test_a_change_soon_after_another_is_synced_later(
    tmp_path: Path, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch, clock: Any
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    monkeypatch.setattr(jsonl, "time", SimpleNamespace(monotonic=clock, time=clock))
    with JsonLines(tmp_path / "out.jsonl") as sink:
        for now, label, count in ((100.0, "Coat", 1), (100.5, "Bag", 1), (101.0, "Bag", 2), (103.0, "Bag", 2)):
            clock.now = now
            sink.write(make_result(label=label))
            assert len(synced) == count


def test_device_without_room(make_result: MakeResult) -> None:
    message = r"write failed \(No space left on device\); the 0 lines written before are complete"
    with JsonLines("/dev/full") as sink, pytest.raises(SinkError, match=message):
        sink.write(make_result())


def test_a_pipe_without_reader(tmp_path: Path, make_result: MakeResult) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sink = JsonLines(path)
    sink.write(make_result())
    os.close(reader)
    with pytest.raises(SinkClosedError, match="the reader has closed the pipe"):
        sink.write(make_result())
    sink.close()


def test_standard_output(capfd: pytest.CaptureFixture[str], make_result: MakeResult) -> None:
    results = [make_result(index) for index in range(3)]
    with JsonLines("-") as sink:
        for result in results:
            sink.write(result)
    print("still open")
    *written, last = capfd.readouterr().out.splitlines()
    assert [without_time(line) for line in written] == [result.as_dict() for result in results]
    assert last == "still open"


def with_descriptor(monkeypatch: pytest.MonkeyPatch, descriptor: int) -> io.TextIOWrapper:
    stream = io.TextIOWrapper(os.fdopen(descriptor, "wb", closefd=False))
    monkeypatch.setattr(sys, "stdout", stream)
    return stream


def test_standard_output_without_reader(monkeypatch: pytest.MonkeyPatch, make_result: MakeResult) -> None:
    reader, writer = os.pipe()
    stream = with_descriptor(monkeypatch, writer)
    sink = JsonLines("-")
    os.close(reader)
    with pytest.raises(SinkClosedError, match="standard output: the reader has closed the pipe"):
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
    with file_size_limit(100), pytest.raises(SinkError, match="standard output: write failed"):
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


class Tee:
    """Replaces standard output, with no more than ``print`` needs."""

    def flush(self) -> None: ...


@pytest.mark.parametrize(
    ("stream", "state"), [(None, "closed"), (io.StringIO(), "replaced by"), (Tee(), "replaced by")]
)
def test_no_standard_output(monkeypatch: pytest.MonkeyPatch, stream: object, state: str) -> None:
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(SinkError, match=f"standard output is {state}"):
        JsonLines("-")


@pytest.mark.parametrize("number", [1, 2])
def test_no_other_file_is_pushed_out_by_a_rotation(tmp_path: Path, number: int) -> None:
    other = tmp_path / f"out.jsonl.{number}"
    other.write_text("my only copy\n", "utf-8")
    with pytest.raises(UsageError, match=rf"out\.jsonl\.{number}: expected JSON Lines of this program"):
        JsonLines(tmp_path / "out.jsonl", max_bytes=4096, keep=2)
    # Fewer files do not reach it.
    JsonLines(tmp_path / "out.jsonl", max_bytes=4096, keep=number - 1).close()
    assert other.read_text("utf-8") == "my only copy\n"


def test_the_lines_that_are_kept_are_counted(
    tmp_path: Path, make_result: MakeResult, file_size_limit: Callable[[int], AbstractContextManager[None]]
) -> None:
    with JsonLines(tmp_path / "out.jsonl") as sink:
        sink.write(make_result())
        sink.write(make_result())
        with file_size_limit(100), pytest.raises(SinkError, match="the 2 lines written before are complete"):
            sink.write(make_result())


def test_a_line_longer_than_the_limit_pushes_no_file_out(tmp_path: Path, make_result: MakeResult) -> None:
    (tmp_path / "out.jsonl.1").write_bytes(FIRST + b"\n")
    with JsonLines(tmp_path / "out.jsonl", max_bytes=10, keep=1) as sink:
        sink.write(make_result(7))
    assert [line["frame"] for line in lines(tmp_path / "out.jsonl.1")] == [1]
