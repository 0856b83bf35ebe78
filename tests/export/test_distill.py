from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from edge_fmnist.data import dataset
from edge_fmnist.errors import RecipeError, RunError
from edge_fmnist.model.quantization import softmax
from edge_fmnist_export.architectures.registry import CLASSES
from edge_fmnist_export.training import distill, train_recipe
from edge_fmnist_export.training.batches import Subset
from edge_fmnist_export.training.distill import (
    DistillationTargets,
    Views,
    distillation_targets,
    hashes,
    teachers,
    with_teacher,
)
from edge_fmnist_export.training.progress import ProgressListener
from edge_fmnist_export.training.recipe import Augmentation, parse_recipe
from edge_fmnist_export.training.run_folder import create_run
from edge_fmnist_export.training.train_recipe import train

STUDENT = """
name = "student"
architecture = "mlp-128"
seed = 9

[data]
validation = {validation}
split_seed = 3
batch_size = 32

[augmentation]
shift = 2

[distill]
teachers = ["{teacher}"]
views = 2
weight = 0.8
temperature = 3.0

[training]
epochs = 3
learning_rate = 0.05

[qat]
epochs = 1
learning_rate = 0.01
"""


@pytest.fixture
def views() -> Views:
    """Return three views of sixty numbered images."""
    images = np.zeros((60, 28, 28), np.uint8)
    images[:, 10:18, 10:18] = np.arange(100, 160, dtype=np.uint8)[:, None, None]
    return Views(Subset(images, (np.arange(60) % 10).astype(np.uint8)), Augmentation(shift=2), 3, seed=7)


def test_views_are_the_same_for_each_call_and_differ_from_each_other(views: Views) -> None:
    first, second = views.images(0), views.images(1)
    np.testing.assert_array_equal(first, views.images(0))
    assert (first != second).any()
    assert (first.max(axis=(1, 2)) == views.subset.images.max(axis=(1, 2))).all()


def test_each_image_comes_with_the_logits_of_its_view(views: Views) -> None:
    logits = np.arange(3 * 60 * 10).reshape(3, 60, 10).astype(np.float16)
    taught = DistillationTargets(views, logits)
    for epoch in (1, 4):
        batches = list(taught.batches(epoch, 25, (7, 0, epoch)))
        assert [len(images) for images, _ in batches] == [25, 25]
        shown = np.concatenate([images for images, _ in batches])
        rows = np.concatenate([targets for _, targets in batches])
        numbers = np.rint(shown.max(axis=(1, 2, 3)) * 255).astype(int) - 100
        assert len(set(numbers.tolist())) == 50
        expected = views.images(1)[numbers].astype(np.float32) / np.float32(255)
        np.testing.assert_array_equal(shown[..., 0], expected)
        np.testing.assert_array_equal(rows, with_teacher(views.subset.one_hot(), logits[1])[numbers])


@pytest.mark.slow
def test_a_student_learns_from_a_run_in_both_phases(
    tiny_run: Path, tiny_data: Path, tmp_path: Path, run_command: Callable[..., Any], subprocess_environment: Any
) -> None:
    recipe = tmp_path / "student.toml"
    recipe.write_text(STUDENT.format(teacher=tiny_run, validation=100), "utf-8")
    cache = Path(subprocess_environment["XDG_CACHE_HOME"]) / "edge-fmnist" / "teachers"
    before = set(cache.iterdir()) if cache.exists() else set()
    run_command("train", recipe, "--data", tiny_data, "--output", tmp_path / "run")
    (stored,) = set(cache.iterdir()) - before
    assert sorted(path.name for path in stored.iterdir()) == ["view-0.npy", "view-1.npy"]
    first, second = (np.load(stored / f"view-{view}.npy") for view in (0, 1))
    assert (first.shape, first.dtype) == ((500, 10), np.float16)
    np.testing.assert_allclose(softmax(first.astype(np.float32)).sum(axis=1), 1, atol=1e-3)
    assert (first != second).any()
    history = json.loads((tmp_path / "run" / "history.json").read_text("utf-8"))
    assert [record["phase"] for record in history] == ["float"] * 3 + ["qat"]
    assert history[2]["validation_accuracy"] > 0.3


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a cache folder of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "edge-fmnist" / "teachers"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Replace the teacher by the brightness of the image, without Keras; return the images that it gets."""
    found: list[np.ndarray] = []

    def forward(images: np.ndarray) -> np.ndarray:
        found.append(images)
        return np.outer(images.max(axis=(1, 2)), np.linspace(0, 0.01, CLASSES, dtype=np.float32))

    monkeypatch.setattr(distill, "_forward", lambda run: forward)
    return found


def test_cached_views_are_not_computed_again(
    tiny_run: Path, views: Views, cache: Path, asked: list[np.ndarray]
) -> None:
    text = STUDENT.format(teacher=tiny_run, validation=100)
    steps: list[tuple[int, int]] = []
    whole = distillation_targets(parse_recipe(text, "two"), views.subset, lambda *step: steps.append(step))
    assert whole is not None
    assert steps == [(1, 2), (2, 2)]
    assert len(asked) == 2

    # An interrupted run, and a run with another seed and more views: only missing views are computed.
    (folder,) = cache.iterdir()
    (folder / "view-1.npy").write_bytes(b"cut off")
    more = parse_recipe(text.replace("seed = 9", "seed = 4", 1).replace("views = 2", "views = 3"), "three")
    longer = distillation_targets(more, views.subset, lambda *step: steps.append(step))
    assert longer is not None
    assert steps[2:] == [(2, 3), (3, 3)]
    np.testing.assert_array_equal(asked[2], asked[1])
    np.testing.assert_array_equal(longer.logits[:2], whole.logits)

    other = parse_recipe(text.replace("views = 2", "views = 1\nview_seed = 5"), "other")
    assert distillation_targets(other, views.subset, lambda *step: None) is not None
    assert (asked[4] != asked[0]).any()
    assert len(asked) == 5


def test_another_teacher_costs_its_own_logits_only(
    tiny_run: Path, views: Views, cache: Path, asked: list[np.ndarray], tmp_path: Path
) -> None:
    shutil.copytree(tiny_run, tmp_path / "other")
    with np.load(tiny_run / "float.npz") as stored:
        np.savez(tmp_path / "other" / "float.npz", **{name: array + 1 for name, array in stored.items()})
    text = STUDENT.format(teacher=tiny_run, validation=100)
    assert distillation_targets(parse_recipe(text, "one"), views.subset, lambda *_: None) is not None
    both = parse_recipe(text.replace('teachers = ["', f'teachers = ["{tmp_path / "other"}", "'), "both")
    steps: list[tuple[int, int]] = []
    assert distillation_targets(both, views.subset, lambda *step: steps.append(step)) is not None
    assert (len(asked), steps) == (4, [(1, 4), (2, 4)])
    assert len(list(cache.iterdir())) == 2


def test_a_run_goes_on_with_the_teachers_it_was_started_with(tiny_run: Path, tiny_data: Path, tmp_path: Path) -> None:
    recipe = parse_recipe(STUDENT.format(teacher=tiny_run, validation=100), "student.toml")
    (name,), (value,) = zip(*hashes(recipe).items(), strict=True)
    assert (name, len(value)) == (str(tiny_run), 64)
    run = create_run(tmp_path / "run", recipe)
    run.write_json("run.json", {"teachers_sha256": {name: value[::-1]}})
    with pytest.raises(RunError, match="other weights of the teachers"):
        train(run, dataset.load("train", tiny_data), ProgressListener(Console()))


def test_a_teacher_trained_on_the_validation_images_is_refused(tiny_run: Path) -> None:
    recipe = parse_recipe(STUDENT.format(teacher=tiny_run, validation=90), "student.toml")
    with pytest.raises(RecipeError, match="held out other images"):
        teachers(recipe)


def test_a_teacher_trained_on_all_images_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    teacher = shutil.copytree(tiny_run, tmp_path / "teacher")
    text = (teacher / "recipe.toml").read_text("utf-8").replace("validation = false", "validation = true")
    text = text.replace('keep = "best"', 'keep = "last"').replace('init_from = ""', f'init_from = "{tiny_run}"')
    (teacher / "recipe.toml").write_text(text, "utf-8")
    recipe = parse_recipe(STUDENT.format(teacher=teacher, validation=100), "student.toml")
    with pytest.raises(RecipeError, match="was trained on its validation images, too"):
        teachers(recipe)


def test_a_teacher_of_another_data_set_is_refused(tiny_run: Path, tiny_data: Path) -> None:
    recipe = parse_recipe(STUDENT.format(teacher=tiny_run, validation=100), "student.toml")
    data = dataset.load_split(tiny_data, "train")
    train_recipe.check_runs(recipe, data)
    with pytest.raises(RecipeError, match="was trained on another data set"):
        train_recipe.check_runs(recipe, replace(data, sha256=("0", "1")))
