from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_fmnist.errors import RecipeError, UsageError
from edge_fmnist_export.search.ablation.build import Row
from edge_fmnist_export.search.ablation.table import FIRST, Ablation, check_page, document, text, write_table
from edge_fmnist_export.search.ablation.variants import Variant, brief, parse_variant, variants
from edge_fmnist_export.training.recipe import Recipe, load_recipe

NANO = load_recipe("nano")
SHARED = Ablation("nano", 8, 3000)
RECIPE = """
name = "small"
architecture = "mlp-128"

[data]
validation = 100
split_seed = 3
batch_size = 100

[augmentation]
shift = 1

[training]
epochs = 9
learning_rate = 0.05
ema = 0.5
"""


def rows() -> list[Row]:
    """Return the whole recipe with two seeds, and a variant that is ahead with one and behind with the other."""
    varied = parse_variant(NANO, "no ema: training.ema=0")
    return [Row(Variant("whole", "", NANO), {1: 0.9, 2: 0.92}), Row(varied, {1: 0.905, 2: 0.9})]


@pytest.mark.parametrize(
    ("text", "name", "folder", "changes"),
    [
        ("augmentation.erasing=0", None, "augmentation-erasing-0", {"augmentation": {"erasing": 0.0}}),
        ("No Erasing : augmentation.erasing=0", "No Erasing", "no-erasing", {"augmentation": {"erasing": 0.0}}),
        (
            "ls: training.label_smoothing=0.05, training.ema=0",
            "ls",
            "ls",
            {"training": {"label_smoothing": 0.05, "ema": 0.0}},
        ),
        ("area: augmentation.erasing_area=[0.1, 0.2]", "area", "area", {"augmentation": {"erasing_area": (0.1, 0.2)}}),
        ('one: distill.teachers=["float-deep"]', "one", "one", {"distill": {"teachers": ("float-deep",)}}),
    ],
)
def test_a_variant_changes_what_it_names(
    text: str, name: str | None, folder: str, changes: dict[str, dict[str, Any]]
) -> None:
    found = parse_variant(NANO, text)
    assert (found.name, found.folder) == (name or text, folder)
    assert found.recipe == NANO.with_changes(**changes)


def test_a_variant_changes_what_is_in_no_section() -> None:
    # Colons, commas and semicolons in quotes part nothing.
    found = parse_variant(NANO, 'wide: architecture="resnet:16;16/2,16,24/2", mirrored=true')
    assert (found.name, found.recipe.architecture) == ("wide", "resnet:16;16/2,16,24/2")
    assert found.recipe.flip_tta


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
        ("name only:", UsageError, "expected TOML"),
        ("no toml: training.ema", UsageError, "expected TOML"),
        ("training.optimizer=adamw", UsageError, "expected TOML"),
        ("training.ema=0 } \n b = { c=1", UsageError, "expected a variant as"),
        ("other: seed=7", UsageError, "seed is the same for all variants"),
        ('other: name="x"', UsageError, "name is the same for all variants"),
        ("other: photos.views=3", UsageError, "photos is the same for all variants"),
        ("typo: training.emma=0", RecipeError, r"the variant 'typo': training\.emma"),
        ("much: training.ema=1.5", RecipeError, r"training\.ema: .*got 1\.5"),
        ("off: training=false", RecipeError, "training: "),
        ("data.validation=50", UsageError, "validates on other images"),
        ("data.split_seed=9", UsageError, "validates on other images"),
        ("same: augmentation.mixup=0", UsageError, "'same' changes nothing"),
        ("later: qat.epochs=7, training.epochs=4", UsageError, "'later' changes nothing"),
        ("whole: training.ema=0", UsageError, "names of their own"),
    ],
)
def test_texts_that_are_no_variant(text: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        variants(NANO, [text], 8)


def test_two_variants_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="'no ema' and 'No-EMA'"):
        variants(NANO, ["no ema: training.ema=0", "No-EMA: training.ema=0.1"], 8)


def test_photographs_are_refused() -> None:
    with pytest.raises(RecipeError, match="without photographs"):
        variants(load_recipe("camera"), [], 8)


def test_without_variants_each_ingredient_goes_in_turn() -> None:
    found = variants(NANO, [], 8)
    assert [each.name for each in found] == ["whole", "no distillation", "no ema", "no shift", "no flip", "no erasing"]
    assert found[0].recipe == NANO
    assert not found[1].recipe.distill.teachers


def test_a_brief_recipe_trains_the_float_phase_alone() -> None:
    found = brief(NANO, 5, 7)
    assert (found.seed, found.training.epochs, found.qat.epochs, found.distill.views) == (7, 5, 0, 5)
    assert brief(NANO, 99, 7).distill.views == NANO.distill.views
    assert (found.data, found.augmentation, found.name) == (NANO.data, NANO.augmentation, NANO.name)
    assert found.training == NANO.training.model_copy(update={"epochs": 5})


def test_the_table_takes_differences_seed_by_seed() -> None:
    page = text(SHARED, rows())
    lines = page.splitlines()
    assert lines[2] == "| whole |  | 91.00% | 90.00% to 92.00% |  | 1, 2 |"
    assert lines[3] == ("| no ema | `training.ema=0` | 90.25% | 90.00% to 90.50% | -0.75 (-2.00 to +0.50) | 1, 2 |")
    # sqrt(0.91 * 0.09 / 3000)
    assert "One standard error of one run is 0.52 points" in page
    assert "3,000 validation images" in page


def test_a_variant_with_fewer_seeds_is_compared_on_those() -> None:
    whole, varied = rows()
    del varied.accuracies[2]
    assert "| no ema | `training.ema=0` | 90.50% | 90.50% to 90.50% | +0.50 | 1 |" in text(SHARED, [whole, varied])
    first, second = document(SHARED, [whole, varied])["variants"]
    assert second["accuracies"] == [{"seed": 1, "accuracy": 0.905}]
    assert (first["differences"], second["differences"]) == ([0, 0], [0.005])


def test_a_page_is_written_again_but_no_other(tmp_path: Path) -> None:
    page = tmp_path / "new" / "ablation.md"
    check_page(page)
    plain = write_table(page, SHARED, rows()[:1])
    check_page(page)
    write_table(page, SHARED, rows())
    text = page.read_text("utf-8")
    assert text.startswith(FIRST)
    assert text.count("| whole |") == text.count("| no ema |") == 1
    assert [each["name"] for each in json.loads(plain.read_text("utf-8"))["variants"]] == ["whole", "no ema"]
    for name, message in (("other.md", "no table of an ablation"), ("ablation.txt", "ends in .md")):
        (tmp_path / name).write_text("mine\n", "utf-8")
        with pytest.raises(UsageError, match=message):
            check_page(tmp_path / name)


@pytest.fixture
def ablate(
    subprocess_environment: dict[str, str], tmp_path: Path, tiny_data: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the command on the tiny data and a small recipe, in a process of its own."""
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE, "utf-8")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edge_fmnist_export.search.ablation", str(recipe), "--data", str(tiny_data)]
        return subprocess.run(
            [*command, *map(str, arguments)], capture_output=True, text=True, env=subprocess_environment, check=False
        )

    return run


def test_every_variant_is_trained_once_with_every_seed(
    ablate: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    folder, page = tmp_path / "runs", tmp_path / "page.md"
    options = ("--output", folder, "--table", page, "--epochs", 2, "--json")
    wanted = ("-v", "no ema: training.ema=0", "-v", "mixed: augmentation.mixup=0.2, augmentation.cutmix=1.0")
    first = ablate(*options, *wanted, "--seeds", "4")
    assert first.returncode == 0, first.stderr
    found = json.loads(first.stdout)
    assert [each["name"] for each in found["variants"]] == ["whole", "no ema", "mixed"]
    assert (found["epochs"], found["validation_images"]) == (2, 100)
    for each, name in zip(found["variants"], ("whole", "no-ema", "mixed"), strict=True):
        run = folder / name / "seed-4"
        metrics = json.loads((run / "metrics.json").read_text("utf-8"))
        assert list(metrics) == ["float"]
        assert each["accuracies"] == [{"seed": 4, "accuracy": metrics["float"]["validation_accuracy"]}]
        recipe = load_recipe(str(run / "recipe.toml"))
        assert (recipe.seed, recipe.training.epochs, recipe.qat.epochs) == (4, 2, 0)

    weights = {path: path.stat().st_mtime_ns for path in folder.glob("*/*/float.npz")}
    again = ablate(*options, *wanted, "--seeds", "4,5")
    assert again.returncode == 0, again.stderr
    more = json.loads(again.stdout)["variants"]
    assert [each["accuracies"][:1] for each in more] == [each["accuracies"] for each in found["variants"]]
    assert all(len(each["accuracies"]) == 2 for each in more)
    assert all(path.stat().st_mtime_ns == before for path, before in weights.items())
    assert len(list(folder.glob("*/*/float.npz"))) == 6
    assert "| mixed |" in page.read_text("utf-8")

    other = ablate(*options[:4], "--epochs", 1, *wanted, "--seeds", "4")
    assert other.returncode == 1
    assert "another recipe (it differs in distill, training)" in " ".join(other.stderr.split())
    assert "Traceback" not in other.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--seeds", "1,1"), "expected different whole numbers"),
        (("--seeds", "1,-2"), "expected different whole numbers"),
        (("--seeds", ""), "expected different whole numbers"),
        (("--table", "page.txt"), "expected the name of a Markdown file"),
        (("-v", "training.emma=0"), "training.emma"),
    ],
)
def test_options_that_cannot_work(
    ablate: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = ablate("--output", tmp_path / "runs", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()
