"""``python -m edge_fmnist_export.search.ablation``: measure the effect of each ingredient of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_fmnist import extras
from edge_fmnist.cli import console, options
from edge_fmnist.data import dataset
from edge_fmnist_export.training import backend

OUTPUT = Path("runs/ablation")


def ablation(
    recipe: Annotated[str, typer.Argument(help="Name of a shipped recipe (edge-fmnist recipes), or a TOML file.")],
    variant: Annotated[
        list[str] | None,
        typer.Option(
            "--variant",
            "-v",
            help="'NAME: section.key=value, ...' in TOML; distill=false removes the teachers. Can be repeated. "
            "Default: each ingredient of the recipe is removed in turn.",
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of the float phase of each run.")] = 8,
    seeds: Annotated[str, typer.Option(help="Random seeds for each variant, separated by commas.")] = "1,2",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the run folders.")] = OUTPUT,
    table: Annotated[
        Path | None, typer.Option(help="Markdown page to write the table to. Default: OUTPUT/ablation.md.")
    ] = None,
    data: options.Data = None,
    json: options.Json = False,
) -> None:
    """Train the float phase of a recipe briefly, unchanged and in variants, and compare validation accuracies.

    Test images are not used. Finished runs are not trained again: the same command resumes after Ctrl-C. The table is
    written after each run, as Markdown and JSON.
    """
    extras.require("export", "an ablation", backend.FLOAT_MODULES)
    from edge_fmnist_export.report import markdown
    from edge_fmnist_export.search.runs import resumable
    from edge_fmnist_export.search.variants import (
        HEADINGS,
        ablation_document,
        ablation_page,
        make_variants,
        train_variants,
    )
    from edge_fmnist_export.training import train_recipe, training_data
    from edge_fmnist_export.training.recipe import load_recipe

    baseline, page, numbers = load_recipe(recipe), table or output / "ablation.md", _parse_seeds(seeds)
    train = dataset.load("train", data)
    if baseline.data.validation >= len(train):
        baseline = training_data.scaled_validation(baseline, len(train))
    variants = make_variants(baseline, variant or [], epochs)
    # Unusable pages, data and recipes are reported before anything is trained.
    ablation_page(page, baseline, epochs, [])
    for each in variants:
        training_data.subsets(each.recipe, train)
        train_recipe.check_runs(each.recipe, train)
    with console.quiet_native_log():
        backend.warm_up_keras()
    with resumable(output):
        for results in train_variants(output, variants, numbers, epochs, train):
            document = ablation_document(baseline, epochs, results)
            plain = markdown.write_page(page, ablation_page(page, baseline, epochs, results), document)
    if json:
        console.emit_json(document)
    else:
        title = f"{baseline.name}, {epochs} epochs: validation accuracy"
        console.show_table(title, HEADINGS, [each.cells(results[0]) for each in results], numbers_from=2)
    console.say(f"Wrote the table to {page} and {plain}")


def _parse_seeds(seeds: str) -> list[int]:
    parts = [part.strip() for part in seeds.split(",")]
    usable = all(part.isascii() and part.isdigit() and int(part) < 2**32 for part in parts)
    if not usable or len(set(map(int, parts))) < len(parts):
        expected = f"expected different integers below 2**32, as in 1,2,3, got {seeds!r}"
        raise typer.BadParameter(expected, param_hint="--seeds")
    return [int(part) for part in parts]


if __name__ == "__main__":
    with console.exit_codes():
        typer.run(ablation)
