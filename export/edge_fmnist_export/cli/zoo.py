"""``edge-fmnist zoo``: train the networks of the published projects and put them into one table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_fmnist import extras
from edge_fmnist.cli import console, options
from edge_fmnist.data import dataset
from edge_fmnist.errors import CheckError
from edge_fmnist.model.registry import DEFAULT_MODEL, read_model
from edge_fmnist_export.training import backend

if TYPE_CHECKING:
    from edge_fmnist.data.dataset import Split
    from edge_fmnist_export.search.zoo.build import Row
    from edge_fmnist_export.training.recipe import Recipe

OUTPUT = Path("runs/zoo")
TABLE = "zoo.md"


def zoo(
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Train this network alone; may be given again.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run folders.")] = OUTPUT,
    table: Annotated[
        Path | None,
        typer.Option("--table", help="Markdown page that takes the table. Default: OUTPUT/zoo.md.", show_default=False),
    ] = None,
    data: options.Data = None,
    json: options.Json = False,
) -> None:
    """Train the networks of the published projects and put them into one table.

    Each is trained by the recipe of its name, quantized and evaluated on the test images, as float and as written
    int8 file; all files are timed in turns with edge. What is finished is not trained again. The table holds every
    network that is finished, as Markdown and as JSON. Exit code 1 when one stays below its published accuracy.
    """
    # Files are written by TensorFlow alone, whichever back end trains elsewhere.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    extras.require("export", "training the zoo")
    from edge_fmnist_export.search.zoo.published import published
    from edge_fmnist_export.search.zoo.table import check_page, document, write_table

    page = table or output / TABLE
    recipes = _recipes(only)
    check_page(page)
    train, test = dataset.load("train", data), dataset.load("test", data)
    try:
        rows = _rows(output, recipes, train, test)
    except KeyboardInterrupt:
        console.say(f"Interrupted. What is done is in {output}; go on with the same command.")
        raise typer.Exit(130) from None
    plain = write_table(page, rows)
    if json:
        console.emit_json(document(rows))
    else:
        _show(rows)
    console.say(f"The table: {page} and {plain}")
    if below := [row.published.name for row in rows if not row.met]:
        raise CheckError(f"below the published accuracy as int8: {', '.join(below)} (of {len(published())} networks)")


def _recipes(only: list[str] | None) -> dict[str, Recipe]:
    """Return the recipes of the networks that are wanted, by name."""
    from edge_fmnist_export.search.zoo.published import published
    from edge_fmnist_export.training.recipe import load_recipe

    known = published()
    if unknown := [name for name in only or [] if name not in known]:
        raise typer.BadParameter(
            f"expected a network of the zoo ({', '.join(known)}), got {unknown[0]!r}", param_hint="--only"
        )
    return {name: load_recipe(name) for name in known if name in (only or known)}


def _rows(folder: Path, recipes: dict[str, Recipe], train: Split, test: Split) -> list[Row]:
    """Train and export the networks, and return the rows of all that are finished."""
    from edge_fmnist_export.search.zoo.build import export_network, finished_rows, train_network
    from edge_fmnist_export.search.zoo.published import published
    from edge_fmnist_export.training import training_data as material
    from edge_fmnist_export.training.progress import ProgressListener

    for recipe in recipes.values():
        material.subsets(recipe, train)
    with console.quiet_native_log():
        backend.warm_up_keras()
    for name, recipe in recipes.items():
        console.say(f"{name}: training by its recipe, or finished already")
        with ProgressListener(console.stderr_console()) as listener:
            run = train_network(folder / name, recipe, train, listener)
        console.say(f"{name}: exporting and evaluating")
        with console.quiet_native_log():
            export_network(run, test)
    with console.quiet_native_log():
        return finished_rows(folder, published().values(), test, read_model(DEFAULT_MODEL).content)


def _show(rows: list[Row]) -> None:
    from edge_fmnist_export.search.zoo.table import HEADINGS, cells

    console.show_table("The zoo: accuracy on the test images", HEADINGS, map(cells, rows))
