from __future__ import annotations

import base64
import re
from collections.abc import Iterator

import matplotlib
import numpy as np
import pytest

from edge_fmnist.errors import UsageError
from edge_fmnist_export.report import figures
from edge_fmnist_export.report.base import Figure, Section, Table
from edge_fmnist_export.report.page import cell_text, render_page
from edge_fmnist_export.report.store import draw


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    with matplotlib.rc_context(figures.RC):
        yield


def line_chart() -> Figure:
    axes = figures.new_axes(2)
    axes.plot([1, 2], [3, 4], color=figures.BLUE)
    axes.set_xlabel("number")
    return Figure("line", figures.figure_of(axes), 'A "line" & more.')


def page(section: Section, problems: tuple[str, ...] = ()) -> str:
    return render_page("edge <report>", {"model": "a & b"}, [draw("result", section, 1.0)], problems)


def test_page_needs_nothing_from_outside() -> None:
    html = page(Section("Result", ["One < two."], [line_chart()], [Table("t", ["a"], [[1]], "A table.")]))
    svg = base64.b64decode(re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', html)[0]).decode()
    for text in (html, svg):
        addresses = re.findall(r'(?:src|href|url|@import)\s*[=(]\s*"?([^")\s>]+)', text)
        assert [each for each in addresses if not each.startswith(("data:", "#"))] == []
    assert "<script" not in html


def test_page_escapes_text() -> None:
    html = page(Section("<b>", ["1 < 2"], [line_chart()], [Table("t", ["<i>"], [["<u>"]], "c")]), ("bad <model>",))
    for wrong in ("<report>", "<b>", "1 < 2", "<i>", "<u>", "<model>", '"line"'):
        assert wrong not in html


def test_page_shows_some_rows_and_says_where_the_rest_is() -> None:
    html = page(Section("Result", tables=[Table("t", ["number"], [[n] for n in range(1000, 1030)], "c", shown=3)]))
    assert re.findall(r"<td[^>]*>([^<]*)</td>", html) == ["1,000", "1,001", "1,002"]
    assert "3 of 30 rows; all of them are in result/t.csv." in html


def test_page_aligns_columns_of_numbers() -> None:
    html = page(Section("Result", tables=[Table("t", ["name", "value"], [["a", None], ["b", 1.5]], "c")]))
    assert re.findall(r'<t[hd][^>]*class="(\w+)"', html) == ["number", "short", "number", "short", "number"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (12345, "12,345"),
        (0.94615, "0.9462"),
        (83.03, "83.0"),
        (2.7e-9, "2.7e-09"),
        (0.0, "0.0000"),
        (True, "True"),
        ("Shirt", "Shirt"),
    ],
)
def test_cells(value: object, text: str) -> None:
    assert cell_text(value) == text


def test_the_same_figure_gives_the_same_bytes() -> None:
    assert figures.render(line_chart().content) == figures.render(line_chart().content)


def test_figures_follow_dark_and_light() -> None:
    content, suffix = figures.render(line_chart().content)
    text = content.decode()
    assert suffix == ".svg"
    rules = text[text.index("<style>") : text.index("</style>")]
    assert "prefers-color-scheme: dark" in rules
    assert f'[style*="stroke: {figures.BLUE}"]{{stroke:{figures.DARK[figures.BLUE]}!important}}' in rules
    # The selectors find what matplotlib writes.
    assert f"stroke: {figures.BLUE}" in text[text.index("</style>") :]
    assert f"fill: {figures.PAPER}" in text[text.index("</style>") :]


def test_long_labels_are_not_cut_off() -> None:
    images = np.zeros((1, 28, 28), np.uint8)
    content, _ = figures.render(figures.image_tiles(images, ["a caption far wider than its image " * 3], columns=4))
    width = re.search(rb'width="([\d.]+)pt"', content)
    assert width is not None
    assert float(width[1]) > figures.WIDTH * 72


def test_long_names_of_classes_leave_room_for_the_cells() -> None:
    labels = ["a name of a class that is as long as names may ever be", "b"]
    texts, colours = [["1", ""], ["", "1"]], np.full((2, 2), figures.CELL_BLUE)
    # Matplotlib warns where labels leave no room, and warnings are errors here.
    assert figures.render(figures.heat_map(np.eye(2), texts, labels, colours))[1] == ".svg"


def test_images_keep_their_own_pixels() -> None:
    image = np.arange(784, dtype=np.uint8).reshape(1, 28, 28)
    content, _ = figures.render(figures.image_tiles(image, ["one"], columns=4))
    found = re.search(rb"base64,([A-Za-z0-9+/=\s]+)", content)
    assert found is not None
    header = base64.b64decode(found[1])[16:24]
    assert (int.from_bytes(header[:4], "big"), int.from_bytes(header[4:], "big")) == (28, 28)


def test_bytes_of_pictures_are_taken_as_they_are() -> None:
    png = figures.PNG_START + b"rest"
    assert figures.render(png) == (png, ".png")
    assert figures.render(b"<svg></svg>") == (b"<svg></svg>", ".svg")
    with pytest.raises(UsageError, match="expected a figure, or the bytes of an SVG or PNG"):
        figures.render(b"GIF89a")
