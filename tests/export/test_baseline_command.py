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
from edge_fmnist.errors import DataError, ModelError, ModelNotFoundError, UsageError
from edge_fmnist_export.baselines import runner
from edge_fmnist_export.baselines.boosting import Boosting
from edge_fmnist_export.baselines.fitted import load_baseline
from edge_fmnist_export.baselines.forest import Forest
from edge_fmnist_export.baselines.hog import HogSvm
from edge_fmnist_export.baselines.neighbours import Neighbours
from edge_fmnist_export.baselines.registry import BASELINES, find_baseline

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
    monkeypatch.setattr("edge_fmnist_export.baselines.permutation.IMAGES", 40)
    train, test = bars(240, 5, 1), bars(80, 5, 2)
    return make_idx(train_images=train[0], train_labels=train[1], test_images=test[0], test_labels=test[1])


def fit(cli: Cli, name: str, data: Path, output: Path, *options: object) -> dict[str, Any]:
    """Run the command and return its JSON."""
    result = cli("baseline", name, "--data", data, "--output", output, "--threads", 1, "--json", *options)
    assert result.exit_code == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_learns_and_comes_back_from_its_folder(cli: Cli, small: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "out"
    results = fit(cli, name, small, folder)
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
    for picture in ("confusion.png", "importance.png"):
        shown = cv2.imread(str(folder / picture))
        assert shown is not None
        assert shown.std() > 1
    importance = np.loadtxt(folder / "importance.csv", delimiter=",")
    assert importance.shape == (28, 28)
    # The squares are whole blocks of those that are shuffled.
    assert importance[INFORMATIVE].sum() > 0.7 * np.abs(importance).sum()


def test_the_model_is_no_pickle(cli: Cli, small: Path, tmp_path: Path) -> None:
    fit(cli, "xgboost", small, tmp_path / "trees")
    assert "learner" in json.loads((tmp_path / "trees" / "model.json").read_text("utf-8"))
    fit(cli, "random-forest", small, tmp_path / "forest")
    # A zip of JSON and arrays.
    assert (tmp_path / "forest" / "model.skops").read_bytes().startswith(b"PK\x03\x04")


def test_the_grid_chooses_by_cross_validation(
    cli: Cli, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where all of a fold vote alike, every image gets the same answer.
    monkeypatch.setattr(Neighbours, "grid", {"n_neighbors": [146, 3], "weights": ["uniform"]})
    results = fit(cli, "knn", small, tmp_path / "out", "--grid")
    best, worst = results["grid_search"]["trials"]
    assert [trial["settings"]["n_neighbors"] for trial in (best, worst)] == [3, 146]
    assert best["accuracy"] > 0.9
    assert worst["accuracy"] < 0.3
    assert results["settings"] == {"n_neighbors": 3, "weights": "uniform"}
    assert results["grid_search"]["folds"] == 3


def test_a_large_set_is_searched_on_a_part(
    cli: Cli, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    whole = Neighbours.fit

    def counted(self: Neighbours, material: Any, settings: Any) -> Any:
        seen.append(len(material.classes))
        return whole(self, material, settings)

    monkeypatch.setattr(Neighbours, "fit", counted)
    monkeypatch.setattr(Neighbours, "grid", {"n_neighbors": [1, 3]})
    monkeypatch.setattr(runner, "SEARCH_IMAGES", 90)
    fit(cli, "knn", small, tmp_path / "out", "--grid")
    assert seen == [60] * 6 + [220]


def test_for_people_there_is_a_table(cli: Cli, small: Path, tmp_path: Path) -> None:
    result = cli("baseline", "knn", "--data", small, "--output", tmp_path / "out", "--train-images", 100)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "top-1 on 80 test images" in result.stderr
    assert "weighted average" in result.stderr
    assert "Fitted on 100 images" in result.stderr


def test_labels_of_another_set_name_its_classes(cli: Cli, small: Path, tmp_path: Path) -> None:
    names = ["one", "two", "three", "four", "five"]
    path = tmp_path / "names.txt"
    path.write_text("\n".join(names), "utf-8")
    results = fit(cli, "logistic", small, tmp_path / "out", "--labels", path)
    assert [metrics["label"] for metrics in results["test"]["classes"]] == names
    assert load_baseline(tmp_path / "out").labels == tuple(names)


def test_the_same_seed_gives_the_same_model(cli: Cli, small: Path, tmp_path: Path) -> None:
    first, second = (fit(cli, "random-forest", small, tmp_path / name) for name in ("first", "second"))
    assert first["test"] == second["test"]
    ours, theirs = ((tmp_path / name / "importance.csv").read_bytes() for name in ("first", "second"))
    assert ours == theirs


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("svm",), 2, "unknown baseline 'svm'; expected one of xgboost, random-forest, logistic, knn, hog-svm"),
        (("knn", "--train-images", 221), 2, "expected 15 to 220 training images, got 221"),
        (("knn", "--train-images", 3), 2, "expected 15 to 220 training images, got 3"),
        (("knn", "--labels", "none.txt"), 3, "none.txt: no such file"),
    ],
)
def test_what_cannot_work_is_told_and_nothing_written(
    cli: Cli, small: Path, tmp_path: Path, options: tuple[object, ...], code: int, message: str
) -> None:
    result = cli("baseline", *options, "--data", small, "--output", tmp_path / "out")
    assert result.exit_code == code, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize(("name", "module"), [("xgboost", "xgboost"), ("hog-svm", "skimage"), ("knn", "skops")])
def test_without_the_extra_it_says_what_to_install(
    cli: Cli, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    monkeypatch.setattr("edge_fmnist.extras.missing", lambda modules: [m for m in modules if m == module])
    result = cli("baseline", name, "--data", small, "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert f"the baseline {name} needs the package {module!r}" in result.stderr
    assert "pip install 'edge-fmnist[report]'" in result.stderr


def test_data_that_are_not_there_are_told(cli: Cli, tmp_path: Path) -> None:
    assert cli("baseline", "knn", "--data", tmp_path / "none").exit_code == 3


def test_one_class_is_no_task(make_idx: MakeIdx) -> None:
    train = load("train", make_idx(train_labels=np.zeros(60)))
    with pytest.raises(DataError, match="at least two classes, got 1"):
        runner.split(train, runner.Options())


def test_interrupted_it_leaves_no_results(
    cli: Cli, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Forest, material: Any, settings: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Forest, "fit", interrupted)
    result = cli("baseline", "random-forest", "--data", small, "--output", tmp_path / "out")
    assert result.exit_code == 130
    assert "Interrupted" in result.stderr
    assert not list((tmp_path / "out").glob("*"))


def test_progress_is_told_to_the_end(small: Path) -> None:
    told: dict[str, list[tuple[int, int | None]]] = {}

    def advance(step: str, done: int, of: int | None) -> None:
        told.setdefault(step, []).append((done, of))

    baseline, options = find_baseline("random-forest"), runner.Options()
    runner.run(baseline, load("train", small), load("test", small), options, advance)
    assert told["growing trees"] == [(10, 25), (20, 25), (25, 25)]
    assert told["predicting"][-1] == (80, 80)


def test_a_folder_without_a_baseline_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"it has no results\.json"):
        load_baseline(tmp_path)


@pytest.mark.parametrize("name", ["xgboost", "knn"])
def test_a_damaged_model_is_told(cli: Cli, small: Path, tmp_path: Path, name: str) -> None:
    fit(cli, name, small, tmp_path / "out")
    path = tmp_path / "out" / BASELINES[name].file_name
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ModelError, match="not a whole model"):
        load_baseline(tmp_path / "out")
    path.unlink()
    with pytest.raises(ModelNotFoundError, match="fit the baseline again"):
        load_baseline(tmp_path / "out")


def test_damaged_results_are_told(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"baseline": "svm"}', "utf-8")
    with pytest.raises(ModelError, match="not the results of a baseline"):
        load_baseline(tmp_path)


def test_a_type_that_nobody_vouches_for_is_refused(cli: Cli, small: Path, tmp_path: Path) -> None:
    from skops import io

    fit(cli, "knn", small, tmp_path / "out")
    io.dump(Path("harmless"), tmp_path / "out" / "model.skops")
    with pytest.raises(ModelError, match="Untrusted types"):
        load_baseline(tmp_path / "out")


def test_a_forest_whose_nodes_lead_out_of_it_is_refused(cli: Cli, small: Path, tmp_path: Path) -> None:
    fit(cli, "random-forest", small, tmp_path / "out")
    path = tmp_path / "out" / "model.skops"
    forest = Forest()
    model = forest.load(path)
    tree = model.estimators_[3].tree_
    state = tree.__getstate__()
    state["nodes"]["left_child"][0] = tree.node_count + 7
    tree.__setstate__(state)
    forest.save(model, path)
    with pytest.raises(ModelError, match="tree 3 has nodes that lead out of it"):
        load_baseline(tmp_path / "out")


def test_a_class_that_was_not_trained_on_is_never_the_answer(make_idx: MakeIdx) -> None:
    images, targets = bars(200, 5, 3)
    folder = make_idx(train_images=images, train_labels=targets * 2, test_images=images[:50], test_labels=targets[:50])
    outcome = runner.run(find_baseline("logistic"), load("train", folder), load("test", folder), runner.Options())
    assert outcome.fitted.classes == (0, 2, 4, 6, 8)
    assert set(outcome.fitted.predict(images[:50])) == {0, 2, 4, 6, 8}


def test_more_images_than_there_are_is_a_usage_error(small: Path) -> None:
    with pytest.raises(UsageError, match="20 of 240 are held out for validation"):
        runner.split(load("train", small), runner.Options(train_images=230))


def test_histograms_of_gradients_do_not_depend_on_the_brightness() -> None:
    image = bars(1, 5, 4)[0]
    rows = HogSvm().features(np.concatenate([image, image // 2]))
    assert rows.shape == (2, 1296)
    assert np.corrcoef(rows)[0, 1] > 0.95
