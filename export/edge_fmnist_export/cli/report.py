"""``edge-fmnist report``: one HTML page about a model's accuracy, mistakes, quantization, data and training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_fmnist import extras
from edge_fmnist.cli import console, options
from edge_fmnist.model.registry import DEFAULT_MODEL, shipped_models

if TYPE_CHECKING:
    from edge_fmnist_export.report.base import ReportContext
    from edge_fmnist_export.report.builder import WrittenReport
    from edge_fmnist_export.report.progress import ReportProgress
    from edge_fmnist_export.report.report_input import ReportInput

REPORTS = Path("reports")
# Modules that every section needs; a section checks for further ones itself.
MODULES = ("jinja2", "matplotlib", "pydantic", "scipy", "sklearn", "tomli_w")


def report(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A run folder, a .tflite file, or the name of a shipped model or checkpoint. "
            f"Default: {DEFAULT_MODEL}."
        ),
    ] = None,
    same: options.SameModel = None,
    run: Annotated[str | None, typer.Option(help="Training run of a .tflite file: a folder or a checkpoint.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Output folder. Default: reports/NAME.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Section to build; can be repeated.")] = None,
    skip: Annotated[list[str] | None, typer.Option(help="Section to leave out; can be repeated.")] = None,
    data: options.Data = None,
    labels: options.ModelLabels = None,
    seed: options.Seed = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Recompute all sections.")] = False,
    threads: options.Threads = options.BULK_THREADS,
    json: options.Json = False,
) -> None:
    """Write a report about a model: one HTML page that opens offline, with its figures and tables as files.

    A run folder is exported as int8 first. Sections of an earlier report on the same model and data are reused. If a
    section fails, the others are still written, and the exit code is that of the failure.
    """
    extras.require("report", "the report", MODULES)
    from edge_fmnist.data.files import check_outputs, check_replaceable
    from edge_fmnist_export.report.builder import PAGE, SUMMARY, build_report, choose_sections
    from edge_fmnist_export.report.progress import ReportProgress
    from edge_fmnist_export.report.report_input import EXPORT_RECORD, export_files, find_input
    from edge_fmnist_export.report.store import RECORD

    names = choose_sections(only or [], skip or [])
    found = find_input(options.one_model(model, same, DEFAULT_MODEL), run)
    folder = output or REPORTS / found.name
    check_outputs(folders=[folder])
    check_replaceable(folder, [PAGE, SUMMARY], SUMMARY, "model_sha256")
    if found.model is None and found.run is not None:
        check_replaceable(folder, export_files(found.run), EXPORT_RECORD, "run_sha256")
    for section in names:
        place = folder / section
        check_replaceable(place, [path.name for path in place.glob("*")], RECORD, "key")
    console.say(f"Report on {found.name}, {len(names)} sections, in {folder}")
    with (
        console.lasting_stderr_console() as target,
        ReportProgress(target, len(names)) as progress,
        console.quiet_native_log(),
    ):
        context = _context(found, folder, data, labels, seed, threads, progress)
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


def _context(
    found: ReportInput,
    folder: Path,
    data: Path | None,
    labels: Path | None,
    seed: int,
    threads: int,
    progress: ReportProgress,
) -> ReportContext:
    """Load the data and the model, after exporting the run if there is no file yet."""
    from edge_fmnist.data import dataset
    from edge_fmnist.model.classifier import Classifier
    from edge_fmnist_export.report import report_input
    from edge_fmnist_export.report.base import ReportContext
    from edge_fmnist_export.training.training_data import recorded_data

    names = options.given_labels(labels)
    train, test = dataset.load("train", data), dataset.load("test", data)
    model = found.model
    if model is None and found.run is not None:
        progress.preparing("exporting the run as int8")
        model = str(report_input.exported(found.run, folder, train))
    # By name if possible, so that the hash of a shipped file is verified.
    classifier = Classifier.load(str(model), threads=threads, labels=names)
    if found.run is not None:
        recorded = recorded_data(found.run)
    else:
        recorded = classifier.metadata.training_data if classifier.metadata else None
    options.warn_of_other_data(found.name, recorded, "train", train)
    shipped = shipped_models().get(str(model))
    return ReportContext(
        name=found.name,
        model_path=shipped.path if shipped else Path(str(model)),
        classifier=classifier,
        run=found.run,
        train=train,
        test=test,
        labels=classifier.labels,
        output=folder,
        seed=seed,
        progress=progress.section_progress,
        given_labels=names,
    )


def _show(written: WrittenReport) -> None:
    summary = written.summary
    console.show_table(
        f"{summary['name']}: {summary['seconds']:.1f} s, peak memory {summary['peak_memory_bytes'] / 1e9:.2f} GB",
        ["section", "seconds to compute", ""],
        [
            (name, f"{section['seconds']:.1f}", "cached" if section["cached"] else "computed")
            for name, section in summary["sections"].items()
        ],
    )
    console.say(f"Report: {written.page}")
