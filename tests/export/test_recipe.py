from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from edge_fmnist.errors import RecipeError
from edge_fmnist_export import architectures
from edge_fmnist_export.training.recipe import Augmentation, Recipe, load_recipe, parse_recipe, shipped_recipes

NAMES = sorted(shipped_recipes())
LEAST = 'name = "mine"\narchitecture = "lenet5"\n'


def test_edge_and_every_architecture_have_a_recipe() -> None:
    assert "edge" in NAMES
    assert {recipe.architecture for recipe in shipped_recipes().values()} >= set(architectures.names())


@pytest.mark.parametrize("name", NAMES)
def test_shipped_recipe_bears_the_name_of_its_file(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description


@pytest.mark.parametrize("name", NAMES)
def test_shipped_recipe_survives_toml(name: str) -> None:
    recipe = load_recipe(name)
    assert parse_recipe(recipe.to_toml(), name) == recipe


def test_toml_writes_every_setting_out() -> None:
    written = parse_recipe(LEAST, "mine").to_toml()
    for section in ("data", "augmentation", "photos", "training", "qat"):
        assert f"[{section}]" in written
    for key in (
        "seed",
        "initial",
        "dropping",
        "views",
        "lost",
        "batch_size",
        "erasing_area",
        "mixup",
        "cutmix",
        "label_smoothing",
        "dropout",
        "batch_norm_momentum",
        "warmup_epochs",
    ):
        assert f"\n{key} = " in written


def test_recipe_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(LEAST + "[training]\nepochs = 7\n", "utf-8")
    recipe = load_recipe(str(path))
    assert (recipe.name, recipe.training.epochs) == ("mine", 7)


def test_a_recipe_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_recipe("edge").seed = 5


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('name = "mine"\n', "architecture"),
        ('architecture = "lenet5"\n', "name"),
        (LEAST + "colour = 1\n", "colour"),
        (LEAST + "[training]\nepoch = 3\n", "training.epoch"),
        (LEAST + "[training]\nepochs = 0\n", "training.epochs"),
        (LEAST + '[training]\nepochs = "many"\n', "training.epochs"),
        (LEAST + "[training]\nlearning_rate = 0.0\n", "training.learning_rate"),
        (LEAST + '[training]\noptimizer = "adam"\n', "training.optimizer"),
        (LEAST + '[training]\nschedule = "steps"\n', "training.schedule"),
        (LEAST + "[training]\nlabel_smoothing = 1.0\n", "training.label_smoothing"),
        (LEAST + "[qat]\nepochs = -1\n", "qat.epochs"),
        (LEAST + "[data]\nbatch_size = 0\n", "data.batch_size"),
        (LEAST + "[data]\nvalidation = 1.5\n", "data.validation"),
        (LEAST + "[augmentation]\nshift = 15\n", "augmentation.shift"),
        (LEAST + "[augmentation]\nerasing = 1.5\n", "augmentation.erasing"),
        (LEAST + "[augmentation]\nerasing_area = [0.3, 0.1]\n", "augmentation.erasing_area"),
        (LEAST + "[augmentation]\nerasing_area = [0.0, 0.1]\n", "augmentation.erasing_area"),
        (LEAST + "[augmentation]\nmixup = -0.1\n", "augmentation.mixup"),
        (LEAST + "[augmentation]\nmixup = inf\n", "augmentation.mixup"),
        (LEAST + "[augmentation]\ncutmix = -1.0\n", "augmentation.cutmix"),
        (LEAST + "[augmentation]\ncutmix = nan\n", "augmentation.cutmix"),
        (LEAST + '[augmentation]\ncutmix = "on"\n', "augmentation.cutmix"),
        (LEAST + "[augmentation]\ndropping = 1.5\n", "augmentation.dropping"),
        (LEAST + "[augmentation]\nleaking = -1.0\n", "augmentation.leaking"),
        (LEAST + "[photos]\nviews = -1\n", "photos.views"),
        (LEAST + "[photos]\nlost = 5.0\n", "photos.lost"),
        (LEAST + "[photos]\nunknown = -0.5\n", "photos.unknown"),
        (LEAST + "[photos]\nfolder = 'photos'\n", "photos.folder"),
        (LEAST + "initial = 5\n", "initial"),
        (LEAST + "seed = -1\n", "seed"),
        ('name = "../mine"\narchitecture = "lenet5"\n', "name"),
        ('name = "mine"\narchitecture = "resnet"\n', "architecture"),
    ],
)
def test_wrong_setting_is_named(text: str, named: str) -> None:
    with pytest.raises(RecipeError, match=rf"^mine\.toml: {named}[.\d]*: "):
        parse_recipe(text, "mine.toml")


def test_unknown_architecture_lists_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"cnn-93k.*edge.*lenet5"):
        parse_recipe('name = "mine"\narchitecture = "resnet"\n', "mine.toml")


def test_all_wrong_settings_are_named_at_once() -> None:
    with pytest.raises(RecipeError, match=r"seed: .*; .*qat\.epochs: "):
        parse_recipe(LEAST + "seed = -1\n[qat]\nepochs = -1\n", "mine.toml")


def test_not_toml() -> None:
    with pytest.raises(RecipeError, match=r"mine\.toml: not valid TOML"):
        parse_recipe("name = \n", "mine.toml")


def test_neither_a_file_nor_a_shipped_recipe() -> None:
    with pytest.raises(RecipeError, match=r"no-such: neither a file nor a shipped recipe.*edge"):
        load_recipe("no-such")


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="cannot be read as text"):
        load_recipe(str(path))


def test_with_changes_changes_only_what_it_names() -> None:
    recipe = load_recipe("edge")
    changed = recipe.with_changes(training={"epochs": 3}, qat={"epochs": 0})
    assert (changed.training.epochs, changed.qat.epochs) == (3, 0)
    assert recipe.with_changes(training={"epochs": 3}).qat == recipe.qat
    assert changed.training.model_copy(update={"epochs": recipe.training.epochs}) == recipe.training
    assert load_recipe("edge") == recipe


@pytest.mark.parametrize(("values", "named"), [({"epochs": 0}, "training.epochs"), ({"pace": 1}, "training.pace")])
def test_with_changes_validates(values: dict[str, int], named: str) -> None:
    with pytest.raises(RecipeError, match=named):
        load_recipe("edge").with_changes(training=values)


@pytest.mark.parametrize(
    ("settings", "active"),
    [
        ({}, False),
        ({"erasing_area": (0.1, 0.2)}, False),
        ({"shift": 1}, True),
        ({"flip": True}, True),
        ({"erasing": 0.1}, True),
        ({"mixup": 0.2}, True),
        ({"cutmix": 1.0}, True),
        ({"dropping": 0.2}, True),
        ({"leaking": 0.2}, True),
    ],
)
def test_active_augmentation(settings: dict[str, object], active: bool) -> None:
    assert Augmentation.model_validate(settings).active is active


def test_settings_without_mixing_keep_the_rest() -> None:
    settings = Augmentation(shift=1, flip=True, mixup=0.2, cutmix=1.0)
    assert settings.mixing
    assert settings.without_mixing() == Augmentation(shift=1, flip=True)
    assert not settings.without_mixing().mixing


@pytest.mark.parametrize("mixing", ["mixup", "cutmix"])
def test_photographs_and_mixing_exclude_each_other(mixing: str) -> None:
    both = LEAST + f"[augmentation]\n{mixing} = 0.2\n[photos]\nviews = 3\n"
    with pytest.raises(RecipeError) as raised:
        parse_recipe(both, "mine.toml")
    said = str(raised.value)
    assert said.startswith("mine.toml: ")
    assert f"photos.views and augmentation.{mixing} exclude each other" in said
    # The whole recipe is no help in a message.
    assert "lenet5" not in said


def test_the_camera_recipe_goes_on_from_a_teacher_with_photographs() -> None:
    camera, teacher = load_recipe("camera"), load_recipe("float-deep")
    assert (camera.architecture, camera.initial) == (teacher.architecture, teacher.name)
    assert camera.photos.views > 0
    assert camera.augmentation.dropping > 0
    assert [name for name in NAMES if load_recipe(name).photos.views] == ["camera"]


def test_defaults_need_no_section() -> None:
    assert parse_recipe(LEAST, "mine") == Recipe(name="mine", architecture="lenet5")
