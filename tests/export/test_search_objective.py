"""What a search trains, and what it writes for its front."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_fmnist.data import dataset
from edge_fmnist.data.dataset import Split
from edge_fmnist.errors import ModelError, RunError, UsageError
from edge_fmnist.model.registry import read_model
from edge_fmnist_export.quantize import latency
from edge_fmnist_export.quantize.latency import Latency
from edge_fmnist_export.search.front import plot_front, write_recipes
from edge_fmnist_export.search.objective import SearchObjective, brief_recipe, full_recipe, stratified_subset
from edge_fmnist_export.search.runs import train_or_resume
from edge_fmnist_export.search.study import Candidate
from edge_fmnist_export.training.recipe import load_recipe
from edge_fmnist_export.training.run_folder import create_run

NETWORK = "resnet:8/2;8/2,12/2"
FRONT = [
    Candidate(3, NETWORK, 0.9, 0.5, 50.0, 30_000, 7, 8),
    Candidate(1, "resnet:16;16/2,16/2", 0.8, 0.4, 40.0, 20_000, 7, 8),
]


def split(count: int) -> Split:
    """Return black images of all ten classes in turn."""
    return Split(np.zeros((count, 28, 28), np.uint8), (np.arange(count) % 10).astype(np.uint8), ("a", "b"))


@pytest.mark.slow
@pytest.mark.usefixtures("keras")
def test_a_candidate_is_trained_once_and_its_file_is_measured(tiny_data: Path, tmp_path: Path) -> None:
    objective = SearchObjective(tmp_path, dataset.load("train", tiny_data), read_model("nano").content, 1, 3)
    folder = tmp_path / "candidates" / "candidate-0007"
    first = objective.evaluate(7, NETWORK)
    trained = (folder / "float.npz").stat().st_mtime_ns
    again = objective.evaluate(7, NETWORK)
    assert (folder / "float.npz").stat().st_mtime_ns == trained
    assert (first.number, first.architecture, first.parameters) == (7, NETWORK, again.parameters)
    assert 0 <= first.accuracy == again.accuracy <= 1
    assert first.bytes == (folder / "model.tflite").stat().st_size
    assert 0 < first.ratio < 100
    recipe = load_recipe(str(folder / "recipe.toml"))
    assert (recipe.training.epochs, recipe.qat.epochs, recipe.seed, recipe.data.validation) == (1, 0, 3, 50)


def test_a_run_of_another_recipe_is_neither_used_nor_overwritten(tmp_path: Path) -> None:
    create_run(tmp_path / "run", full_recipe(1, NETWORK))
    before = (tmp_path / "run" / "recipe.toml").read_bytes()
    with pytest.raises(RunError, match=r"another recipe \(it differs in name\).* or delete .*run to train it again"):
        train_or_resume(tmp_path / "run", full_recipe(2, NETWORK), split(100), "title")
    assert (tmp_path / "run" / "recipe.toml").read_bytes() == before


@pytest.mark.parametrize(
    ("images", "momentum"), [(60_000, 0.99), (48_000, 0.98836), (12_000, 0.95345), (240, 0.0)], ids=str
)
def test_batch_normalization_averages_over_a_quarter_of_a_brief_epoch(images: int, momentum: float) -> None:
    recipe = brief_recipe(1, NETWORK, images, epochs=2, seed=5)
    assert recipe.training.batch_norm_momentum == pytest.approx(momentum, abs=1e-5)


def test_a_subset_has_as_many_images_of_each_class() -> None:
    for count, each in ((0, 24), (240, 24), (120, 12)):
        chosen = stratified_subset(split(240), count, seed=1)
        assert np.bincount(chosen.targets).tolist() == [each] * 10
        assert chosen.sha256 == ("a", "b")
    for count in (241, 3):
        with pytest.raises(UsageError, match=f"expected 0 for all 240, or 120 to 230, got {count}"):
            stratified_subset(split(240), count, seed=1)


def test_the_front_is_written_as_recipes_for_full_training(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("", "utf-8")
    first, second = write_recipes(tmp_path, FRONT)
    recipe = load_recipe(str(first))
    assert (recipe.name, recipe.architecture) == ("candidate-0003", NETWORK)
    assert recipe.training.epochs > 20
    assert recipe.qat.epochs > 0
    assert "90.00% validation accuracy" in recipe.description
    # Recipes that are no longer on the front are removed, other files stay.
    write_recipes(tmp_path, FRONT[1:])
    assert {path.name for path in tmp_path.iterdir()} == {second.name, "mine.toml"}


def test_the_plot_is_reproducible_and_shows_the_front(tmp_path: Path) -> None:
    png, svg = plot_front(FRONT, FRONT, tmp_path)
    assert png.read_bytes().startswith(b"\x89PNG")
    first = svg.read_bytes()
    plot_front(FRONT, FRONT, tmp_path)
    assert svg.read_bytes() == first
    plot_front(FRONT, FRONT[:1], tmp_path)
    assert svg.read_bytes() != first


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Replace the timed calls: each turn takes longer, a slow model twice as long, and a bad one fails."""
    taken: list[bytes] = []

    def turn(content: bytes) -> np.ndarray:
        taken.append(content)
        if content == b"bad":
            raise RuntimeError("broken")
        return np.full(3, 1000 * taken.count(content) * (1 + (content == b"slow")))

    monkeypatch.setattr(latency, "_call", lambda content, source: content)
    monkeypatch.setattr(latency, "_turn", turn)
    return taken


def test_latency_is_compared_in_each_round(turns: list[bytes]) -> None:
    found = latency.compare_latency({"one": b"slow", "other": b"same"}, b"reference")
    assert found == {"one": Latency(16.0, 2.0), "other": Latency(8.0, 1.0)}
    assert len(turns) == 3 * latency.ROUNDS


@pytest.mark.usefixtures("turns")
def test_a_model_that_fails_while_it_is_timed_is_named() -> None:
    with pytest.raises(ModelError, match=r"one: failed while running, so the file is damaged \(broken\)"):
        latency.compare_latency({"one": b"bad"}, b"reference")
