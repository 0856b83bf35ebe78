"""Ablation studies: variants of a recipe, each with a name and the settings that differ, and their results."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from statistics import mean
from typing import Any

import tomli_w

from edge_fmnist.data.dataset import Split
from edge_fmnist.data.files import parse_toml
from edge_fmnist.errors import RecipeError, UsageError
from edge_fmnist_export.architectures.efficientnet import IMAGENET
from edge_fmnist_export.report import markdown
from edge_fmnist_export.search.runs import page_with, train_or_resume
from edge_fmnist_export.training import train_recipe
from edge_fmnist_export.training.recipe import QatPhase, Recipe, parse_recipe

BASELINE = "baseline"
HEADINGS = ("variant", "changes", "validation, mean", "range", "vs. baseline, points", "seeds")
# The name ends at the first colon, which must come before any "=" or quote.
FORM = re.compile(r"(?:(?P<name>[^=:\"']+):)?(?P<changes>.+)")
# Sections that "SECTION=false" resets to their defaults, which are off.
SWITCHABLE = ("augmentation", "distill")
# Settings that the ablation sets itself, or that do not change the weights.
FIXED = ("name", "description", "seed", "photos")
# The default variants; those that do not apply to a recipe are left out.
INGREDIENTS = (
    "no distillation: distill=false",
    "no ema: training.ema=0.0",
    "no label smoothing: training.label_smoothing=0.0",
    "no shift: augmentation.shift=0",
    "no flip: augmentation.flip=false",
    "no erasing: augmentation.erasing=0.0",
)


@dataclass(frozen=True)
class RecipeVariant:
    """A variant of a recipe: its name in the table, the changes as written, and the recipe with them."""

    name: str
    changes: str
    recipe: Recipe

    @property
    def folder(self) -> str:
        """Folder name: letters and digits of the name in lower case, joined by hyphens."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


def short_recipe(recipe: Recipe, epochs: int, seed: int) -> Recipe:
    """Return a recipe of the float phase only, with distillation targets for at most as many views as epochs.

    It starts from random weights, or from those of ImageNet: trained ones would hide what a variant leaves out.
    """
    start = IMAGENET if recipe.init_from == IMAGENET else ""
    return recipe.model_copy(update={"seed": seed, "init_from": start}).with_changes(
        data={"train_on_validation": False},
        training={"epochs": epochs},
        qat=QatPhase(epochs=0).model_dump(),
        distill={"views": min(epochs, recipe.distill.views)},
    )


def make_variants(recipe: Recipe, texts: Sequence[str], epochs: int) -> list[RecipeVariant]:
    """Return the baseline and the variants of a recipe.

    Without texts, the applicable ``INGREDIENTS`` are the variants.

    Raises:
        UsageError: Not a variant, a variant without effect or of a fixed setting, or a duplicate name.
        RecipeError: An unknown setting or one out of range, or a recipe with photographs.
    """
    if recipe.photos.views:
        raise RecipeError(
            f"the recipe {recipe.name}: an ablation needs a recipe without photographs; set photos.views = 0"
        )
    baseline = RecipeVariant(BASELINE, "", recipe)
    found = [parse_variant(recipe, text) for text in texts or INGREDIENTS]
    effective = [each for each in found if short_recipe(each.recipe, epochs, 0) != short_recipe(recipe, epochs, 0)]
    if texts:
        for each in found:
            if not recipe.data.same_split(each.recipe.data):
                raise UsageError(
                    f"the variant {each.name!r} changes the validation images; leave out data.validation and "
                    "data.split_seed"
                )
            if each not in effective:
                raise UsageError(
                    f"the variant {each.name!r} has no effect on {epochs} epochs of the float phase; leave it out"
                )
    named: dict[str, RecipeVariant] = {}
    for each in (baseline, *effective):
        other = named.setdefault(each.folder, each)
        if other is not each:
            raise UsageError(f"expected variants with different names, got {other.name!r} and {each.name!r}")
    return list(named.values())


def parse_variant(recipe: Recipe, text: str) -> RecipeVariant:
    """Return the variant of a recipe that a text describes.

    Args:
        recipe: Recipe.
        text: ``NAME: CHANGES``, or CHANGES alone, which then are also the name. CHANGES are the inside of a TOML
            inline table, with dotted keys of the recipe, as in ``distill=false, training.label_smoothing=0.05``.
            ``SECTION=false`` switches off a section of ``SWITCHABLE``.

    Raises:
        UsageError: Not of this form, or a fixed setting.
        RecipeError: An unknown setting, or one out of range.
    """
    matched = FORM.fullmatch(text.strip())
    changes = matched["changes"].strip() if matched else ""
    name = (matched["name"] or changes).strip() if matched else ""
    if not re.search(r"[a-zA-Z0-9]", name):
        raise UsageError(f"expected a variant as 'NAME: section.key=value, ...', got {text!r}")
    try:
        given = parse_toml(f"given = {{ {changes} }}", f"the variant {text!r}")["given"]
    except UsageError as error:
        raise UsageError(f"{error}; expected TOML, as in 'NAME: section.key=value, section.key=\"text\"'") from error
    if fixed := [key for key in given if key in FIXED]:
        raise UsageError(f"the variant {text!r}: {fixed[0]} is the same for all variants of an ablation; leave it out")
    values = recipe.model_dump(mode="json")
    for key, value in given.items():
        if key in SWITCHABLE and value is False:
            values[key] = {}
        elif isinstance(value, dict) and isinstance(values.get(key), dict):
            values[key] |= value
        else:
            values[key] = value
    return RecipeVariant(name, changes, parse_recipe(tomli_w.dumps(values), f"the variant {name!r}"))


@dataclass
class VariantResult:
    """A row of the table: a variant and the validation accuracy of its best epoch, 0 to 1, by seed."""

    variant: RecipeVariant
    accuracies: dict[int, float] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Mean accuracy over the seeds, 0 to 1."""
        return mean(self.accuracies.values())

    def differences(self, baseline: VariantResult) -> list[float]:
        """Return the difference in accuracy to the baseline for each common seed, -1 to 1."""
        common = self.accuracies.keys() & baseline.accuracies.keys()
        return [self.accuracies[seed] - baseline.accuracies[seed] for seed in sorted(common)]

    def cells(self, baseline: VariantResult) -> tuple[str, ...]:
        """Return the cells of the row as text, in the order of ``HEADINGS``."""
        accuracies, points = self.accuracies.values(), [100 * value for value in self.differences(baseline)]
        difference = f"{mean(points):+.2f}" + (f" ({min(points):+.2f} to {max(points):+.2f})" if points[1:] else "")
        return (
            self.variant.name,
            f"`{self.variant.changes}`" if self.variant.changes else "",
            f"{self.mean:.2%}",
            f"{min(accuracies):.2%} to {max(accuracies):.2%}",
            "" if self is baseline else difference,
            ", ".join(map(str, self.accuracies)),
        )

    def as_dict(self, baseline: VariantResult) -> dict[str, Any]:
        """Return plain values for JSON; accuracies are 0 to 1."""
        return {
            "name": self.variant.name,
            "changes": self.variant.changes,
            "mean": round(self.mean, 6),
            "accuracies": [{"seed": seed, "accuracy": value} for seed, value in self.accuracies.items()],
            "differences": [round(value, 6) for value in self.differences(baseline)],
        }


def ablation_document(recipe: Recipe, epochs: int, results: Sequence[VariantResult]) -> dict[str, Any]:
    """Return the table as plain values for JSON; accuracies are 0 to 1."""
    return {
        "recipe": recipe.name,
        "epochs": epochs,
        "validation_images": recipe.data.validation,
        "variants": [result.as_dict(results[0]) for result in results],
    }


def ablation_page(path: Path, recipe: Recipe, epochs: int, results: Sequence[VariantResult]) -> str:
    """Return a Markdown page with the table, and how it was measured, between its markers.

    Without results, only the page is checked.

    Raises:
        UsageError: See :func:`edge_fmnist_export.search.runs.page_with`.
    """
    accuracy, images = results[0].mean if results else 0.0, recipe.data.validation
    kept = recipe.training.keep
    error = sqrt(accuracy * (1 - accuracy) / images)
    lines = [
        markdown.table(HEADINGS, [result.cells(results[0]) for result in results]),
        "",
        f"Recipe `{recipe.name}`, float phase, {epochs} epochs. Accuracy of the {kept} epoch on the {images:,}",
        "validation images, the same for all variants; test images were not used. Differences are between runs with",
        "the same seed.",
        f"The standard error of one run is {100 * error:.2f} points: smaller differences are not significant.",
    ]
    command = "python -m edge_fmnist_export.search.ablation"
    return page_with(path, "ablation", command, "\n".join(lines), "# Ablation study", "variants")


def train_variants(
    folder: Path, variants: Sequence[RecipeVariant], seeds: Sequence[int], epochs: int, data: Split
) -> Iterator[list[VariantResult]]:
    """Train every variant with every seed, all of them with the first seed before the second.

    The run folders are ``VARIANT/seed-N`` in ``folder``.

    Yields:
        After each run, the results of all variants with at least one seed.
    """
    results = [VariantResult(variant) for variant in variants]
    for seed in seeds:
        for result in results:
            recipe = short_recipe(result.variant.recipe, epochs, seed)
            run_folder = folder / result.variant.folder / f"seed-{seed}"
            _, metrics = train_or_resume(run_folder, recipe, data, f"{result.variant.name}, seed {seed}")
            result.accuracies[seed] = metrics[train_recipe.FLOAT]["validation_accuracy"]
            yield [each for each in results if each.accuracies]
