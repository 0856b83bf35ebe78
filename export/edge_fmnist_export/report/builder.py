"""Build a report: load or compute the sections, write their files and the page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_fmnist import __version__
from edge_fmnist.cli import console
from edge_fmnist.data.files import write_json, write_text
from edge_fmnist.errors import CheckError, DataError, EdgeFmnistError, UsageError
from edge_fmnist.model.measure import peak_memory_bytes
from edge_fmnist_export.report import store
from edge_fmnist_export.report.base import ReportContext
from edge_fmnist_export.report.figures import drawing
from edge_fmnist_export.report.page import render_page
from edge_fmnist_export.report.report_input import file_sha256, run_sha256
from edge_fmnist_export.report.sections import SECTIONS
from edge_fmnist_export.report.store import BuiltSection

PAGE, SUMMARY = "index.html", "report.json"


@dataclass(frozen=True)
class WrittenReport:
    """A report on disk: the HTML file, plain values for JSON, and the sections that could not be computed, by name."""

    page: Path
    summary: dict[str, Any]
    failures: dict[str, EdgeFmnistError]


def choose_sections(only: Sequence[str], skip: Sequence[str]) -> list[str]:
    """Return the names of the sections to build, in the order of the page.

    Raises:
        UsageError: an unknown name, or no section is left.
    """
    for name in (*only, *skip):
        if name not in SECTIONS:
            raise UsageError(f"{name!r}: no such section; expected one of {', '.join(SECTIONS)}")
    chosen = [name for name in SECTIONS if (not only or name in only) and name not in skip]
    if not chosen:
        raise UsageError("no section is left; remove some --skip options")
    return chosen


def build_report(
    context: ReportContext, names: Iterable[str], *, fresh: bool = False, started: Callable[[str], None] | None = None
) -> WrittenReport:
    """Build the sections and write the report.

    A section that fails is left out and reported on the page and in the result; the others are still built.

    Raises:
        DataError: the data set has classes that the model does not have.
        OSError: a file cannot be written.
    """
    highest = max(int(context.train.targets.max()), int(context.test.targets.max()))
    if highest >= len(context.labels):
        raise DataError(
            f"expected labels of the model's {len(context.labels)} classes, got label {highest}; "
            "use the data set that the model was trained on"
        )
    begun = time.perf_counter()
    sections: list[BuiltSection] = []
    failures: dict[str, EdgeFmnistError] = {}
    for name in names:
        if started is not None:
            started(name)
        try:
            sections.append(_section(context, name, fresh))
        except EdgeFmnistError as error:
            failures[name] = error
        except OSError:
            raise
        except Exception as error:  # of a library, for data that nobody thought of
            if console.was_interrupted():
                raise
            failures[name] = CheckError(f"{type(error).__name__}: {error}")
    summary = _summary(context, sections, failures, time.perf_counter() - begun)
    problems = [f"The section {name!r} could not be computed: {error}" for name, error in failures.items()]
    page = render_page(f"{context.name}: report", sections, _about(context, summary), problems)
    write_json(context.output / SUMMARY, summary)
    write_text(context.output / PAGE, page)
    return WrittenReport(context.output / PAGE, summary, failures)


def _section(context: ReportContext, name: str, fresh: bool) -> BuiltSection:
    folder = context.output / name
    # Everything that the section's content depends on.
    key = {
        "section": name,
        "version": SECTIONS[name].VERSION,
        "edge_fmnist": __version__,
        "model_sha256": file_sha256(context.model_path),
        "run_sha256": run_sha256(context.run),
        "data_sha256": [*context.train.sha256, *context.test.sha256],
        "labels": list(context.labels),
        "seed": context.seed,
    }
    cached = None if fresh else store.load(name, folder, key)
    if cached is not None:
        return cached
    begun = time.perf_counter()
    with drawing():
        section = store.drawn(SECTIONS[name].build(context))
    built = BuiltSection(name, section, round(time.perf_counter() - begun, 3))
    store.save(built, folder, key)
    return built


def _summary(
    context: ReportContext, sections: list[BuiltSection], failures: dict[str, EdgeFmnistError], seconds: float
) -> dict[str, Any]:
    return {
        "name": context.name,
        "model": str(context.model_path),
        "model_sha256": file_sha256(context.model_path),
        "run": None if context.run is None else str(context.run.folder),
        "data_sha256": {"train": list(context.train.sha256), "test": list(context.test.sha256)},
        "page": str(context.output / PAGE),
        "seed": context.seed,
        "seconds": round(seconds, 3),
        "peak_memory_bytes": peak_memory_bytes(),
        "sections": {
            built.name: {"seconds": built.seconds, "cached": built.cached, **built.section.summary}
            for built in sections
        },
        "failures": {name: str(error) for name, error in failures.items()},
    }


def _about(context: ReportContext, summary: dict[str, Any]) -> dict[str, str]:
    size = context.model_path.stat().st_size
    metadata, info = context.classifier.metadata, context.classifier.info
    quantization = str(metadata.settings.get("quantization", "unknown")) if metadata else "unknown"
    computed = sum(section["seconds"] for section in summary["sections"].values())
    return {
        "Model file": f"{context.model_path.name}, {size:,} bytes, quantization: {quantization}",
        "SHA-256": summary["model_sha256"],
        "Training run": "unknown"
        if context.run is None
        else f"{context.run.recipe.name}, {context.run.recipe.architecture}",
        "Interpreter": f"{info.name} {info.version}, input {context.classifier.input.dtype}, temperature "
        f"{context.classifier.temperature:g}, threshold {context.classifier.threshold:g}",
        "Data": f"{len(context.train):,} training and {len(context.test):,} test images",
        "Generated by": (
            f"edge-fmnist {__version__}, seed {context.seed}; {computed:.0f} s to compute, "
            f"peak memory {summary['peak_memory_bytes'] / 1e9:.1f} GB"
        ),
    }
