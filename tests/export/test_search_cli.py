from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_fmnist_export.search.propose import FIRST
from edge_fmnist_export.training.recipe import load_recipe

# Seconds that a busy machine may take to import TensorFlow and to train one epoch of a few images.
PATIENCE = 600
OPTIONS = ("--budget", "0.0001", "--epochs", "8", "--population", "1", "--images", "400", "--seed", "3")
HISTORY = Path("candidates") / "candidate-0001" / "history.json"


def arguments(folder: Path, data: Path, *more: str) -> list[str]:
    return ["search", *OPTIONS, "--data", str(data), "--output", str(folder), *more]


def epochs(folder: Path) -> list[dict[str, Any]]:
    """Return what the history of the first candidate holds so far."""
    path = folder / HISTORY
    records: list[dict[str, Any]] = json.loads(path.read_text("utf-8")) if path.is_file() else []
    return records


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path, subprocess_environment: dict[str, str]) -> Path:
    """Return the folder of a search that was killed in the middle of its first candidate."""
    place = tmp_path_factory.mktemp("search")
    folder, log = place / "killed", place / "log"
    command = [sys.executable, "-m", "edge_fmnist", *arguments(folder, tiny_data)]
    with (
        log.open("w") as output,
        subprocess.Popen(command, env=subprocess_environment, stdout=output, stderr=output) as process,
    ):
        try:
            end = time.monotonic() + PATIENCE
            while not epochs(folder):
                assert process.poll() is None, log.read_text("utf-8")
                assert time.monotonic() < end, "no epoch was trained in time"
                time.sleep(0.01)
        finally:
            process.kill()
    return folder


@pytest.fixture(scope="module")
def before(killed: Path) -> list[dict[str, Any]]:
    """Return the epochs that were done when the search was killed."""
    return epochs(killed)


@pytest.fixture(scope="module")
def resumed(killed: Path, before: list[dict[str, Any]], tiny_data: Path, run_command: Callable[..., Any]) -> Any:
    """Return what the same command says when it goes on."""
    assert before
    answer = run_command(*arguments(killed, tiny_data, "--json"))
    assert answer.code == 0, answer.stderr
    return answer


def test_a_killed_search_goes_on_where_it_was(killed: Path, before: list[dict[str, Any]], resumed: Any) -> None:
    after = epochs(killed)
    assert len(before) < len(after) == 8
    # With their very times: they were not trained again. The last may have been cut off before its checkpoint.
    assert after[: len(before) - 1] == before[:-1]


def test_the_front_is_measured_and_written_as_recipes(killed: Path, resumed: Any) -> None:
    found = resumed.json
    assert (found["candidates"], found["settings"]["seed"], found["output"]) == (1, 3, str(killed))
    (entry,) = found["front"]
    assert entry["architecture"] == FIRST
    assert 0 <= entry["accuracy"] <= 1
    assert 0 < entry["ratio"] < 100
    assert entry["bytes"] == (killed / "candidates" / "candidate-0001" / "model.tflite").stat().st_size
    assert load_recipe(entry["recipe"]).architecture == FIRST
    assert "candidate 1 " in resumed.stderr
    assert "Traceback" not in resumed.stderr


def test_a_spent_budget_shows_the_front_again(
    killed: Path, tiny_data: Path, resumed: Any, warm_command: Callable[..., Any]
) -> None:
    answer = warm_command(*arguments(killed, tiny_data))
    assert answer.code == 0, answer.stderr
    assert "The front of 1 candidates" in answer.stderr
    assert FIRST in answer.stderr
    assert answer.stdout == ""


def test_another_seed_is_refused(killed: Path, tiny_data: Path, resumed: Any, warm_command: Callable[..., Any]) -> None:
    answer = warm_command(*arguments(killed, tiny_data), "--seed", "4")
    assert answer.code == 1
    assert "seed was 3, now 4" in answer.stderr


def test_a_damaged_state_is_refused(
    killed: Path, tiny_data: Path, resumed: Any, warm_command: Callable[..., Any], tmp_path: Path
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(killed, folder)
    state = folder / "state.json"
    state.write_bytes(state.read_bytes()[:-30])
    content = state.read_bytes()
    answer = warm_command(*arguments(folder, tiny_data))
    assert answer.code == 1
    assert f"{state}: expected the state of a search" in answer.stderr
    assert state.read_bytes() == content


@pytest.mark.parametrize("budget", ["0", "-1", "nan", "inf"])
def test_a_budget_that_is_none(cli: Callable[..., Any], budget: str, tmp_path: Path) -> None:
    result = cli("search", "--budget", budget, "--output", tmp_path / "none")
    assert result.exit_code == 2
    assert "expected minutes above 0" in result.stderr
    assert not (tmp_path / "none").exists()


def test_without_the_extra(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("edge_fmnist.extras.find_spec", lambda _: None)
    result = cli("search", "--budget", "1", "--output", tmp_path / "none")
    assert result.exit_code == 2
    assert "pip install 'edge-fmnist[export]'" in result.stderr
    assert not (tmp_path / "none").exists()


def test_a_folder_of_something_else_is_left_alone(
    warm_command: Callable[..., Any], tiny_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine", "utf-8")
    answer = warm_command(*arguments(tmp_path, tiny_data))
    assert answer.code == 2
    assert "holds no search" in answer.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_file_in_place_of_the_folder(warm_command: Callable[..., Any], tiny_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine", "utf-8")
    answer = warm_command(*arguments(path, tiny_data))
    assert answer.code == 2
    assert "a file; name a folder" in answer.stderr


@pytest.mark.parametrize(("images", "message"), [("601", "at most the 600"), ("20", "cannot")])
def test_images_that_are_not_there(
    warm_command: Callable[..., Any], tiny_data: Path, tmp_path: Path, images: str, message: str
) -> None:
    answer = warm_command(*arguments(tmp_path / "new", tiny_data), "--images", images)
    assert answer.code == 1
    assert message in answer.stderr
    assert not (tmp_path / "new").exists()


def test_no_data(warm_command: Callable[..., Any], tmp_path: Path) -> None:
    answer = warm_command(*arguments(tmp_path / "new", tmp_path / "nothing"))
    assert answer.code == 3
    assert not (tmp_path / "new").exists()
