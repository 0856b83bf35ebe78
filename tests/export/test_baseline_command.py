"""``edge-fmnist baseline``: what it fits, writes, reads back and refuses, on a small set made here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from sklearn import metrics as sk

from edge_fmnist.data.dataset import load
from edge_fmnist.errors import DataError
from edge_fmnist_export.baselines import runner
from edge_fmnist_export.baselines.fitted import load_baseline
from edge_fmnist_export.baselines.methods import BASELINES, Boosting, Forest, Neighbours
from edge_fmnist_export.baselines.runner import _stratified

pytestmark = pytest.mark.slow

Cli = Callable[..., Any]
MakeIdx = Callable[..., Path]
# The rows in which the classes differ.
INFORMATIVE = slice(12, 16)


def bars(count: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy images with a bright square of 4x4 at a column that the class decides, and their classes."""
    rng = np.random.default_rng(seed)
    targets = (np.arange(count) % classes).astype(np.uint8)
    images = rng.integers(0, 60, (count, 28, 28), dtype=np.uint8)
    for image, target in zip(images, targets, strict=True):
        image[INFORMATIVE, 4 + 4 * target : 8 + 4 * target] = rng.integers(180, 256)
    return images, targets


@pytest.fixture
def small(make_idx: MakeIdx, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of five classes that every method learns in a moment, some of them made smaller."""
    monkeypatch.setattr(Boosting, "defaults", {**Boosting.defaults, "n_estimators": 8})
    monkeypatch.setattr(Forest, "defaults", {**Forest.defaults, "n_estimators": 25})
    monkeypatch.setattr("edge_fmnist_export.baselines.base.BLOCK_IMAGES", 40)
    train, test = bars(240, 5, 1), bars(80, 5, 2)
    return make_idx(train_images=train[0], train_labels=train[1], test_images=test[0], test_labels=test[1])


def fit(run_cli: Cli, name: str, data: Path, output: Path, *options: object) -> dict[str, Any]:
    """Run the command and return its JSON."""
    result = run_cli("baseline", name, "--data", data, "--output", output, "--threads", 1, "--json", *options)
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_learns_and_comes_back_from_its_folder(run_cli: Cli, small: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "out"
    results = fit(run_cli, name, small, folder)
    test = load("test", small)
    predicted = load_baseline(folder).predict(test.images)
    assert results["test"]["top1"] == pytest.approx(sk.accuracy_score(test.targets, predicted))
    assert results["test"]["top1"] >= 0.9
    assert results["test"]["confusion"] == sk.confusion_matrix(test.targets, predicted, labels=range(10)).tolist()
    assert (results["train_images"], results["validation"]["images"]) == (220, 20)
    assert results["classes"] == [0, 1, 2, 3, 4]
    assert json.loads((folder / "results.json").read_text("utf-8")) == {
        key: value for key, value in results.items() if key != "folder"
    }
    assert {path.name for path in folder.iterdir()} == {
        *("confusion.png", "importance.csv", "importance.png", "report.txt", "results.json"),
        BASELINES[name].file_name,
    }
    # No pickle, but JSON or a zip of JSON and arrays.
    assert (folder / BASELINES[name].file_name).read_bytes().startswith((b"{", b"PK\x03\x04"))
    for picture in ("confusion.png", "importance.png"):
        shown = cv2.imread(str(folder / picture))
        assert shown is not None
        assert shown.std() > 1
    importance = np.loadtxt(folder / "importance.csv", delimiter=",")
    assert importance.shape == (28, 28)
    # The squares are whole blocks of those that are shuffled.
    assert importance[INFORMATIVE].sum() > 0.7 * np.abs(importance).sum()


def test_the_grid_chooses_by_cross_validation(
    run_cli: Cli, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where all of a fold vote alike, every image gets the same answer.
    monkeypatch.setattr(Neighbours, "grid", {"n_neighbors": [146, 3], "weights": ["uniform"]})
    results = fit(run_cli, "knn", small, tmp_path / "out", "--grid")
    best, worst = results["grid_search"]["trials"]
    assert [trial["settings"]["n_neighbors"] for trial in (best, worst)] == [3, 146]
    assert best["accuracy"] > 0.9
    assert worst["accuracy"] < 0.3
    assert results["settings"] == {"n_neighbors": 3, "weights": "uniform"}
    assert results["grid_search"]["folds"] == 3


def test_a_large_set_is_searched_on_a_part(
    run_cli: Cli, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All 60 images of a fold vote, so every image gets the same prediction; 60 of 147 neighbours would do well.
    monkeypatch.setattr(Neighbours, "grid", {"n_neighbors": [60], "weights": ["uniform"]})
    monkeypatch.setattr(runner, "SEARCH_IMAGES", 90)
    results = fit(run_cli, "knn", small, tmp_path / "out", "--grid")
    (trial,) = results["grid_search"]["trials"]
    assert trial["accuracy"] < 0.3
    assert results["train_images"] == 220


@pytest.mark.parametrize("name", ["report.txt", "results.json"])
def test_files_of_somebody_else_are_not_replaced(run_cli: Cli, small: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"my": 1}', "utf-8")
    done = run_cli("baseline", "logistic", "--data", small, "--output", tmp_path, code=2)
    assert f"holds other files ({name})" in done.stderr
    assert (tmp_path / name).read_text("utf-8") == '{"my": 1}'


def test_a_class_too_rare_for_a_sample_is_reported() -> None:
    with pytest.raises(DataError, match="cannot take 5 of 9 training images of each class: The least populated"):
        _stratified(np.array([0, 0, 0, 0, 1, 1, 1, 1, 2]), 5, 0)


def test_human_readable_output(run_cli: Cli, small: Path, tmp_path: Path) -> None:
    result = run_cli("baseline", "knn", "--data", small, "--output", tmp_path / "out", "--train-images", 100)
    assert "top-1 on 80 test images" in result.stdout
    assert "weighted average" in result.stdout
    assert "Fitted on 100 images" in result.stderr


def test_labels_of_another_set_name_its_classes(run_cli: Cli, small: Path, tmp_path: Path) -> None:
    names = ["one", "two", "three", "four", "five"]
    path = tmp_path / "names.txt"
    path.write_text("\n".join(names), "utf-8")
    results = fit(run_cli, "logistic", small, tmp_path / "out", "--labels", path)
    assert [metrics["label"] for metrics in results["test"]["classes"]] == names
    assert load_baseline(tmp_path / "out").labels == tuple(names)
