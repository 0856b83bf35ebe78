from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_fmnist.data import dataset
from edge_fmnist.errors import RunError
from edge_fmnist.model.registry import read_model
from edge_fmnist_export.search.space import FIRST
from edge_fmnist_export.search.study import JOURNAL, Candidate, open_study, run_search
from edge_fmnist_export.training.recipe import load_recipe

OPTIONS = ("search", "--budget", "0.0000001", "--epochs", "8", "--population", "3", "--images", "400", "--seed", "3")


@pytest.fixture(autouse=True)
def no_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not import Keras, since nothing is trained here."""
    monkeypatch.setattr("edge_fmnist_export.training.backend.warm_up_keras", lambda: None)


@pytest.fixture
def searched(tmp_path: Path, tiny_data: Path) -> Path:
    """Return the folder of a search that has spent its budget on one candidate."""
    folder = tmp_path / "search"
    settings = {
        "seed": 3,
        "population": 3,
        "epochs": 8,
        "images": 400,
        "data_sha256": list(dataset.load("train", tiny_data).sha256),
        "reference_sha256": hashlib.sha256(read_model("edge").content).hexdigest(),
    }

    def measured(number: int, architecture: str) -> Candidate:
        return Candidate(number, architecture, 0.875, 1.25, 50.0, 30_000, 7, 8)

    list(run_search(folder, open_study(folder, settings), 1e-6, measured))
    return folder


def test_a_spent_budget_writes_the_front(run_cli: Callable[..., Any], tiny_data: Path, searched: Path) -> None:
    answer = run_cli(*OPTIONS, "--data", tiny_data, "--output", searched, "--json")
    found = json.loads(answer.stdout)
    assert (found["candidates"], found["settings"]["seed"], found["output"]) == (1, 3, str(searched))
    (entry,) = found["front"]
    assert (entry["architecture"], entry["accuracy"], entry["bytes"]) == (str(FIRST), 0.875, 30_000)
    assert load_recipe(entry["recipe"]).architecture == str(FIRST)
    assert [Path(path).name for path in found["plots"]] == ["front.png", "front.svg"]

    shown = run_cli(*OPTIONS, "--data", tiny_data, "--output", searched)
    assert "Pareto front of 1 candidates" in shown.stdout


def test_candidates_that_all_failed(
    cli: Callable[..., Any], tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*_: object) -> None:
        raise RunError("training diverged")

    monkeypatch.setattr("edge_fmnist_export.search.objective.SearchObjective.evaluate", diverge)
    answer = cli(*OPTIONS, "--data", tiny_data, "--output", tmp_path / "search")
    message = f"candidate 1 {FIRST} failed: training diverged"
    assert message in answer.stderr
    assert f"no candidate was measured; {message}" in answer.stderr
    assert answer.exit_code == 1


def test_other_options_do_not_resume_a_search(run_cli: Callable[..., Any], tiny_data: Path, searched: Path) -> None:
    answer = run_cli(*OPTIONS, "--data", tiny_data, "--output", searched, "--seed", 4, code=1)
    assert "seed was 3, now 4" in answer.stderr


@pytest.mark.parametrize("budget", ["0", "-1", "nan", "inf"])
def test_a_budget_that_is_none(run_cli: Callable[..., Any], budget: str, tmp_path: Path) -> None:
    result = run_cli("search", "--budget", budget, "--output", tmp_path / "none", code=2)
    assert "expected minutes above 0" in result.stderr
    assert not (tmp_path / "none").exists()


def test_another_folder_or_file_is_left_alone(run_cli: Callable[..., Any], tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("mine", "utf-8")
    for output, message in ((tmp_path, f"has no {JOURNAL}"), (notes, "expected a folder, got a file")):
        result = run_cli("search", "--budget", 1, "--output", output, code=2)
        assert message in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--images", "601"), 2, "--images: expected 0 for all 600, or 120 to 590, got 601"),
        (("--images", "20"), 2, "got 20"),
        (("--data", "nowhere"), 3, "nowhere"),
    ],
)
def test_nothing_is_written_without_the_images(
    run_cli: Callable[..., Any], tiny_data: Path, tmp_path: Path, options: tuple[str, ...], code: int, message: str
) -> None:
    result = run_cli("search", "--budget", 1, "--data", tiny_data, "--output", tmp_path / "new", *options, code=code)
    assert message in result.stderr
    assert not (tmp_path / "new").exists()
