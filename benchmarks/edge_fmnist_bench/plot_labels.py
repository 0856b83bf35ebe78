"""Write labels beside points so that they hide nothing."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edge_fmnist_bench.plot_canvas import DPI, QUIET
from edge_fmnist_bench.plot_points import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABEL_WIDTH = 26


def name_points(axes: Axes, points: Sequence[Point], places: Sequence[tuple[float, float]]) -> None:
    """Write each point's label where it hides nothing, with a thin line from it to the point."""
    # Markers are about this many pixels wide.
    radius = 7 * DPI / 72
    marks = [axes.transData.transform(place) for place in places]
    taken = [_box(x - radius, y - radius, x + radius, y + radius) for x, y in marks]
    for index in sorted(range(len(points)), key=lambda position: places[position][0]):
        for offset in _offsets():
            text = _label(axes, points[index].label, places[index], offset)
            box = text.get_window_extent().padded(3)
            inside = all(axes.bbox.contains(x, y) for x, y in ((box.x0, box.y0), (box.x1, box.y1)))
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                _line(axes, places[index], offset)
                break
            text.remove()
        else:
            # No free place: better over another label than missing.
            _label(axes, points[index].label, places[index], (0, 14))


def _box(left: float, bottom: float, right: float, top: float) -> Any:
    from matplotlib.transforms import Bbox

    return Bbox.from_extents(left, bottom, right, top)


def _offsets() -> list[tuple[int, int]]:
    """Return places around a point for its label, in points, the nearest first."""
    places = [(across, up) for across in range(-96, 97, 24) for up in (*range(-140, -13, 14), *range(14, 141, 14))]
    return sorted(places, key=lambda place: (place[0] ** 2 + place[1] ** 2, place))


def _label(axes: Axes, label: str, place: tuple[float, float], offset: tuple[int, int]) -> Any:
    return axes.annotate(
        textwrap.fill(label, LABEL_WIDTH),
        place,
        offset,
        textcoords="offset points",
        ha="center",
        va="bottom" if offset[1] > 0 else "top",
        fontsize=9,
        zorder=4,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )


def _line(axes: Axes, place: tuple[float, float], offset: tuple[int, int]) -> None:
    """Draw a line from a point to its label, below all labels."""
    line = {"arrowstyle": "-", "color": QUIET, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
    axes.annotate("", place, offset, textcoords="offset points", zorder=1.5, arrowprops=line)
