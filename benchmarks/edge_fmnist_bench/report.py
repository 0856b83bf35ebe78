"""Write the recorded results into ``benchmarks/README.md``: ``python -m edge_fmnist_bench.report``.

Everything between the two marks in that file is made from the JSON files in
``benchmarks/results/``, so every figure there comes from a recorded run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_fmnist.cli import console
from edge_fmnist.data.files import write_text
from edge_fmnist.errors import CheckError, SourceError
from edge_fmnist_bench import document, tables
from edge_fmnist_bench.document import Document
from edge_fmnist_export.report import markdown

FOLDER = Path("benchmarks")
README, RESULTS, PLOTS = "README.md", "results", "plots"
BEGIN = "<!-- results: made by `python -m edge_fmnist_bench.report` -->"
END = "<!-- end of results -->"
# Instruction counts lie in the same folder and are not results of this kind.
COUNTS = "instructions-"
NOTHING = "Nothing is recorded yet."
CAPTIONS = {
    "accuracy-latency": "Accuracy against latency",
    "accuracy-size": "Accuracy against size",
    "latency": "Distribution of latency",
}


def read_results(folder: Path) -> dict[str, Document]:
    """Return the recorded results by file name without suffix, sorted.

    Raises:
        DataError: a file is not a result, or has another schema.
    """
    paths = sorted(folder.glob("*.json"))
    return {path.stem: document.read(path) for path in paths if not path.name.startswith(COUNTS)}


def section(name: str, result: Document, plots: dict[str, Path]) -> str:
    """Return the Markdown of a result by its file name without suffix; plots are relative to the README."""
    machine = result["machine"]
    commit = f", commit {result['commit'][:12]}" if result["commit"] else ""
    versions = ", ".join(f"{library} {version}" for library, version in result["versions"].items() if version)
    parts = [
        f"### {machine['board'] or machine['cpu']}, {result['created'][:10]}",
        f"{tables.headline(result)}. {versions}{commit}. Raw: [{RESULTS}/{name}.json]({RESULTS}/{name}.json).",
    ]
    if lines := tables.notes(result):
        parts.append("\n".join(f"- {line}" for line in lines))
    parts += [f"#### {table.title}\n\n{tables.markdown_table(table)}" for table in tables.tables(result)]
    parts += [f"![{CAPTIONS[plot]}]({path.as_posix()})" for plot, path in plots.items()]
    return "\n\n".join(parts)


def render(results: dict[str, Document], folder: Path) -> str:
    """Return the Markdown of all results, with the plots in the folder."""
    sections = []
    for name, result in results.items():
        places = {plot: Path(PLOTS) / name / f"{plot}.svg" for plot in CAPTIONS}
        existing = {plot: place for plot, place in places.items() if (folder / place).is_file()}
        sections.append(section(name, result, existing))
    return "\n\n".join(sections) or NOTHING


def report(folder: Path, *, check: bool) -> None:
    """Write the results of a folder into its README, or only ``check`` that the README is up to date.

    The folder contains ``README.md`` and ``results/``; plots go to ``plots/``.

    Raises:
        SourceError: there is no README.
        DataError: a result cannot be read.
        UsageError: the README lacks its marks.
        CheckError: the README is not up to date.
        MissingExtraError: the extra ``[plot]`` is not installed.
    """
    readme = folder / README
    if not readme.is_file():
        raise SourceError(f"{readme}: no such file; run this in the checkout, or name the folder")
    results = read_results(folder / RESULTS)
    if not check:
        from edge_fmnist_bench.plots import plot

        for name, result in results.items():
            plot(result, folder / PLOTS / name)
    old = readme.read_text("utf-8")
    new = markdown.with_part(old, BEGIN, END, render(results, folder), str(readme))
    if check:
        if new != old:
            raise CheckError(f"{readme}: not up to date with {RESULTS}/; run `python -m edge_fmnist_bench.report`")
        return
    write_text(readme, new)
    console.say(f"Wrote {len(results)} results to {readme}")


def main(
    folder: Annotated[Path, typer.Argument(help="Folder with README.md and results/.")] = FOLDER,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 if the page is out of date.")
    ] = False,
) -> None:
    """Write the recorded results into benchmarks/README.md, tables and plots."""
    with console.exit_codes():
        report(folder, check=check)


if __name__ == "__main__":
    typer.run(main)
