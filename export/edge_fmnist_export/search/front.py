"""The Pareto front as recipes for full training, and as a plot."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edge_fmnist.data.files import write_bytes, write_text
from edge_fmnist_export.report import figures
from edge_fmnist_export.search.objective import full_recipe
from edge_fmnist_export.search.study import Candidate

# Names of the recipes here; others are copies of the user's.
WRITTEN = re.compile(r"candidate-\d+\.toml")


def write_recipes(folder: Path, front: Sequence[Candidate]) -> list[Path]:
    """Write a recipe for each candidate of the front, in its order, and remove those that are no longer on it.

    Raises:
        OSError: A file cannot be written.
    """
    for path in folder.glob("candidate-*.toml"):
        if WRITTEN.fullmatch(path.name):
            path.unlink()
    paths = []
    for each in front:
        description = (
            f"Found by a search: {each.accuracy:.2%} validation accuracy after brief training, "
            f"{each.ratio:.2f} times the reference's latency, {each.bytes:,} bytes."
        )
        recipe = full_recipe(each.number, each.architecture, description)
        paths.append(folder / f"{recipe.name}.toml")
        write_text(paths[-1], recipe.to_toml())
    return paths


def plot_front(candidates: Sequence[Candidate], front: Sequence[Candidate], folder: Path) -> list[Path]:
    """Plot accuracy against latency and file size, with the front in colour and labelled by number.

    Writes ``front.png`` and ``front.svg`` and returns their paths.

    Raises:
        OSError: A file cannot be written.
    """
    with figures.drawing():
        figure = figures.new_figure(4.6, width=10.0)
        latency, size = figure.subplots(1, 2, sharey=True)
        latency.set_xlabel("latency, multiple of the reference's")
        latency.set_ylabel("top-1 accuracy of the int8 file on validation images, %")
        size.set_xlabel("file size, kB")
        panels: list[tuple[Any, Callable[[Candidate], float]]] = [
            (latency, lambda each: each.ratio),
            (size, lambda each: each.bytes / 1000),
        ]
        for axes, x in panels:
            axes.grid()
            for shown, color in ((candidates, figures.QUIET), (front, figures.RED)):
                axes.plot([x(each) for each in shown], [100 * each.accuracy for each in shown], "o", color=color)
            for each in front:
                axes.annotate(str(each.number), (x(each), 100 * each.accuracy), (5, 3), textcoords="offset points")
        figure.suptitle("Networks found by the search, after brief training")
        files = {"front.png": figures.as_png(figure), "front.svg": figures.as_svg(figure)}
    for name, content in files.items():
        write_bytes(folder / name, content)
    return [folder / name for name in files]
