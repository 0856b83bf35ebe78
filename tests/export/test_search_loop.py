"""The loop of a search, with trials that train nothing."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from edge_fmnist.data.dataset import Split
from edge_fmnist.errors import DataError, RecipeError, RunError
from edge_fmnist_export.search import loop
from edge_fmnist_export.search.front import pareto_front
from edge_fmnist_export.search.loop import Search, check_first
from edge_fmnist_export.search.plot import plot_search
from edge_fmnist_export.search.progress import line
from edge_fmnist_export.search.propose import FIRST, Proposal
from edge_fmnist_export.search.recipes import brief_recipe, write_front
from edge_fmnist_export.search.state import Candidate, Measured, Settings, State, load_state
from edge_fmnist_export.search.trial import Bench, subset
from edge_fmnist_export.training.recipe import Recipe, load_recipe
from edge_fmnist_export.training.train_recipe import Listener

SETTINGS = Settings(seed=5, population=3, epochs=2, images=0, data_sha256=("a", "b"), reference_sha256="c")
START = State(settings=SETTINGS)
# Seconds that each trial takes, by the clock of these tests.
TRIAL = 10.0


def split(count: int) -> Split:
    """Return black images of all ten classes in turn."""
    return Split(np.zeros((count, 28, 28), np.uint8), (np.arange(count) % 10).astype(np.uint8), ("a", "b"))


@dataclass
class World:
    """A clock that only trials move, and what a search told."""

    now: float = 0.0
    trained: list[Recipe] = field(default_factory=list)
    done: list[Candidate] = field(default_factory=list)
    interrupt_at: int = 0

    def training(self, number: int, proposal: Proposal, state: State) -> AbstractContextManager[Listener]:
        if number == self.interrupt_at:
            raise KeyboardInterrupt
        return contextlib.nullcontext(cast(Listener, None))

    def measuring(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def candidate_done(self, candidate: Candidate, state: State) -> None:
        assert state.candidates[-1] == candidate
        self.done.append(candidate)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Return a world in which a network is the better the larger, and the quicker the smaller; one of them fails."""
    made = World()

    def train(folder: Path, recipe: Recipe, bench: Bench, listener: Listener) -> Any:
        made.trained.append(recipe)
        made.now += TRIAL
        if folder.name == "candidate-0002":
            raise RunError("training diverged")
        return recipe

    def measure(recipe: Recipe, bench: Bench) -> Measured:
        size = len(recipe.architecture)
        return Measured(accuracy=size / 100, ratio=size, microseconds=size, bytes=size, parameters=size, macs=size)

    monkeypatch.setattr(loop, "train_candidate", train)
    monkeypatch.setattr(loop, "measure_candidate", measure)
    return made


def search(folder: Path, world: World) -> Search:
    return Search(folder, Bench(split(240), b""), world, clock=lambda: world.now)


def test_candidates_are_tried_until_the_budget_is_spent(tmp_path: Path, world: World) -> None:
    state = search(tmp_path, world).run(START, 5.5 * TRIAL)
    assert len(state.candidates) == 5
    assert state.seconds <= 5.5 * TRIAL
    assert state.candidates[0].architecture == FIRST
    assert state.candidates[3].parent in {1, 3}
    assert load_state(tmp_path) == state
    assert list(state.candidates) == world.done


def test_what_fails_is_written_down_and_the_search_goes_on(tmp_path: Path, world: World) -> None:
    state = search(tmp_path, world).run(START, 3.5 * TRIAL)
    failed = state.candidates[1]
    assert (failed.measured, failed.failure) == (None, "training diverged")
    assert failed not in pareto_front(state.candidates)
    assert "failed: training diverged" in line(failed, state)
    assert "(front)" in line(pareto_front(state.candidates)[0], state)


def test_an_interrupted_search_goes_on_to_the_same_candidates(tmp_path: Path, world: World) -> None:
    whole = search(tmp_path / "whole", world).run(START, 6.5 * TRIAL)
    world.interrupt_at = 4
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "cut", world).run(START, 6.5 * TRIAL)
    kept = load_state(tmp_path / "cut")
    assert kept is not None
    assert kept.candidates == whole.candidates[:3]
    world.interrupt_at = 0
    assert search(tmp_path / "cut", world).run(kept, 6.5 * TRIAL) == whole


def test_a_spent_budget_tries_nothing(tmp_path: Path, world: World) -> None:
    spent = search(tmp_path, world).run(START, 3.5 * TRIAL)
    tried = len(world.trained)
    assert search(tmp_path, world).run(spent, 2 * TRIAL) == spent
    assert len(world.trained) == tried
    assert len(search(tmp_path, world).run(spent, 6.5 * TRIAL).candidates) > len(spent.candidates)


def test_recipes_are_brief_for_candidates_and_whole_for_the_front(tmp_path: Path, world: World) -> None:
    state = search(tmp_path, world).run(START, 4.5 * TRIAL)
    brief = world.trained[0]
    assert (brief.training.epochs, brief.qat.epochs, brief.seed, brief.data.validation) == (2, 0, 5, 20)
    front = pareto_front(state.candidates)
    paths = write_front(tmp_path, front)
    assert sorted(paths) == sorted(candidate.number for candidate in front)
    for candidate in front:
        recipe = load_recipe(str(paths[candidate.number]))
        assert recipe.architecture == candidate.architecture
        assert recipe.training.epochs > 20
        assert recipe.qat.epochs > 0
        assert "validation images right" in recipe.description


def test_recipes_that_left_the_front_are_removed(tmp_path: Path, world: World) -> None:
    front = pareto_front(search(tmp_path, world).run(START, 4.5 * TRIAL).candidates)
    before = write_front(tmp_path, front)
    mine = tmp_path / "front" / "mine.toml"
    mine.write_text("", "utf-8")
    write_front(tmp_path, front[:1])
    left = {path.name for path in (tmp_path / "front").iterdir()}
    assert left == {before[front[0].number].name, mine.name}


def test_the_plot_shows_each_candidate_of_the_front(tmp_path: Path, world: World) -> None:
    pytest.importorskip("matplotlib")
    state = search(tmp_path, world).run(START, 6.5 * TRIAL)
    front = pareto_front(state.candidates)
    png, svg = plot_search(state.candidates, front, tmp_path)
    assert png.read_bytes().startswith(b"\x89PNG")
    first = svg.read_bytes()
    assert b"<svg" in first
    assert plot_search(state.candidates, front, tmp_path)[1].read_bytes() == first
    assert plot_search(state.candidates, front[:1], tmp_path)[1].read_bytes() != first


@pytest.mark.parametrize(("count", "each"), [(0, 24), (240, 24), (100, 10)])
def test_a_subset_has_as_many_of_each_class(count: int, each: int) -> None:
    chosen = subset(split(240), count, seed=1)
    assert np.bincount(chosen.targets).tolist() == [each] * 10
    assert chosen.sha256 == ("a", "b")


@pytest.mark.parametrize(("count", "message"), [(241, "at most the 240 training images"), (3, "cannot take 3 of 240")])
def test_a_subset_that_cannot_be(count: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        subset(split(240), count, seed=1)


@pytest.mark.parametrize("count", [10, 60, 130])
def test_too_few_images_are_told_of_before_anything_is_trained(count: int) -> None:
    with pytest.raises(DataError):
        check_first(SETTINGS, Bench(split(count), b""))
    check_first(SETTINGS, Bench(split(240), b""))


@pytest.mark.parametrize(
    ("images", "momentum"), [(60_000, 0.99), (48_000, 0.98836), (12_000, 0.95345), (240, 0.0)], ids=str
)
def test_statistics_look_back_a_quarter_of_a_brief_epoch(images: int, momentum: float) -> None:
    recipe = brief_recipe(1, "resnet:4;8/2", SETTINGS, images)
    assert recipe.training.batch_norm_momentum == pytest.approx(momentum, abs=1e-5)


def test_a_brief_recipe_of_no_network() -> None:
    with pytest.raises(RecipeError, match="no stage"):
        brief_recipe(1, "resnet:1", SETTINGS, 240)
