from __future__ import annotations

import base64
import re
import warnings
from collections.abc import Iterator

import matplotlib
import numpy as np
import pytest

from edge_fmnist_export.report import figures, markdown
from edge_fmnist_export.report.base import ReportFigure, ReportSection, ReportTable, Tile
from edge_fmnist_export.report.explain import drawing
from edge_fmnist_export.report.explain.base import Explanation
from edge_fmnist_export.report.explain.explain_input import ExplainInput
from edge_fmnist_export.report.page import cell_text, render_page
from edge_fmnist_export.report.store import BuiltSection, drawn


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    with matplotlib.rc_context(figures.RC):
        yield


def line_chart() -> ReportFigure:
    axes = figures.new_axes(2)
    axes.plot([1, 2], [3, 4], color=figures.BLUE)
    axes.set_xlabel("number")
    return ReportFigure("line", figures.figure_of(axes), 'A "line" & more.')


def svg_of(figure: ReportFigure) -> str:
    content = drawn(ReportSection("t", figures=[figure])).figures[0].content
    assert isinstance(content, bytes)
    return content.decode()


def page(section: ReportSection, *problems: str) -> str:
    return render_page("edge <report>", [BuiltSection("result", drawn(section), 1.0)], {"model": "a & b"}, problems)


def test_page_has_no_external_references() -> None:
    html = page(ReportSection("Result", ["One < two."], [line_chart()], [ReportTable("t", ["a"], [[1]], "A table.")]))
    svg = base64.b64decode(re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', html)[0]).decode()
    for text in (html, svg):
        addresses = re.findall(r'(?:src|href|url|@import)\s*[=(]\s*"?([^")\s>]+)', text)
        assert [each for each in addresses if not each.startswith(("data:", "#"))] == []
    assert "<script" not in html


def test_page_escapes_text() -> None:
    table = ReportTable("t", ["<i>"], [["<u>"]], "c")
    section = ReportSection("<b>", ["1 < 2"], [line_chart()], [table], tiles=[Tile("<dt>x", "<dd>y", "<p>z")])
    html = page(section, "bad <model>")
    for wrong in ("<report>", "<b>", "1 < 2", "<i>", "<u>", "<model>", '"line"', "<dt>x", "<dd>y", "<p>z"):
        assert wrong not in html


def test_page_opens_with_tiles_and_ends_with_about() -> None:
    html = page(ReportSection("Result", ["A paragraph."], tiles=[Tile("Top-1 accuracy", "94.43%", "a note")]))
    places = [html.index(text) for text in ("<h1>", "94.43%", "<h2>Result", "A paragraph.", "About this report")]
    assert places == sorted(places)


def test_page_shortens_tables_and_aligns_numbers() -> None:
    rows = [["a", n if n % 2 else None] for n in range(1001, 1031)]
    html = page(ReportSection("Result", tables=[ReportTable("t", ["name", "number"], rows, "c", shown=2)]))
    cells = re.findall(r'<td class="(\w+)">([^<]*)</td>', html)
    assert cells == [("short", "a"), ("number", "1,001"), ("short", "a"), ("number", "-")]
    assert "2 of 30 rows; all rows: result/t.csv." in html


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (12345, "12,345"),
        (0.94615, "0.9462"),
        (83.03, "83.0"),
        (2.7e-9, "2.7e-09"),
        (True, "True"),
    ],
)
def test_cells(value: object, text: str) -> None:
    assert cell_text(value) == text


def test_figures_are_reproducible_and_have_a_dark_mode() -> None:
    svg = svg_of(line_chart())
    assert svg == svg_of(line_chart())
    rules, rest = svg.split("</style>", 1)
    assert "prefers-color-scheme: dark" in rules
    assert f'[style*="stroke: {figures.BLUE}"]{{stroke:{figures.DARK[figures.BLUE]}!important}}' in rules
    # The selectors match what matplotlib writes.
    assert f"stroke: {figures.BLUE}" in rest
    assert f"fill: {figures.PAPER}" in rest


def test_image_tiles_embed_the_original_pixels() -> None:
    images = np.arange(784, dtype=np.uint8).reshape(1, 28, 28)
    svg = svg_of(ReportFigure("tiles", figures.image_tiles(images, ["one\ntwo"], columns=4), "c"))
    (embedded,) = re.findall(r"base64,([A-Za-z0-9+/=\s]+)", svg)
    header = base64.b64decode(embedded)[16:24]
    assert (int.from_bytes(header[:4], "big"), int.from_bytes(header[4:], "big")) == (28, 28)


def test_characters_that_no_font_has_are_one_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(figures, "OTHER_FONTS", ("no such font",))
    figures._warn_of_missing_glyphs.cache_clear()
    for _ in range(2):
        with figures.drawing():
            figures.as_png(figures.figure_of(figures.new_axes(2)))
    assert capsys.readouterr().err == ""
    for text in ("服装", "シャツ"):
        with figures.drawing():
            figures.new_axes(2)
            axes = figures.new_axes(2)
            axes.set_xlabel(text)
            figures.as_png(figures.figure_of(axes))
    assert capsys.readouterr().err == f"Warning: {figures.NO_FONT}\n"
    with figures.drawing(), pytest.warns(UserWarning, match="another"):
        warnings.warn("another", stacklevel=1)


def test_other_fonts_are_those_that_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "OTHER_FONTS", ("no such font", "STIXGeneral"))
    with figures.drawing():
        assert matplotlib.rcParams["font.family"] == ["DejaVu Sans", "STIXGeneral"]


def test_a_long_title_of_an_explanation_is_wrapped() -> None:
    made = Explanation("occlusion", np.zeros((28, 28)), "share")
    source = ExplainInput("a.png", np.zeros((28, 28), np.uint8))
    for title in ("a class name with words " * 8, "W" * 120):
        figure = drawing._figure(source, made, title, "note")
        (heading,) = figure.texts
        assert heading.get_window_extent().x1 <= figure.bbox.width
        assert "".join(heading.get_text().split()) == "".join(title.split())


def test_a_table_in_markdown_stays_one() -> None:
    text = markdown.table(["a", "b"], [["two\nlines", r"a|b, a\|b, \a"]], text_columns=1)
    assert text.splitlines() == ["| a | b |", "| --- | ---: |", r"| two lines | a\|b, a\\\|b, \a |"]


def test_confusion_matrix_shows_counts_and_truncates_long_names() -> None:
    confusion = np.array([[5, 0], [2, 7]])
    # matplotlib warns if labels leave no room, and warnings are errors.
    figure = figures.confusion_figure(confusion, ["a class name that is as long as it can be", "b"])
    svg_of(ReportFigure("confusion", figure, "c"))
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts if text.get_visible()] == ["5", "2", "7"]
    assert axes.get_yticklabels()[0].get_text() == "a class…can be"
