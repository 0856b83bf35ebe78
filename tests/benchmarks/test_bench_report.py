"""The page of recorded results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edge_fmnist.errors import CheckError, UsageError
from edge_fmnist_bench import document, report
from edge_fmnist_bench.document import Document
from edge_fmnist_bench.suite import BenchmarkPlan, Suite
from edge_fmnist_bench.variants.base import BenchmarkVariant

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PAGE = f"# Title\n\nBefore.\n\n{report.BEGIN}\n\nold\n\n{report.END}\n\nAfter.\n"


@pytest.fixture
def result(plan: Callable[..., BenchmarkPlan], fake: Callable[[str], BenchmarkVariant]) -> Document:
    suite = Suite(plan(fake("litert-int8"), fake("litert-float32")), lambda _: None)
    suite.run()
    return suite.document()


@pytest.fixture
def folder(tmp_path: Path, result: Document) -> Path:
    (tmp_path / "README.md").write_text(PAGE, "utf-8")
    (tmp_path / "results").mkdir()
    document.write(tmp_path / "results" / "box.json", result)
    return tmp_path


def test_the_page_of_this_project_is_what_its_results_give() -> None:
    report.report(BENCHMARKS, check=True)


def test_page(folder: Path, result: Document) -> None:
    pytest.importorskip("matplotlib", reason="the extra [plot] is not installed")
    report.report(folder, check=False)
    page = (folder / "README.md").read_text("utf-8")
    assert page.startswith("# Title\n\nBefore.\n")
    assert page.endswith("\n\nAfter.\n")
    assert "old" not in page
    p50 = result["variants"][0]["single_stream"]["p50_us"]
    assert "| litert int8 | CPU |" in page
    assert f"{p50:,.1f}" in page
    assert "[results/box.json](results/box.json)" in page
    assert "![Distribution of latency](plots/box/latency.svg)" in page
    # No accuracy was measured, so there are no such plots.
    assert "accuracy-size" not in page
    assert (folder / "plots" / "box" / "latency.png").is_file()
    report.report(folder, check=True)


def test_a_stale_page_is_found(folder: Path) -> None:
    with pytest.raises(CheckError, match=r"README\.md: not up to date with results/"):
        report.report(folder, check=True)
    assert (folder / "README.md").read_text("utf-8") == PAGE


def test_page_without_marks(folder: Path) -> None:
    (folder / "README.md").write_text("nothing", "utf-8")
    with pytest.raises(UsageError, match="expected a page with the lines"):
        report.report(folder, check=True)


def test_errors_become_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        report.main(tmp_path, check=True)
    assert caught.value.code == 3
    assert capsys.readouterr().err.startswith("Error: ")
