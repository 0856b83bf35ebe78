"""Build a report: sections from the cache or computed, their files, the page."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge_fmnist import __version__
from edge_fmnist.data.files import write_json, write_text
from edge_fmnist.errors import DataError, EdgeFmnistError, UsageError
from edge_fmnist_export.report import figures, store
from edge_fmnist_export.report.base import Context
from edge_fmnist_export.report.page import render_page
from edge_fmnist_export.report.sections import SECTIONS
from edge_fmnist_export.report.store import StoredSection
from edge_fmnist_export.report.subject import file_sha256, run_sha256

PAGE, SUMMARY = "index.html", "report.json"
STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Report:
    """A report that was written.

    Attributes:
        page: the HTML file.
        summary: plain values: what it is on, the sections' summaries, seconds, memory.
        failures: sections that could not be computed, by name.
    """

    page: Path
    summary: dict[str, Any]
    failures: dict[str, EdgeFmnistError]


def choose_sections(only: Sequence[str], skip: Sequence[str]) -> list[str]:
    """Return the names of the sections that are wanted, in the order of the page.

    Args:
        only: the sections wanted; none means all.
        skip: the sections left out.

    Raises:
        UsageError: a name that is no section's, or nothing left.
    """
    for name in (*only, *skip):
        if name not in SECTIONS:
            raise UsageError(f"{name!r}: no such section; expected one of {', '.join(SECTIONS)}")
    chosen = [name for name in SECTIONS if (not only or name in only) and name not in skip]
    if not chosen:
        raise UsageError("no section is left; name fewer with --skip")
    return chosen


def check_classes(context: Context) -> None:
    """Check that the data set's classes are the model's.

    Raises:
        DataError: a label beyond the model's classes.
    """
    highest = max(int(context.train.targets.max()), int(context.test.targets.max()))
    if highest >= len(context.labels):
        raise DataError(
            f"expected labels of the model's {len(context.labels)} classes, got label {highest}; "
            "report on a model that was trained on this data set"
        )


def cache_key(context: Context, section: str) -> dict[str, Any]:
    """Return all that a section's content depends on."""
    return {
        "section": section,
        "version": SECTIONS[section].VERSION,
        "edge_fmnist": __version__,
        "model_sha256": file_sha256(context.model_path),
        "run_sha256": run_sha256(context.run),
        "data_sha256": [*context.train.sha256, *context.test.sha256],
        "labels": list(context.labels),
        "seed": context.seed,
    }


def build_report(
    context: Context, names: Iterable[str], *, fresh: bool = False, started: Callable[[str], None] | None = None
) -> Report:
    """Build the sections and write the report.

    A section that fails is left out, named on the page and in the result; the
    others are built all the same.

    Args:
        context: what the report is on, and where it goes.
        names: the sections, in the order of the page.
        fresh: compute all of them again, whatever an earlier report left.
        started: is told the name of each section before it is built.

    Raises:
        DataError: the data set's classes are not the model's.
        OSError: a file cannot be written.
    """
    check_classes(context)
    begun = time.perf_counter()
    sections: list[StoredSection] = []
    failures: dict[str, EdgeFmnistError] = {}
    for name in names:
        if started is not None:
            started(name)
        try:
            sections.append(_section(context, name, fresh))
        except EdgeFmnistError as error:
            failures[name] = error
    summary = _summary(context, sections, failures, time.perf_counter() - begun)
    problems = [f"The section {name!r} could not be computed: {error}" for name, error in failures.items()]
    title = f"{context.name}: report"
    write_text(context.output / PAGE, render_page(title, _facts(context, summary), sections, problems))
    write_json(context.output / SUMMARY, summary)
    return Report(context.output / PAGE, summary, failures)


def _section(context: Context, name: str, fresh: bool) -> StoredSection:
    import matplotlib

    folder, key = context.output / name, cache_key(context, name)
    kept = None if fresh else store.load(name, folder, key)
    if kept is not None:
        return kept
    begun = time.perf_counter()
    with matplotlib.rc_context(figures.RC):
        built = SECTIONS[name].build(context)
        drawn = store.draw(name, built, 0)
    section = replace(drawn, seconds=round(time.perf_counter() - begun, 3))
    store.save(section, folder, key)
    return section


def _summary(
    context: Context, sections: list[StoredSection], failures: dict[str, EdgeFmnistError], seconds: float
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
            section.name: {"seconds": section.seconds, "cached": section.cached, **section.summary}
            for section in sections
        },
        "failures": {name: str(error) for name, error in failures.items()},
    }


def peak_memory_bytes() -> int:
    """Return the most memory that this process has held at once, in bytes."""
    # The kernel's own mark; that of getrusage starts from the parent's on Linux.
    if STATUS.is_file():
        for line in STATUS.read_text("utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    # Kibibytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _facts(context: Context, summary: dict[str, Any]) -> dict[str, str]:
    size = context.model_path.stat().st_size
    metadata, info = context.classifier.metadata, context.classifier.info
    quantization = str(metadata.settings.get("quantization", "not stated")) if metadata else "not stated"
    computed = sum(section["seconds"] for section in summary["sections"].values())
    return {
        "model file": f"{context.model_path.name}, {size:,} bytes, {quantization}",
        "SHA-256": summary["model_sha256"],
        "run": "not named" if context.run is None else f"{context.run.recipe.name}, {context.run.recipe.architecture}",
        "runs in": f"{info.name} {info.version}, input {context.classifier.input.dtype}, temperature "
        f"{context.classifier.temperature:g}, threshold {context.classifier.threshold:g}",
        "data": f"{len(context.train):,} train and {len(context.test):,} test images",
        "made by": (
            f"edge-fmnist {__version__}, seed {context.seed}; sections took {computed:.0f} s to compute, "
            f"at most {summary['peak_memory_bytes'] / 1e9:.1f} GB of memory"
        ),
    }
