"""``edge-fmnist recipes``: list the shipped recipes."""

from __future__ import annotations

from typing import Annotated

import typer

from edge_fmnist import extras
from edge_fmnist.cli import console, options


def recipes(
    show: Annotated[str | None, typer.Argument(help="Print this recipe as TOML.")] = None, json: options.Json = False
) -> None:
    """List the shipped recipes, or print one."""
    extras.require("export", "reading recipes", ("pydantic", "tomli_w"))
    from edge_fmnist_export.training.recipe import load_recipe, shipped_recipes

    if show is not None:
        recipe = load_recipe(show)
        if json:
            console.emit_json(recipe.model_dump(mode="json"))
        else:
            print(recipe.to_toml(), end="")
        return
    found = shipped_recipes()
    if json:
        console.emit_json([recipe.model_dump(mode="json") for recipe in found.values()])
        return
    console.show_table(
        "Shipped recipes",
        ["name", "architecture", "description", "epochs", "QAT epochs"],
        [(name, r.architecture, r.description, r.training.epochs, r.qat.epochs) for name, r in found.items()],
        numbers_from=3,
    )
