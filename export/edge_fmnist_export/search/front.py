"""The Pareto front as recipes for full training, and as a plot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edge_fmnist.data.files import moved_into_place, write_text
from edge_fmnist_export.search.objective import full_recipe
from edge_fmnist_export.search.study import Candidate

RED, GREY = "#d1495b", "#9aa5b1"
# Without random identifiers and dates, the same search gives the same bytes.
RC = {"font.size": 9, "svg.hashsalt": "edge-fmnist", "axes.spines.top": False, "axes.spines.right": False}
METADATA: dict[str, dict[str, None]] = {"front.png": {"Software": None}, "front.svg": {"Date": None}}


def write_recipes(folder: Path, front: Sequence[Candidate]) -> list[Path]:
    """Write a recipe for each candidate of the front, and remove those that are no longer on it.

    Returns:
        Paths in the order of the front.

    Raises:
        OSError: A file cannot be written.
    """
    for path in folder.glob("candidate-*.toml"):
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

    Args:
        candidates: All candidates.
        front: Candidates of the front.
        folder: Where ``front.png`` and ``front.svg`` are written.

    Returns:
        Paths of the two files.

    Raises:
        OSError: A file cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(RC):
        # Without pyplot, which would choose a window system.
        figure = Figure(figsize=(10.0, 4.6), dpi=160, layout="constrained")
        latency, size = figure.subplots(1, 2, sharey=True)
        latency.set_xlabel("latency, multiple of the reference's")
        latency.set_ylabel("top-1 accuracy of the int8 file on validation images, %")
        size.set_xlabel("file size, kB")
        panels: list[tuple[Any, Callable[[Candidate], float]]] = [
            (latency, lambda each: each.ratio),
            (size, lambda each: each.bytes / 1000),
        ]
        for axes, x in panels:
            axes.grid(color="#e4e8ec")
            axes.set_axisbelow(True)
            for shown, color in ((candidates, GREY), (front, RED)):
                axes.plot([x(each) for each in shown], [100 * each.accuracy for each in shown], "o", color=color)
            for each in front:
                axes.annotate(str(each.number), (x(each), 100 * each.accuracy), (5, 3), textcoords="offset points")
        figure.suptitle("Networks found by the search, after brief training")
        for name, metadata in METADATA.items():
            with moved_into_place(folder / name) as temporary:
                figure.savefig(temporary, metadata=metadata)
    return [folder / name for name in METADATA]
