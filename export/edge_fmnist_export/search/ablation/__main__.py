"""``python -m edge_fmnist_export.search.ablation``: what each ingredient of a recipe is worth."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_fmnist import extras
from edge_fmnist.cli import console, options
from edge_fmnist.data import dataset
from edge_fmnist_export.cli.train import FLOAT_MODULES
from edge_fmnist_export.training import backend

if TYPE_CHECKING:
    from edge_fmnist_export.search.ablation.variants import Variant
    from edge_fmnist_export.training.progress import ProgressListener

OUTPUT = Path("runs/ablation")
TABLE = "ablation.md"


def ablation(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name (edge-fmnist recipes) or a TOML file.")],
    variant: Annotated[
        list[str] | None,
        typer.Option(
            "--variant",
            "-v",
            help="'NAME: section.key=value, ...', TOML; distill=false leaves the teachers out. May be given again. "
            "Default: each ingredient that the recipe has is taken away in turn.",
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Epochs of the float phase of each run.")] = 8,
    seeds: Annotated[str, typer.Option("--seeds", help="Seeds of each variant, commas between them.")] = "1,2",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run folders.")] = OUTPUT,
    table: Annotated[
        Path | None,
        typer.Option(
            "--table", help="Markdown page that becomes the table. Default: OUTPUT/ablation.md.", show_default=False
        ),
    ] = None,
    data: options.Data = None,
    json: options.Json = False,
) -> None:
    """Train a recipe's float phase briefly, as it is and in variants, and put them into one table.

    Validation decides; test images are not looked at. What is finished is not trained again: after Ctrl-C the same
    command goes on. The table is written after each run, as Markdown and as JSON.
    """
    extras.require("export", "an ablation", FLOAT_MODULES)
    from edge_fmnist_export.search.ablation.build import train_variants
    from edge_fmnist_export.search.ablation.table import HEADINGS, Ablation, cells, check_page, document, write_table
    from edge_fmnist_export.search.ablation.variants import variants
    from edge_fmnist_export.training import train_recipe as training
    from edge_fmnist_export.training import training_data as material
    from edge_fmnist_export.training.recipe import load_recipe

    whole, page, numbers = load_recipe(recipe), table or output / TABLE, _numbers(seeds)
    wanted = variants(whole, variant or [], epochs)
    check_page(page)
    train = dataset.load("train", data)
    for each in wanted:
        material.subsets(each.recipe, train)
        training.check_runs(each.recipe)
    with console.quiet_native_log():
        backend.warm_up_keras()
    shared = Ablation(whole.name, epochs, whole.data.validation)
    try:
        for rows in train_variants(output, wanted, numbers, epochs, train, _announce):
            plain = write_table(page, shared, rows)
    except KeyboardInterrupt:
        console.say(f"Interrupted. What is done is in {output}; go on with the same command.")
        raise typer.Exit(130) from None
    if json:
        console.emit_json(document(shared, rows))
    else:
        shown = [cells(row, rows[0]) for row in rows]
        console.show_table(f"{whole.name}, {epochs} epochs: validation accuracy", HEADINGS, shown, numbers_from=2)
    console.say(f"The table: {page} and {plain}")


def _numbers(seeds: str) -> list[int]:
    parts = [part.strip() for part in seeds.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts) or len(set(map(int, parts))) < len(parts):
        raise typer.BadParameter(f"expected different whole numbers as in 1,2,3, got {seeds!r}", param_hint="--seeds")
    return [int(part) for part in parts]


def _announce(variant: Variant, seed: int) -> AbstractContextManager[ProgressListener]:
    from edge_fmnist_export.training.progress import ProgressListener

    console.say(f"{variant.name}, seed {seed}: training, or finished already")
    return ProgressListener(console.stderr_console())


def main() -> None:
    """Run the command; an error of ours becomes one message and its exit code."""
    with console.exit_codes():
        typer.run(ablation)


if __name__ == "__main__":
    main()
