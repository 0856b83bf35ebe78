"""Variants of a recipe: a name, and the settings that differ, written as TOML."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tomli_w

from edge_fmnist.errors import RecipeError, UsageError
from edge_fmnist_export.training.recipe import QatPhase, Recipe, parse_recipe

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

WHOLE = "whole"
# A name ends at a colon before the first setting; a text is one line, as inline tables are.
FORM = re.compile(r"(?:(?P<name>[^=:\"']+):)?(?P<changes>.+)")
# What false takes out of a recipe: the defaults of these sections are off.
CAN_BE_OFF = ("augmentation", "distill")
# What the ablation sets itself, or what makes no difference to the weights.
FIXED = ("name", "description", "seed", "photos")
# What is taken away, one at a time, where no variants are given; what a recipe has not got is left out.
INGREDIENTS = (
    "no distillation: distill=false",
    "no ema: training.ema=0.0",
    "no label smoothing: training.label_smoothing=0.0",
    "no shift: augmentation.shift=0",
    "no flip: augmentation.flip=false",
    "no erasing: augmentation.erasing=0.0",
    "no mixup: augmentation.mixup=0.0",
    "no cutmix: augmentation.cutmix=0.0",
)


@dataclass(frozen=True)
class Variant:
    """A variant of a recipe.

    Attributes:
        name: what the table calls it.
        changes: the settings that differ, as they were written; empty for the whole recipe.
        recipe: the recipe with them.
    """

    name: str
    changes: str
    recipe: Recipe

    @property
    def folder(self) -> str:
        """The name of its folder: letters and digits of its name, in lower case, hyphens between them."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


def brief(recipe: Recipe, epochs: int, seed: int) -> Recipe:
    """Return a recipe of the float phase alone, for so many epochs and with this seed.

    Teachers answer to as many views only as the epochs show.

    Args:
        recipe: the recipe in full.
        epochs: of the float phase, at least 1; its schedule ends with them.
        seed: of all chance but the validation split.
    """
    return recipe.model_copy(update={"seed": seed}).with_changes(
        training={"epochs": epochs},
        qat=QatPhase(epochs=0).model_dump(),
        distill={"views": min(epochs, recipe.distill.views)},
    )


def variants(recipe: Recipe, texts: Sequence[str], epochs: int) -> list[Variant]:
    """Return the whole recipe and its variants.

    Args:
        recipe: the recipe.
        texts: a variant each, see :func:`parse_variant`; none for one variant for each of INGREDIENTS it has.
        epochs: how long each is trained.

    Raises:
        UsageError: a text that is no variant, changes nothing or what must stay the same, or a name given twice.
        RecipeError: a setting that is unknown or out of range, or photographs.
    """
    if recipe.photos.views:
        raise RecipeError(
            f"the recipe {recipe.name}: expected one without photographs for an ablation; set photos.views = 0"
        )
    whole = Variant(WHOLE, "", recipe)
    if texts:
        found = [parse_variant(recipe, text) for text in texts]
        for each in found:
            _check(whole, each, epochs)
    else:
        found = [each for text in INGREDIENTS if _differs(whole, each := parse_variant(recipe, text), epochs)]
    named: dict[str, Variant] = {}
    for each in (whole, *found):
        if each.folder in named:
            raise UsageError(
                f"expected variants with names of their own, got {named[each.folder].name!r} and {each.name!r}"
            )
        named[each.folder] = each
    return list(named.values())


def parse_variant(recipe: Recipe, text: str) -> Variant:
    """Return the variant of a recipe that a text describes.

    The text is ``NAME: CHANGES``, or CHANGES alone, which then are the name.
    CHANGES are the inside of a TOML inline table, as in
    ``distill=false, training.label_smoothing=0.05``: dotted keys of the
    recipe, strings in quotes. ``SECTION=false`` takes a section of CAN_BE_OFF
    back to its defaults, which are off.

    Raises:
        UsageError: no such text, or a setting that is the ablation's own.
        RecipeError: a setting that is unknown or out of range.
    """
    matched = FORM.fullmatch(text.strip())
    changes = matched["changes"].strip() if matched else ""
    name = ((matched["name"] if matched else None) or changes).strip()
    if not re.search(r"[a-zA-Z0-9]", name):
        raise UsageError(f"expected a variant as 'NAME: section.key=value, ...', got {text!r}")
    try:
        given = tomllib.loads(f"given = {{ {changes} }}")["given"]
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"the variant {text!r}: expected TOML, as in 'NAME: section.key=value, section.key=\"text\"' ({error})"
        ) from error
    if fixed := [key for key in given if key in FIXED]:
        raise UsageError(f"the variant {text!r}: {fixed[0]} is the same for all variants of an ablation; leave it out")
    values = recipe.model_dump(mode="json")
    for key, value in given.items():
        values[key] = _changed(key, values.get(key), value)
    return Variant(name, changes, parse_recipe(tomli_w.dumps(values), f"the variant {name!r}"))


def _changed(key: str, before: Any, value: Any) -> Any:
    if key in CAN_BE_OFF and value is False:
        return {}
    return {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value


def _check(whole: Variant, variant: Variant, epochs: int) -> None:
    """Check that a variant trains otherwise than the whole recipe, and validates on the same images."""
    ours, theirs = whole.recipe.data, variant.recipe.data
    if (ours.validation, ours.split_seed) != (theirs.validation, theirs.split_seed):
        raise UsageError(
            f"the variant {variant.name!r} validates on other images; leave data.validation and data.split_seed"
        )
    if not _differs(whole, variant, epochs):
        raise UsageError(
            f"the variant {variant.name!r} changes nothing that {epochs} epochs of the float phase show; leave it out"
        )


def _differs(whole: Variant, variant: Variant, epochs: int) -> bool:
    return brief(variant.recipe, epochs, 0) != brief(whole.recipe, epochs, 0)
