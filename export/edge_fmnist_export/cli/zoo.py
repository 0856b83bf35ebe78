"""``edge-fmnist zoo``: train networks of published projects and compare them in a table."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_fmnist import extras
from edge_fmnist.cli import console, options
from edge_fmnist.data import dataset
from edge_fmnist.errors import CheckError
from edge_fmnist.model.registry import DEFAULT_MODEL, read_model
from edge_fmnist_export.bulk import cluster
from edge_fmnist_export.training import backend

if TYPE_CHECKING:
    from edge_fmnist.data.dataset import Split
    from edge_fmnist_export.training.recipe import Recipe

OUTPUT = Path("runs/zoo")


def zoo(
    only: Annotated[list[str] | None, typer.Option(help="Train only this network. Can be repeated.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the run folders.")] = OUTPUT,
    table: Annotated[
        Path | None, typer.Option(help="Markdown page to write the table into. Default: OUTPUT/zoo.md.")
    ] = None,
    data: options.Data = None,
    ray: cluster.Ray = None,
    json: options.Json = False,
) -> None:
    """Train networks of published projects and compare them in a table.

    Each network is trained with the recipe of its name, quantized and evaluated on the test images, as float model
    and as int8 file; latencies are measured in alternation with edge. Finished networks are not trained again. The
    table lists all finished networks, as Markdown and JSON. Exit code 1 if one is below its published accuracy.
    With --ray, each node of a cluster trains a network at a time; OUTPUT has to be on storage that all of them share.
    """
    # Conversion to TFLite needs the TensorFlow back end.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    extras.require("export", "training the zoo")
    if ray is not None:
        cluster.check(ray)
    from edge_fmnist_export.report import markdown
    from edge_fmnist_export.search import zoo as networks
    from edge_fmnist_export.search.runs import resumable
    from edge_fmnist_export.training import training_data
    from edge_fmnist_export.training.recipe import load_recipe

    recipes = [load_recipe(name) for name in _chosen(only or [], networks.PUBLISHED)]
    page = table or output / "zoo.md"
    # Unusable pages and data are reported before anything is trained.
    networks.zoo_page(page, [])
    train, test = dataset.load("train", data), dataset.load("test", data)
    recipes = [training_data.scaled_validation(recipe, len(train)) for recipe in recipes]
    for recipe in recipes:
        training_data.subsets(recipe, train)
    with console.quiet_native_log():
        backend.warm_up_keras()
    with resumable(output):
        _build(recipes, output, train, test, ray)
        with console.quiet_native_log():
            rows = networks.finished_networks(output, test, read_model(DEFAULT_MODEL).content)
    document = {"measured_with": networks.measured_with(), "reference": DEFAULT_MODEL, "networks": rows}
    plain = markdown.write_page(page, networks.zoo_page(page, rows), document)
    if json:
        console.emit_json(document)
    else:
        cells = map(networks.table_cells, rows)
        console.show_table("The zoo: accuracy on the test images", networks.HEADINGS, cells)
    console.say(f"Wrote the table to {page} and {plain}")
    if below := [row["name"] for row in rows if not row["met"]]:
        raise CheckError(
            f"int8 below the published accuracy: {', '.join(below)} (of {len(networks.PUBLISHED)} networks)"
        )


def _chosen(only: list[str], known: Collection[str]) -> list[str]:
    """Return the names of the networks to train, in the order of the zoo; all by default."""
    if unknown := [name for name in only if name not in known]:
        expected = f"expected a network of the zoo ({', '.join(known)}), got {unknown[0]!r}"
        raise typer.BadParameter(expected, param_hint="--only")
    return [name for name in known if name in (only or known)]


def _build(recipes: list[Recipe], folder: Path, train: Split, test: Split, ray: str | None) -> None:
    """Train and export the networks, here or on a cluster."""
    from edge_fmnist_export.search.zoo import build_network

    if ray is None:
        for recipe in recipes:
            build_network(folder / recipe.name, recipe, train, test)
        return
    calls = [((folder / recipe.name).absolute(), recipe) for recipe in recipes]
    with cluster.connected(ray) as connection:
        for name in cluster.run_on_nodes(connection, build_network, calls, train, test):
            if name is not None:
                console.say(f"{name}: finished")
