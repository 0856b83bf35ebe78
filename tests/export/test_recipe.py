from __future__ import annotations

from pathlib import Path

import pytest

from edge_fmnist.errors import RecipeError
from edge_fmnist_export import architectures
from edge_fmnist_export.training.recipe import load_recipe, parse_recipe, shipped_recipes

NAMES = sorted(shipped_recipes())
LEAST = 'name = "mine"\narchitecture = "lenet5"\n'


def test_edge_and_every_architecture_have_a_recipe() -> None:
    assert "edge" in NAMES
    assert {recipe.architecture for recipe in shipped_recipes().values()} >= set(architectures.names())


@pytest.mark.parametrize("name", NAMES)
def test_shipped_recipe(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description
    assert parse_recipe(recipe.to_toml(), name) == recipe


def test_keys_of_earlier_versions_still_load() -> None:
    off = "[augmentation]\nmixup = 0.0\ncutmix = 0.0\n"
    former = LEAST + 'mirrored = true\ninitial = "edge"\n[photos]\nlost = 0.25\n' + off
    recipe = parse_recipe(former, "mine.toml")
    assert (recipe.flip_tta, recipe.init_from, recipe.photos.false_reject_rate) == (True, "edge", 0.25)
    assert parse_recipe(recipe.to_toml(), "mine.toml") == recipe
    assert "mirrored" not in recipe.to_toml()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('name = "mine"\n', "architecture"),
        (LEAST + "colour = 1\n", "colour"),
        (LEAST + "[training]\nepoch = 3\n", "training.epoch"),
        (LEAST + "[training]\nepochs = 0\n", "training.epochs"),
        (LEAST + '[training]\noptimizer = "adam"\n', "training.optimizer"),
        (LEAST + "[augmentation]\nshift = 15\n", "augmentation.shift"),
        (LEAST + "[augmentation]\nerasing_area = [0.3, 0.1]\n", "augmentation.erasing_area"),
        (LEAST + "[augmentation]\nmixup = 0.2\n", "augmentation.mixup"),
        (LEAST + "[photos]\nfalse_reject_rate = 5.0\n", "photos.false_reject_rate"),
        (LEAST + "seed = -1\n", "seed"),
        (LEAST + "seed = 4294967296\n", "seed"),
        (LEAST + "[training]\nlearning_rate = inf\n", "training.learning_rate"),
        (LEAST + "[training]\nwarmup_epochs = inf\n", "training.warmup_epochs"),
        (LEAST + '[training]\nschedule = "constant"\nwarmup_epochs = 1\n', "training"),
        (LEAST + '[training]\nschedule = "constant"\nschedule_share = 0.5\n', "training"),
        (LEAST + "[augmentation]\nerasing_area = [0.0, 0.1]\n", "augmentation.erasing_area"),
        (LEAST + '[photos]\nclasses = ["a", "b"]\n', "photos"),
        (LEAST + "[distill]\nweight = 0\n", "distill.weight"),
        *[(LEAST + f"[training]\nepochs = {value}\n", "training.epochs") for value in ("true", '"3"', "3.0")],
        *[(LEAST + f"[training]\nlearning_rate = {value}\n", "training.learning_rate") for value in ("true", '"0.1"')],
        (LEAST + 'flip_tta = "yes"\n', "flip_tta"),
        ('name = "../mine"\narchitecture = "lenet5"\n', "name"),
        ('name = "mine"\narchitecture = "resnet"\n', "architecture"),
    ],
)
def test_wrong_setting_is_named(text: str, named: str) -> None:
    with pytest.raises(RecipeError, match=rf"^mine\.toml: {named}[.\d]*: "):
        parse_recipe(text, "mine.toml")


@pytest.mark.parametrize(
    ("settings", "needed"), [("", "qat.epochs = 0"), ('optimizer = "adamw"\n[qat]\nepochs = 0\n', "training.optimizer")]
)
def test_settings_that_do_not_fit_weights_of_four_bits(settings: str, needed: str) -> None:
    with pytest.raises(RecipeError, match=rf"^mine\.toml: training\.weight_bits = 4 needs {needed}[^{{]*$"):
        parse_recipe(f"{LEAST}[training]\nweight_bits = 4\n{settings}", "mine.toml")


@pytest.mark.parametrize(
    ("settings", "needed"),
    [
        ("", 'keep = "last"'),
        ('[training]\nkeep = "last"\n', 'keep = "last"'),
        ('[training]\nkeep = "last"\n[qat]\nepochs = 0\n', "init_from"),
    ],
)
def test_settings_that_do_not_fit_training_on_validation_images(settings: str, needed: str) -> None:
    with pytest.raises(RecipeError, match=rf"^mine\.toml: data\.train_on_validation needs {needed}"):
        parse_recipe(f"{LEAST}[data]\ntrain_on_validation = true\n{settings}", "mine.toml")


def test_photographs_do_not_join_training_on_validation_images() -> None:
    data = "[data]\ntrain_on_validation = true\n"
    text = f'{LEAST}init_from = "edge"\n{data}[training]\nkeep = "last"\n[qat]\nepochs = 0\n'
    assert parse_recipe(text, "mine.toml").data.train_on_validation
    with pytest.raises(RecipeError, match=r"needs init_from, .* photos\.views = 0"):
        parse_recipe(f"{text}[photos]\nviews = 1\n", "mine.toml")


def test_all_wrong_settings_are_named_at_once() -> None:
    with pytest.raises(RecipeError, match=r"seed: .*; .*qat\.epochs: "):
        parse_recipe(LEAST + "seed = -1\n[qat]\nepochs = -1\n", "mine.toml")


def test_texts_and_files_without_a_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"mine\.toml: not valid TOML"):
        parse_recipe("name = \n", "mine.toml")
    with pytest.raises(RecipeError, match=r"no-such: neither a file nor a shipped recipe.*edge"):
        load_recipe("no-such")
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="expected text in UTF-8, got the byte 0xff"):
        load_recipe(str(path))


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(load_recipe("edge").to_toml(), "utf-8-sig")
    assert load_recipe(str(path)) == load_recipe("edge")


@pytest.mark.parametrize(("values", "named"), [({"epochs": 0}, "training.epochs"), ({"pace": 1}, "training.pace")])
def test_with_changes_validates(values: dict[str, int], named: str) -> None:
    with pytest.raises(RecipeError, match=named):
        load_recipe("edge").with_changes(training=values)
