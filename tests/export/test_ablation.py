from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from edge_fmnist.errors import EdgeFmnistError, RecipeError, UsageError
from edge_fmnist_export.search.ablation import ablation
from edge_fmnist_export.search.variants import (
    RecipeVariant,
    VariantResult,
    ablation_document,
    ablation_page,
    make_variants,
    parse_variant,
    short_recipe,
)
from edge_fmnist_export.training.recipe import Recipe, load_recipe

NANO = load_recipe("nano")
RECIPE = """
name = "small"
architecture = "mlp-128"

[data]
validation = 100
batch_size = 100

[training]
ema = 0.5
"""


def results() -> list[VariantResult]:
    """Return the baseline with two seeds, and a variant that is better with one and worse with the other."""
    varied = parse_variant(NANO, "no ema: training.ema=0")
    return [
        VariantResult(RecipeVariant("baseline", "", NANO), {1: 0.9, 2: 0.92}),
        VariantResult(varied, {1: 0.905, 2: 0.9}),
    ]


@pytest.mark.parametrize(
    ("text", "name", "folder", "changes"),
    [
        (
            "augmentation.erasing=0",
            "augmentation.erasing=0",
            "augmentation-erasing-0",
            {"augmentation": {"erasing": 0.0}},
        ),
        ("No EMA : training.ema=0, training.epochs=9", "No EMA", "no-ema", {"training": {"ema": 0.0, "epochs": 9}}),
        ('one: distill.teachers=["float-deep"]', "one", "one", {"distill": {"teachers": ("float-deep",)}}),
        # Colons, commas and semicolons in quotes do not separate anything.
        ('wide: architecture="resnet:16;16/2,24/2"', "wide", "wide", {"architecture": "resnet:16;16/2,24/2"}),
    ],
)
def test_a_variant_changes_what_it_names(text: str, name: str, folder: str, changes: dict[str, Any]) -> None:
    found = parse_variant(NANO, text)
    assert (found.name, found.folder) == (name, folder)
    for key, value in changes.items():
        before = getattr(NANO, key)
        assert getattr(found.recipe, key) == (before.model_copy(update=value) if isinstance(value, dict) else value)


@pytest.mark.parametrize("section", ["distill", "augmentation"])
def test_false_switches_a_section_off(section: str) -> None:
    found = parse_variant(NANO, f"{section}=false, training.label_smoothing=0.05").recipe
    defaults = Recipe(name="x", architecture="edge")
    assert getattr(found, section) == getattr(defaults, section) != getattr(NANO, section)
    assert found.training.label_smoothing == 0.05


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", UsageError, "expected a variant as"),
        ("training.optimizer=adamw", UsageError, "expected TOML"),
        ("training.ema=0 } \n b = { c=1", UsageError, "expected a variant as"),
        ("other: seed=7", UsageError, "seed is the same for all variants"),
        ("typo: training.emma=0", RecipeError, r"the variant 'typo': training\.emma"),
        ("off: training=false", RecipeError, "training: "),
        ("data.validation=50", UsageError, "changes the validation images"),
        ("same: augmentation.leaking=0", UsageError, "'same' has no effect"),
        ("baseline: training.ema=0", UsageError, "different names"),
    ],
)
def test_invalid_variants(text: str, error: type[EdgeFmnistError], message: str) -> None:
    with pytest.raises(error, match=message):
        make_variants(NANO, [text], 8)


def test_photographs_are_refused() -> None:
    with pytest.raises(RecipeError, match="without photographs"):
        make_variants(load_recipe("camera"), [], 8)


def test_by_default_each_ingredient_is_removed_in_turn() -> None:
    found = make_variants(NANO, [], 8)
    assert [each.name for each in found] == [
        "baseline", "no distillation", "no ema", "no shift", "no flip", "no erasing"
    ]  # fmt: skip
    assert found[0].recipe == NANO
    assert not found[1].recipe.distill.teachers


def test_a_short_recipe_trains_the_float_phase_alone() -> None:
    found = short_recipe(NANO.model_copy(update={"init_from": "nano"}), 5, 7)
    assert not found.init_from
    assert (found.seed, found.training.epochs, found.qat.epochs, found.distill.views) == (7, 5, 0, 5)
    assert short_recipe(NANO, 99, 7).distill.views == NANO.distill.views
    assert (found.data, found.augmentation, found.name) == (NANO.data, NANO.augmentation, NANO.name)


def test_the_table_compares_runs_with_the_same_seed(tmp_path: Path) -> None:
    baseline, varied = results()
    page = ablation_page(tmp_path / "page.md", NANO, 8, [baseline, varied])
    assert "| baseline |  | 91.00% | 90.00% to 92.00% |  | 1, 2 |\n" in page
    assert "| no ema | `training.ema=0` | 90.25% | 90.00% to 90.50% | -0.75 (-2.00 to +0.50) | 1, 2 |\n" in page
    # sqrt(0.91 * 0.09 / validation images)
    assert f"standard error of one run is {100 * (0.0819 / NANO.data.validation) ** 0.5:.2f} points" in page

    del varied.accuracies[2]
    page = ablation_page(tmp_path / "page.md", NANO, 8, [baseline, varied])
    assert "| no ema | `training.ema=0` | 90.50% | 90.50% to 90.50% | +0.50 | 1 |\n" in page
    first, second = ablation_document(NANO, 8, [baseline, varied])["variants"]
    assert second["accuracies"] == [{"seed": 1, "accuracy": 0.905}]
    assert (first["differences"], second["differences"]) == ([0, 0], [0.005])


@pytest.fixture
def ablate(tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that runs the command on a small recipe, with training replaced by a stub."""
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE, "utf-8")

    def train(folder: Path, recipe: Recipe, *_: object) -> tuple[None, dict[str, Any]]:
        assert folder.name == f"seed-{recipe.seed}"
        if recipe.seed == 13:
            raise KeyboardInterrupt
        return None, {"float": {"validation_accuracy": 0.9 + recipe.seed / 1000 - recipe.training.ema / 100}}

    monkeypatch.setattr("edge_fmnist_export.search.variants.train_or_resume", train)
    monkeypatch.setattr("edge_fmnist_export.training.backend.warm_up_keras", lambda: None)
    app = typer.Typer()
    app.command()(ablation)

    def run(*arguments: object) -> Any:
        return CliRunner().invoke(app, [str(each) for each in (recipe, "--data", tiny_data, *arguments)])

    return run


def test_every_variant_is_trained_with_every_seed(ablate: Callable[..., Any], tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    options = ("--output", tmp_path / "runs", "--table", page, "--epochs", 2, "-v", "no ema: training.ema=0")
    done = ablate(*options, "--seeds", "4,5", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["recipe"], found["epochs"], found["validation_images"]) == ("small", 2, 100)
    assert [(each["name"], each["mean"]) for each in found["variants"]] == [("baseline", 0.8995), ("no ema", 0.9045)]
    assert found == json.loads(page.with_suffix(".json").read_text("utf-8"))
    # Writing the page again keeps the text around the table.
    page.write_text(f"mine\n{page.read_text('utf-8')}", "utf-8")
    assert ablate(*options, "--seeds", "4").exit_code == 0
    text = page.read_text("utf-8")
    assert text.startswith("mine\n# Ablation study")
    assert text.count("| no ema |") == 1


def test_fewer_images_than_the_recipe_holds_out(ablate: Callable[..., Any], tmp_path: Path) -> None:
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE.replace("validation = 100", "validation = 5000"), "utf-8")
    done = ablate("--output", tmp_path / "runs", "--seeds", "4", "--json")
    assert json.loads(done.stdout)["validation_images"] == 30


def test_runs_before_an_interruption_are_in_the_table(ablate: Callable[..., Any], tmp_path: Path) -> None:
    done = ablate("--output", tmp_path / "runs", "--seeds", "4,13")
    assert done.exit_code == 130
    assert "run the same command to resume" in done.stderr
    assert "| baseline |" in (tmp_path / "runs" / "ablation.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--seeds", "1,1"), "expected different integers"),
        (("--seeds", "1,-2"), "expected different integers"),
        (("--seeds", "1,4294967296"), "expected different integers"),
        (("-v", "training.emma=0"), "training.emma"),
    ],
)
def test_options_that_cannot_work(
    ablate: Callable[..., Any], tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = ablate("--output", tmp_path / "runs", *arguments)
    assert message in done.stderr + str(done.exception)
    assert done.exit_code != 0
    assert not (tmp_path / "runs").exists()


def test_a_new_table_replaces_no_other_json(ablate: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text("[]", "utf-8")
    done = ablate("--output", tmp_path / "runs", "--table", tmp_path / "notes.md")
    assert "is not of an earlier table" in done.stderr + str(done.exception)
    assert (tmp_path / "notes.json").read_text("utf-8") == "[]"


def test_an_error_of_the_module_is_one_message() -> None:
    command = [sys.executable, "-m", "edge_fmnist_export.search.ablation", "no-such-recipe"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr
