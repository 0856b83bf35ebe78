"""Draw a search: accuracy against latency and against size, the front in colour (extra ``[plot]``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge_fmnist import extras
from edge_fmnist.files import moved_into_place
from edge_fmnist_export.search.state import Candidate, Measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEM, SUFFIXES = "front", (".png", ".svg")
SIZE, DPI = (10.0, 4.6), 160
FRONT, OTHERS = "#d1495b", "#9aa5b1"
# The same search gives the same bytes.
RC = {"font.size": 9, "svg.hashsalt": "edge-fmnist", "axes.spines.top": False, "axes.spines.right": False}
NO_DATE: dict[str, dict[str, None]] = {".png": {"Software": None}, ".svg": {"Date": None}}


def plot_search(candidates: Sequence[Candidate], front: Sequence[Candidate], folder: Path) -> list[Path]:
    """Draw all measured candidates, those on the front in colour with their numbers.

    Args:
        candidates: all that were tried.
        front: those on the front.
        folder: where ``front.png`` and ``front.svg`` go.

    Returns:
        The files.

    Raises:
        MissingExtraError: the extra ``[plot]`` is not installed.
        OSError: a file cannot be written.
    """
    extras.require("plot", "plotting", ("matplotlib",))
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    paths = [folder / f"{STEM}{suffix}" for suffix in SUFFIXES]
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
        # Without pyplot, which would choose a window system.
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, sharey=True)
        _draw(left, candidates, front, lambda found: found.ratio)
        left.set_xlabel("latency, multiple of the reference's")
        left.set_ylabel("top-1 accuracy of the int8 file on validation images, %")
        _draw(right, candidates, front, lambda found: found.bytes / 1000)
        right.set_xlabel("size of the file, kB")
        figure.suptitle("Networks found by the search, after brief training")
        for path in paths:
            with moved_into_place(path) as temporary:
                figure.savefig(temporary, metadata=NO_DATE[path.suffix])
    return paths


def _draw(
    axes: Axes, candidates: Sequence[Candidate], front: Sequence[Candidate], abscissa: Callable[[Measured], float]
) -> None:
    axes.grid(color="#e4e8ec")
    axes.set_axisbelow(True)
    for candidate in candidates:
        if candidate.measured is None:
            continue
        place = abscissa(candidate.measured), 100 * candidate.measured.accuracy
        shown = candidate in front
        axes.plot(*place, "o", color=FRONT if shown else OTHERS, markersize=7 if shown else 5)
        if shown:
            axes.annotate(str(candidate.number), place, (5, 3), textcoords="offset points")
