"""Failing writes, full disks and kills: what was written before stays, and the next run goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest

from edge_fmnist.errors import SinkError
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.base import Sink
from edge_fmnist.sinks.jsonl import JsonLines, json_line
from edge_fmnist.sinks.snapshots import Snapshots
from edge_fmnist.sinks.video import VideoRecorder

SUFFIXES = [".mp4", ".mkv", ".avi"]
FPS = 10
Limit = Callable[[int], AbstractContextManager[None]]


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file, all of which are complete."""
    content = path.read_bytes()
    assert not content or content.endswith(b"\n")
    return [json.loads(line) for line in content.splitlines()]


def frames(path: Path) -> int:
    """Return the number of frames that a player shows; a cut last one is not shown."""
    video, count = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG), 0
    while video.isOpened() and video.read()[0]:
        count += 1
    video.release()
    return count


def written(sink: Sink, results: list[LiveResult]) -> int:
    """Write results until one fails; return how many did not."""
    for count, result in enumerate(results):
        try:
            sink.write(result)
        except SinkError:
            return count
    return len(results)


def failing(call: Callable[..., Any], number: int) -> Callable[..., Any]:
    """Return a function that fails at its n-th call, as a full disk or a broken card does."""
    calls = 0

    def fail(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            raise OSError(5, "Input/output error")
        return call(*arguments, **options)

    return fail


def test_lines_on_a_disk_that_is_full_at_any_byte(
    tmp_path: Path, results: list[LiveResult], file_size_limit: Limit
) -> None:
    length = json_line(results[0], "0" * 8).nbytes
    for room in range(0, 4 * length, 149):
        path = tmp_path / f"{room}.jsonl"
        sink = JsonLines(path)
        with file_size_limit(room):
            count = written(sink, results[:5])
        sink.close()
        assert [line["frame"] for line in lines(path)] == [result.frame.index for result in results[:count]]
        with JsonLines(path) as sink:
            sink.write(results[0])
        assert len(lines(path)) == count + 1


@pytest.mark.parametrize("call", ["fsync", "fstat"])
def test_lines_where_a_call_fails(
    tmp_path: Path, results: list[LiveResult], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    for number in (1, 2, 3):
        path = tmp_path / f"{number}.jsonl"
        sink = JsonLines(path)
        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing(getattr(os, call), number))
            count = written(sink, results[:5])
        sink.close()
        assert len(lines(path)) == count


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_video_whose_writing_stops_at_any_byte(
    tmp_path: Path, results: list[LiveResult], suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes, pwrite = list[tuple[int, bytes]](), os.pwrite

    def recorded(file: int, content: memoryview, position: int) -> int:
        writes.append((position, bytes(content)))
        return pwrite(file, content, position)

    path = tmp_path / f"out{suffix}"
    sink = VideoRecorder(path, FPS)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", recorded)
        written(sink, results[:30])
    sink.close()
    content, per_piece = bytearray(), len(writes) // 3
    for number, (position, part) in enumerate(writes, 1):
        # Every third byte of what describes the frames, and some of the frames.
        for cut in {*range(0, min(len(part), 220), 3), *range(0, len(part), len(part) // 4), len(part)}:
            path.write_bytes(content[:position] + part[:cut] + content[position + cut :])
            complete = number if cut == len(part) else number - 1
            assert frames(path) >= FPS * (complete // per_piece)
        content[position : position + len(part)] = part


def test_snapshots_where_the_nth_write_fails(
    tmp_path: Path, results: list[LiveResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = replace(results[0], label="Coat")
    for number in range(1, 6):
        folder = tmp_path / str(number)
        sink = Snapshots(folder)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", failing(Path.write_bytes, number))
            count = written(sink, [shown])
        assert count == (number == 5)
        assert len(list(folder.iterdir())) == 4 * count


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_piece_that_cannot_be_written_leaves_no_trace(
    tmp_path: Path, results: list[LiveResult], suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite = os.pwrite

    def half(file: int, content: memoryview, position: int) -> int:
        pwrite(file, content[: len(content) // 2], position)
        raise OSError(5, "Input/output error")

    kept, cut = tmp_path / f"kept{suffix}", tmp_path / f"cut{suffix}"
    with VideoRecorder(kept, FPS) as sink:
        written(sink, results[:10])
    sink = VideoRecorder(cut, FPS)
    assert written(sink, results[:10]) == 10
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", half)
        assert written(sink, results[10:20]) < 10
    sink.close()
    assert frames(cut) == 10
    assert cut.read_bytes() == kept.read_bytes()
