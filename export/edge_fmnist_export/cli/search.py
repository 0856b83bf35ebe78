"""``edge-fmnist search``: look for networks that are accurate, quick and small."""

from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_fmnist import extras
from edge_fmnist.cli import console, options
from edge_fmnist.data import dataset
from edge_fmnist.errors import RunError, UsageError
from edge_fmnist.files import write_bytes
from edge_fmnist.model.registry import DEFAULT_MODEL, read_model
from edge_fmnist_export.training import backend

if TYPE_CHECKING:
    from edge_fmnist_export.search.state import Candidate, State
    from edge_fmnist_export.search.trial import Bench

OUTPUT = Path("runs/search")
REFERENCE = "reference.tflite"


def search(
    budget: Annotated[
        float, typer.Option("--budget", help="Minutes that all candidates may take, those of earlier calls among them.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the search.")] = OUTPUT,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Epochs that each candidate is trained.")] = 4,
    population: Annotated[
        int, typer.Option("--population", min=1, help="Candidates drawn before the front grows by mutation.")
    ] = 8,
    images: Annotated[
        int, typer.Option("--images", min=0, help="Training images that are used, a 12th to validate; 0 for all.")
    ] = 24_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of all chance.")] = 0,
    data: options.Data = None,
    json: options.Json = False,
) -> None:
    """Look for networks that are accurate, quick and small.

    Trains candidates briefly, writes each as an int8 file, measures its accuracy on validation images, its latency
    beside that of edge and its size, and keeps the Pareto front, from which it grows by mutation. Ctrl-C or kill
    loses no finished candidate; the same command goes on. The front is written as recipes for edge-fmnist train.
    """
    if not (budget > 0 and math.isfinite(budget)):
        raise typer.BadParameter(f"expected minutes above 0, got {budget:g}", param_hint="--budget")
    # Files are written by TensorFlow alone, whichever back end trains elsewhere.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    extras.require("export", "searching")
    bench, state = _start(output, data, seed, population, epochs, images)
    try:
        state = _run(output, bench, state, budget * 60)
    except KeyboardInterrupt:
        console.say(f"Interrupted. What is done is in {output}; go on with the same command.")
        raise typer.Exit(130) from None
    _report(output, state, budget, json)


def _start(
    folder: Path, data: Path | None, seed: int, population: int, epochs: int, images: int
) -> tuple[Bench, State]:
    """Return what all candidates share, and the state of the search, new or from the folder."""
    from edge_fmnist_export.search.loop import check_first
    from edge_fmnist_export.search.state import Settings, State, check_same, load_state, save_state
    from edge_fmnist_export.search.trial import Bench, subset

    before = load_state(folder)
    if before is None:
        _check_new(folder)
    train = dataset.load("train", data)
    reference = _reference(folder)
    settings = Settings(
        seed=seed,
        population=population,
        epochs=epochs,
        images=images,
        data_sha256=train.sha256,
        reference_sha256=hashlib.sha256(reference).hexdigest(),
    )
    bench = Bench(subset(train, images, seed), reference)
    if before is not None:
        check_same(folder, before.settings, settings)
        return bench, before
    check_first(settings, bench)
    write_bytes(folder / REFERENCE, reference)
    state = State(settings=settings)
    save_state(folder, state)
    return bench, state


def _check_new(folder: Path) -> None:
    """Check that a folder without a state can take a new search."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: a file; name a folder with --output")
    if folder.is_dir() and any(path.name != REFERENCE for path in folder.iterdir()):
        raise UsageError(f"{folder}: already there, and holds no search (state.json); name another with --output")


def _reference(folder: Path) -> bytes:
    """Return the model file that latencies are compared with: the search's own copy, so that it stays the same."""
    path = folder / REFERENCE
    return path.read_bytes() if path.is_file() else read_model(DEFAULT_MODEL).content


def _run(folder: Path, bench: Bench, state: State, budget: float) -> State:
    from edge_fmnist_export.search.loop import Search
    from edge_fmnist_export.search.progress import SearchProgress

    with console.quiet_native_log():
        backend.warm_up_keras()
    observer = SearchProgress(console.stderr_console(), budget, console.quiet_native_log)
    return Search(folder, bench, observer).run(state, budget)


def _report(folder: Path, state: State, budget: float, json: bool) -> None:
    """Show the front, and write its recipes and its plot."""
    from edge_fmnist_export.search.front import pareto_front
    from edge_fmnist_export.search.recipes import write_front

    front = pareto_front(state.candidates)
    if not front:
        reason = next((candidate.failure for candidate in state.candidates), "the budget is too small for one")
        raise RunError(f"{folder}: no candidate could be measured; the first: {reason}")
    recipes = write_front(folder, front)
    plots = _plot(folder, state, front)
    if json:
        console.emit_json(
            {
                "output": str(folder),
                "budget_minutes": budget,
                "spent_minutes": round(state.seconds / 60, 3),
                "settings": state.settings.model_dump(mode="json"),
                "candidates": len(state.candidates),
                "front": [{**_plain(each), "recipe": str(recipes[each.number])} for each in front],
                "plots": [str(path) for path in plots],
            }
        )
    else:
        _show(folder, state, front)


def _plain(candidate: Candidate) -> dict[str, Any]:
    measured = candidate.measured.model_dump() if candidate.measured else {}
    return {
        "number": candidate.number,
        "architecture": candidate.architecture,
        "parent": candidate.parent,
        **{key: round(value, 6) for key, value in measured.items()},
    }


def _plot(folder: Path, state: State, front: list[Candidate]) -> list[Path]:
    if extras.missing(extras.EXTRAS["plot"]):
        console.say("No plot: that needs the extra, pip install 'edge-fmnist[plot]'.")
        return []
    from edge_fmnist_export.search.plot import plot_search

    return plot_search(state.candidates, front, folder)


def _show(folder: Path, state: State, front: list[Candidate]) -> None:
    rows = [
        (
            each.number,
            each.architecture,
            f"{found.accuracy:.2%}",
            f"{found.ratio:.2f}",
            f"{found.microseconds:.1f}",
            f"{found.bytes:,}",
            f"{found.parameters:,}",
            f"{found.macs:,}",
        )
        for each in front
        if (found := each.measured) is not None
    ]
    console.show_table(
        f"The front of {len(state.candidates)} candidates in {state.seconds / 60:.1f} minutes",
        ["candidate", "architecture", "validation", f"x {DEFAULT_MODEL}", "p50, µs", "bytes", "parameters", "MACs"],
        rows,
        numbers_from=2,
    )
    console.say(f"Recipes of the front: {folder / 'front'}; next: edge-fmnist train {folder / 'front'}/NAME.toml")
