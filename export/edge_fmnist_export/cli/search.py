"""``edge-fmnist search``: search for accurate, fast and small networks."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_fmnist import extras
from edge_fmnist.cli import console, options
from edge_fmnist.data import dataset
from edge_fmnist.data.files import write_bytes
from edge_fmnist.errors import RunError
from edge_fmnist.model.registry import DEFAULT_MODEL
from edge_fmnist_export.bulk import cluster
from edge_fmnist_export.training import backend

if TYPE_CHECKING:
    import optuna

    from edge_fmnist_export.search.study import Candidate

OUTPUT = Path("runs/search")


def search(
    budget: Annotated[
        float, typer.Option(help="Minutes for all candidates together, including those of earlier calls.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the search.")] = OUTPUT,
    epochs: Annotated[int, typer.Option(min=1, help="Training epochs of each candidate.")] = 4,
    population: Annotated[int, typer.Option(min=2, help="Population size of NSGA-II.")] = 8,
    images: Annotated[
        int, typer.Option(min=0, help="Training images to use, 1 of 12 for validation; 0 for all.")
    ] = 24_000,
    seed: options.Seed = 0,
    data: options.Data = None,
    ray: cluster.Ray = None,
    json: options.Json = False,
) -> None:
    """Search for accurate, fast and small networks with NSGA-II.

    Trains each candidate briefly, writes it as an int8 file, and measures its accuracy on validation images, its
    latency relative to edge, and its size. The Pareto front is written as recipes for edge-fmnist train. The same
    command resumes an interrupted search; several processes may run it at the same time, and with --ray each node of
    a cluster does. OUTPUT then has to be on storage that all of them share.
    """
    if not (budget > 0 and math.isfinite(budget)):
        raise typer.BadParameter(f"expected minutes above 0, got {budget:g}", param_hint="--budget")
    # Conversion to TFLite needs the TensorFlow back end.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    extras.require("search", "searching")
    if ray is not None:
        cluster.check(ray)
    from edge_fmnist_export.search import study as studies
    from edge_fmnist_export.search.objective import REFERENCE, SearchObjective, reference_model, stratified_subset
    from edge_fmnist_export.search.runs import resumable
    from edge_fmnist_export.search.space import FIRST

    studies.check_folder(output)
    train, reference = dataset.load("train", data), reference_model(output)
    objective = SearchObjective(output, stratified_subset(train, images, seed), reference, epochs, seed)
    # Too few images are reported before anything is written.
    objective.calibration(1, str(FIRST))
    settings = {
        "seed": seed,
        "population": population,
        "epochs": epochs,
        "images": images,
        "data_sha256": list(train.sha256),
        "reference_sha256": hashlib.sha256(reference).hexdigest(),
    }
    study = studies.open_study(output, settings)
    write_bytes(output / REFERENCE, reference)
    with console.quiet_native_log():
        backend.warm_up_keras()
    with resumable(output):
        if ray is None:
            tries = studies.run_search(output, study, budget * 60, objective.evaluate)
        else:
            objective = replace(objective, folder=output.absolute())
            job = (output.absolute(), settings, budget * 60, objective.evaluate)
            tries = studies.search_on_cluster(ray, study, *job)
        for tried in tries:
            spent = f"{_minutes(study):.1f} of {budget:g} minutes"
            console.say(tried if isinstance(tried, str) else f"{_line(tried, study)}; {spent}")
    _report(output, study, budget, json)


def _minutes(study: optuna.Study) -> float:
    from edge_fmnist_export.search.study import candidate_seconds

    return sum(candidate_seconds(study)) / 60


def _line(candidate: Candidate, study: optuna.Study) -> str:
    from edge_fmnist_export.search.study import pareto_front

    return (
        f"candidate {candidate.number} {candidate.architecture}: {candidate.accuracy:.2%}, "
        f"{candidate.ratio:.2f} x {DEFAULT_MODEL}, {candidate.bytes:,} bytes"
        + (", on the front" if candidate in pareto_front(study) else "")
    )


def _report(folder: Path, study: optuna.Study, budget: float, json: bool) -> None:
    """Write the front as recipes and as a plot, and show it."""
    from edge_fmnist_export.search.front import plot_front, write_recipes
    from edge_fmnist_export.search.study import failures, measured_candidates, pareto_front

    failed, measured, front = failures(study), measured_candidates(study), pareto_front(study)
    if not front:
        raise RunError(f"{folder}: no candidate was measured; {failed[0] if failed else 'the budget is too small'}")
    recipes = write_recipes(folder / "front", front)
    plots = plot_front(measured, front, folder)
    tried = len(measured) + len(failed)
    if json:
        console.emit_json(
            {
                "output": str(folder),
                "budget_minutes": budget,
                "spent_minutes": round(_minutes(study), 3),
                "settings": study.user_attrs["settings"],
                "candidates": tried,
                "front": [asdict(each) | {"recipe": str(path)} for each, path in zip(front, recipes, strict=True)],
                "plots": [str(path) for path in plots],
            }
        )
        return
    console.show_table(
        f"Pareto front of {tried} candidates in {_minutes(study):.1f} minutes",
        ["candidate", "architecture", "validation", f"x {DEFAULT_MODEL}", "p50, µs", "bytes", "parameters", "MACs"],
        [
            (
                each.number,
                each.architecture,
                f"{each.accuracy:.2%}",
                f"{each.ratio:.2f}",
                f"{each.microseconds:.1f}",
                *(f"{value:,}" for value in (each.bytes, each.parameters, each.macs)),
            )
            for each in front
        ],
        numbers_from=2,
    )
    console.say(f"Recipes of the front: {folder / 'front'}; next: edge-fmnist train {folder / 'front'}/NAME.toml")
