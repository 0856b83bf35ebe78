"""``edge-fmnist report``: one page on a model's data, training, results and mistakes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_fmnist import extras
from edge_fmnist.cli import console, options
from edge_fmnist.model.registry import DEFAULT_MODEL

if TYPE_CHECKING:
    from edge_fmnist_export.report.base import Context
    from edge_fmnist_export.report.builder import Report
    from edge_fmnist_export.report.progress import ReportProgress
    from edge_fmnist_export.report.subject import Subject

REPORTS = Path("reports")
# What every section needs; a section that needs more says so itself.
MODULES = ("jinja2", "matplotlib", "pydantic", "scipy", "sklearn", "tomli_w")
# Bulk work, not latency: all cores, up to where more stop helping a network this small.
DEFAULT_THREADS = min(4, os.cpu_count() or 1)
STDERR = 2


def report(
    model: Annotated[
        str, typer.Argument(help="A run folder, a .tflite file, or the name of a shipped model or checkpoint.")
    ] = DEFAULT_MODEL,
    run: Annotated[
        str | None,
        typer.Option(
            "--run", help="The run that a .tflite file came from: a folder or a checkpoint.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder. Default: reports/NAME.", show_default=False)
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="A section to build; may be repeated.", show_default=False)
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option("--skip", help="A section to leave out; may be repeated.", show_default=False)
    ] = None,
    data: options.Data = None,
    labels: options.ModelLabels = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of all chance.")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Compute all sections again.")] = False,
    threads: options.Threads = DEFAULT_THREADS,
    json: options.Json = False,
) -> None:
    """Write a report on a model: one HTML page that opens offline, with its figures and tables as files.

    A run folder is exported as int8 first. Sections of an earlier report on the same model and data are taken from
    its folder. A section that fails is left out and told of; the exit code is then that of the failure.
    """
    extras.require("report", "the report", MODULES)
    from edge_fmnist_export.report.builder import build_report, choose_sections
    from edge_fmnist_export.report.subject import find_subject

    names = choose_sections(only or [], skip or [])
    found = find_subject(model, run)
    with _progress(len(names)) as progress, console.quiet_native_log():
        context = _context(found, output or REPORTS / found.name, data, labels, seed, threads, progress)
        written = build_report(context, names, fresh=fresh, started=progress.section_started)
        progress.section_ended()
    if json:
        console.emit_json(written.summary)
    else:
        _show(written)
    for name, error in written.failures.items():
        console.say(f"Error: {name}: {error}")
    if written.failures:
        raise typer.Exit(max(error.exit_code for error in written.failures.values()))


@contextmanager
def _progress(sections: int) -> Iterator[ReportProgress]:
    """Show progress on standard error, also while the chatter of native code is kept off it."""
    from rich.console import Console

    from edge_fmnist_export.report.progress import ReportProgress

    # A descriptor of its own: that of standard error leads elsewhere inside quiet_native_log.
    with os.fdopen(os.dup(STDERR), "w") as stream, ReportProgress(Console(file=stream), sections) as progress:
        yield progress


def _context(
    found: Subject, folder: Path, data: Path | None, labels: Path | None, seed: int, threads: int, tell: ReportProgress
) -> Context:
    """Load all that the report is on, after exporting the run where there is no file yet."""
    from edge_fmnist.data import dataset
    from edge_fmnist.model.classifier import Classifier
    from edge_fmnist_export.cli.export import NAME_ITS_DATA
    from edge_fmnist_export.report import subject
    from edge_fmnist_export.report.base import Context
    from edge_fmnist_export.training.training_data import of_another_set

    names = None if labels is None else options.labels_of(labels)
    train, test = dataset.load("train", data), dataset.load("test", data)
    if found.run is not None and of_another_set(found.run, "train", train):
        console.warn(f"{found.name}: was trained on another data set than this report is on; {NAME_ITS_DATA}")
    model = found.model
    if model is None:
        tell.preparing("exporting the run as int8")
        model = str(subject.exported(found, folder, train))
    # By its name, so that a shipped file is checked against its hash.
    classifier = Classifier.load(model, threads=threads, labels=names)
    return Context(
        name=found.name,
        model_path=subject.model_path(model),
        classifier=classifier,
        run=found.run,
        train=train,
        test=test,
        labels=classifier.labels,
        output=folder,
        seed=seed,
        progress=tell.moved,
    )


def _show(written: Report) -> None:
    summary = written.summary
    rows = [
        (name, f"{section['seconds']:.1f}", "from an earlier report" if section["cached"] else "computed")
        for name, section in summary["sections"].items()
    ]
    console.show_table(
        f"{summary['name']}: {summary['seconds']:.1f} s, at most {summary['peak_memory_bytes'] / 1e9:.2f} GB of memory",
        ["section", "seconds to compute", ""],
        rows,
    )
    console.say(f"Report: {written.page}")
