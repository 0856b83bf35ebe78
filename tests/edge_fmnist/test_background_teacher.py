"""Teaching beside a loop: the process, the swap, and what lies in the folder; a script stands for the command."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_fmnist import LiveLoop, live
from edge_fmnist.errors import EdgeFmnistError, UsageError
from edge_fmnist.model.registry import shipped_models
from edge_fmnist.teaching.background import BackgroundTeacher

WRITE = """for word in "$@"; do case "$word" in --output=*) output="${word#--output=}" ;; esac; done
mkdir -p "$(dirname "$output")"; printf '%s ' "$@" > "$(dirname "$output")/../command"
"""
Teach = Callable[[str], dict[str, Any]]


@pytest.fixture
def loop() -> LiveLoop:
    return live([], model="nano")


@pytest.fixture
def teacher(tmp_path: Path, loop: LiveLoop) -> Iterator[BackgroundTeacher]:
    teacher = BackgroundTeacher(tmp_path, loop)
    yield teacher
    teacher.cancel()


@pytest.fixture
def teach(teacher: BackgroundTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Teach:
    """Return a function that teaches by a script, and returns the state after it."""

    def run(script: str, add: bool = False) -> dict[str, Any]:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{WRITE}{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))
        teacher.start(add)
        for thread in threading.enumerate():
            if thread.name == "teacher":
                thread.join()
        return teacher.as_dict()

    return run


def copy(model: str) -> str:
    return f"""cp {shipped_models()[model].path} "$output"; echo '{{"accuracy": 1.0}}'"""


def content(folder: Path, name: str) -> str | None:
    """Return which shipped model a file is."""
    path = folder / name
    names = {shipped.path.read_bytes(): name for name, shipped in shipped_models().items()}
    return names[path.read_bytes()] if path.exists() else None


def test_each_taught_model_is_used_and_the_former_one_kept(
    teacher: BackgroundTeacher, teach: Teach, loop: LiveLoop, tmp_path: Path
) -> None:
    state = teach(copy("edge"))
    assert (state["state"], state["report"], state["model"]) == ("taught", {"accuracy": 1.0}, "nano")
    assert "--model=nano" in (tmp_path / "command").read_text()
    teacher.use()
    taught = str(tmp_path / "taught.tflite")
    assert (loop.classifier.source, content(tmp_path, "taught.tflite")) == (taught, "edge")
    assert teacher.as_dict()["former"] == "nano"
    teach(copy("camera"))
    assert f"--model={taught} " in (tmp_path / "command").read_text()
    teacher.use()
    assert [content(tmp_path, name) for name in ("taught.tflite", "taught.former.tflite")] == ["camera", "edge"]
    before = loop.classifier
    for files in (["edge", "camera"], ["camera", "edge"]):
        teacher.restore()
        assert [content(tmp_path, name) for name in ("taught.tflite", "taught.former.tflite")] == files
        assert loop.classifier.content == shipped_models()[files[0]].path.read_bytes()
    assert loop.classifier is before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_discarded_model_does_not_come_back(teacher: BackgroundTeacher, teach: Teach, tmp_path: Path) -> None:
    for model in ("edge", "camera"):
        teach(copy(model))
        teacher.use()
        assert [content(tmp_path, name) for name in ("taught.tflite", "taught.former.tflite")] == [model, None]
        # The model that was in use at first is a shipped one, without a file in the folder.
        teacher.restore()
        assert [content(tmp_path, name) for name in ("taught.tflite", "taught.former.tflite")] == [None, model]


def test_files_of_the_user_beside_the_candidate_stay(teacher: BackgroundTeacher, teach: Teach, tmp_path: Path) -> None:
    (tmp_path / ".new").mkdir()
    (tmp_path / ".new/taught.tflite.notes").touch()
    teach("""echo part > "$(dirname "$output")/.taught.tflite.abcdefgh.tflite"; echo > "$output"; echo '{}'""")
    teacher.cancel()
    assert [path.name for path in (tmp_path / ".new").iterdir()] == ["taught.tflite.notes"]


def test_a_damaged_file_is_not_used(teacher: BackgroundTeacher, teach: Teach, loop: LiveLoop, tmp_path: Path) -> None:
    teach("""echo damaged > "$output"; echo '{}'""")
    with pytest.raises(EdgeFmnistError, match=r"taught\.tflite"):
        teacher.use()
    assert (loop.classifier.source, content(tmp_path, "taught.tflite")) == ("nano", None)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo Warning: x >&2; echo 'Error: hat has 2' >&2; exit 1", "hat has 2"),
        ("exit 7", "teaching ended with exit code 7"),
        ("echo '{'", "teaching ended with exit code 0"),
    ],
)
def test_a_failure_says_why(teacher: BackgroundTeacher, teach: Teach, script: str, message: str) -> None:
    state = teach(script)
    assert (state["state"], state["error"]) == ("idle", message)
    with pytest.raises(UsageError, match="nothing was taught yet"):
        teacher.use()


def test_one_at_a_time_until_it_is_stopped(teacher: BackgroundTeacher, teach: Teach, tmp_path: Path) -> None:
    def start_again_and_stop() -> None:
        while not (tmp_path / "command").exists():
            time.sleep(0.01)
        with pytest.raises(UsageError, match="teaching already"):
            teacher.start(False)
        teacher.cancel()

    second = threading.Thread(target=start_again_and_stop)
    second.start()
    started = time.monotonic()
    # Returns when the process has ended.
    state = teach("exec sleep 20")
    second.join()
    assert time.monotonic() - started < 10
    assert (state["state"], state["error"]) == ("idle", None)
    with pytest.raises(UsageError, match="no former model"):
        teacher.restore()
