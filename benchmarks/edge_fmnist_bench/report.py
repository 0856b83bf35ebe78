"""Write the recorded results into ``benchmarks/README.md``: ``python -m edge_fmnist_bench.report``.

Everything between the two marks in that file is made from the JSON files in
``benchmarks/results/``, so that no figure stands there that no run produced.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_fmnist.cli import console
from edge_fmnist.errors import CheckError, DataError, EdgeFmnistError, SourceError
from edge_fmnist.files import write_text
from edge_fmnist_bench import document, layer_tables, tables
from edge_fmnist_bench.document import Document
from edge_fmnist_bench.layers import from_dict
from edge_fmnist_export.report import markdown

FOLDER = Path("benchmarks")
README, RESULTS, PLOTS = "README.md", "results", "plots"
BEGIN = "<!-- results: made by `python -m edge_fmnist_bench.report` -->"
END = "<!-- end of results -->"
# Instruction counts lie beside the results, and are no results of this kind.
COUNTS = "instructions-"
NOTHING = "Nothing is recorded yet."
CAPTIONS = {
    "accuracy-latency": "Accuracy against latency",
    "accuracy-size": "Accuracy against size",
    "latency": "How latency spreads",
}


def read_results(folder: Path) -> dict[str, Document]:
    """Return the recorded results by the names of their files without suffix, sorted.

    Raises:
        DataError: a file is no result, or of another schema.
    """
    paths = sorted(folder.glob("*.json"))
    return {path.stem: document.read(path) for path in paths if not path.name.startswith(COUNTS)}


def section(name: str, result: Document, plots: dict[str, Path]) -> str:
    """Return the Markdown of one result.

    Args:
        name: of its file, without suffix.
        result: the result.
        plots: its plots by name, relative to the README.
    """
    machine = result["machine"]
    commit = f", commit {result['commit'][:12]}" if result["commit"] else ""
    parts = [
        f"### {machine['board'] or machine['cpu']}, {result['created'][:10]}",
        f"{tables.headline(result)}. {_versions(result)}{commit}. Raw: [{RESULTS}/{name}.json]({RESULTS}/{name}.json).",
    ]
    if lines := tables.notes(result):
        parts.append("\n".join(f"- {line}" for line in lines))
    parts += [f"#### {table.title}\n\n{tables.markdown_table(table)}" for table in tables.tables(result)]
    parts += [f"![{CAPTIONS[plot]}]({path.as_posix()})" for plot, path in plots.items()]
    if "profile" in result:
        parts.append(f"#### Layer by layer\n\n{layer_tables.markdown(from_dict(result['profile'])).rstrip()}")
    return "\n\n".join(parts)


def _versions(result: Document) -> str:
    return ", ".join(f"{library} {version}" for library, version in result["versions"].items() if version)


def with_results(text: str, results: str, where: str) -> str:
    """Return a page with the part between its two marks replaced.

    Raises:
        DataError: the page lacks a mark.
    """
    filled = markdown.with_part(text, BEGIN, END, results)
    if filled is None:
        raise DataError(f"{where}: expected the lines {BEGIN!r} and {END!r}, between which the results go")
    return filled


def draw(results: dict[str, Document], folder: Path) -> None:
    """Draw the plots of each result into a folder of its name.

    Raises:
        MissingExtraError: the extra ``[plot]`` is not installed.
        DataError: a result has nothing to draw.
    """
    from edge_fmnist_bench.plots import plot

    for name, result in results.items():
        plot(result, folder / PLOTS / name)


def render(results: dict[str, Document], folder: Path) -> str:
    """Return the Markdown of all results, with the plots that lie in the folder."""
    sections = []
    for name, result in results.items():
        places = {plot: Path(PLOTS) / name / f"{plot}.svg" for plot in CAPTIONS}
        sections.append(section(name, result, {k: place for k, place in places.items() if (folder / place).is_file()}))
    return "\n\n".join(sections) or NOTHING


def report(folder: Path, *, check: bool) -> None:
    """Write the results of a folder into its README, or check that they stand there.

    Args:
        folder: with ``README.md`` and ``results/``; plots go into ``plots/``.
        check: change nothing.

    Raises:
        SourceError: there is no README.
        DataError: a result cannot be read, or the README lacks its marks.
        CheckError: ``check``, and the README is not what the results give.
        MissingExtraError: the extra ``[plot]`` is not installed.
    """
    readme = folder / README
    if not readme.is_file():
        raise SourceError(f"{readme}: no such file; run this in the checkout, or name the folder")
    results = read_results(folder / RESULTS)
    if not check:
        draw(results, folder)
    old = readme.read_text("utf-8")
    new = with_results(old, render(results, folder), str(readme))
    if check:
        if new != old:
            raise CheckError(f"{readme}: not what {RESULTS}/ gives; run `python -m edge_fmnist_bench.report`")
        return
    write_text(readme, new)
    console.say(f"Wrote {len(results)} results into {readme}")


def main(
    folder: Annotated[Path, typer.Argument(help="With README.md and results/.")] = FOLDER,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit code 1 if the page is stale.")] = False,
) -> None:
    """Write the recorded results into benchmarks/README.md, tables and plots."""
    try:
        report(folder, check=check)
    except EdgeFmnistError as error:
        console.say(f"Error: {error}")
        raise typer.Exit(error.exit_code) from error


if __name__ == "__main__":
    typer.run(main)
