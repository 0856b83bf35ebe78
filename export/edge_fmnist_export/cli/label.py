"""``edge-fmnist label``: label many photographs, on one machine or on a Ray cluster."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_fmnist.cli import console, options
from edge_fmnist.errors import RunError, SinkError
from edge_fmnist.model.registry import CAMERA_MODEL
from edge_fmnist_export.bulk import cluster
from edge_fmnist_export.bulk.engine import Engine
from edge_fmnist_export.bulk.labeller import LabelOptions, failures
from edge_fmnist_export.bulk.parts import Counts
from edge_fmnist_export.bulk.plan import Plan, prepare
from edge_fmnist_export.bulk.pool import Pool
from edge_fmnist_export.bulk.ray_workers import RayWorkers

if TYPE_CHECKING:
    from rich.status import Status

# Seconds between two lines of progress where there is no terminal, and between two events.
LINE_SECONDS, EVENT_SECONDS = 30.0, 1.0


def label(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder (with its subfolders), glob, text file with one path a line, CSV or Parquet file, or "
            "s3:// or gs:// location."
        ),
    ],
    output: Annotated[str, typer.Option("--output", "-o", help="Folder for the results, or s3:// or gs:// location.")],
    model: options.PictureModel = None,
    column: Annotated[str | None, typer.Option(help="Column of paths in a CSV or Parquet file. Default: path.")] = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="Number of classes to write.")] = 3,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Score below which the answer is unknown. Default: the model's.")
    ] = None,
    labels: options.ModelLabels = None,
    interpreter: options.Interpreter = None,
    workers: Annotated[int | None, typer.Option(min=1, max=4096, help="Worker processes. Default: CPU cores.")] = None,
    ray: cluster.Ray = None,
    partition_size: Annotated[
        int | None,
        typer.Option(min=1, max=100_000, help="Photographs in one output file. Default: 250 to 5000, by their number."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Label only the first photographs. Default: all.")] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Delete the results of an earlier run in the output folder.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print progress and summary as one JSON object a line.")] = False,
) -> None:
    """Label many photographs, and write the answers as Parquet files.

    Each photograph gets the answer that edge-fmnist classify gives. One that cannot be read gets a row that says so.
    The same command resumes an interrupted run. Without pyarrow (extra bulk), the files are JSON lines.
    """
    # Threads of pyarrow can abort the process while Python ends.
    console.end_at_once = True
    if threshold is not None and math.isnan(threshold):
        raise typer.BadParameter("expected a number from 0 to 1, got nan", param_hint="--threshold")
    names = options.given_labels(labels)
    if ray is not None:
        cluster.check(ray)
    # Reports a model that cannot be used before anything is written.
    options.load_classifier(model or CAMERA_MODEL, 1, interpreter, names)
    wanted = LabelOptions(source, output, model, column, top_k, threshold, names, interpreter, limit, partition_size)
    started = time.monotonic()
    try:
        plan = prepare(wanted, restart, console.warn)
        with closing(plan), console.stderr_console().status("Labelling") as spinner:
            progress = _Progress(plan, json, spinner)
            _run(plan, ray, workers, progress)
            summary = plan.summarize(progress.counts, time.monotonic() - started)
    except KeyboardInterrupt:
        console.say(f"Interrupted. What is finished is in {output}; run the same command to go on.")
        raise typer.Exit(130) from None
    except (SinkError, RunError) as error:
        raise type(error)(f"{error}; what is finished is in {output}: run the same command to go on") from error
    if json:
        _emit("end", summary)
    else:
        _show(summary, output)


def _emit(event: str, facts: dict[str, Any]) -> None:
    """Print an event; a reader that has seen enough, such as head, does not stop the work."""
    with console.reader_may_leave():
        console.emit_json({"event": event, **facts}, indent=None)


def _run(plan: Plan, ray: str | None, workers: int | None, progress: _Progress) -> None:
    if not plan.left:
        return
    if ray is None:
        cores = len(os.sched_getaffinity(0))
        with Pool(plan.spec, min(workers or cores, len(plan.left))) as pool:
            Engine(pool, plan, progress.finished).run()
    else:
        with cluster.connected(ray, workers) as connection:
            Engine(RayWorkers(connection, plan.spec, workers), plan, progress.finished).run()


class _Progress:
    """Counts what is finished, and reports it: on standard error, or as events on standard output."""

    def __init__(self, plan: Plan, json: bool, spinner: Status) -> None:
        self.counts: Counts = Counter()
        self._before, self._total = plan.photographs_done, plan.photographs
        self._json, self._spinner = json, spinner
        self._interval = EVENT_SECONDS if json else 0 if spinner.console.is_terminal else LINE_SECONDS
        self._started = self._reported = time.monotonic()
        if json:
            self._report()
        elif self._before:
            console.say(f"Going on: {self._before:,} of {self._total:,} photographs were labelled before")

    def finished(self, counts: Counts) -> None:
        """Count a finished partition."""
        self.counts += counts
        if time.monotonic() - self._reported >= self._interval:
            self._reported = time.monotonic()
            self._report()

    def _report(self) -> None:
        labelled, failed, of = self.counts.total(), failures(self.counts), self._total
        done = self._before + labelled
        rate = labelled / max(time.monotonic() - self._started, 1e-3)
        left = round((of - done) / rate, 1) if rate else None
        if self._json:
            progress = {"photographs": done, "of": of, "photographs_per_second": round(rate, 1), "seconds_left": left}
            _emit("progress", {**progress, "failures": failed})
            return
        time_left = timedelta(seconds=round(left or 0))
        line = f"{done:,} of {of:,} photographs, {rate:.1f}/s, {time_left} left, {failed:,} failed"
        if self._spinner.console.is_terminal:
            self._spinner.update(line)
        else:
            console.say(line)


def _show(summary: dict[str, Any], output: str) -> None:
    run = summary["this_run"]
    console.show_table(
        f"Photographs: {summary['photographs']:,}", ["answer", "photographs"],
        [(answer, f"{count:,}") for answer, count in summary["answers"].items()]
        + [(f"({status})", f"{count:,}") for status, count in summary["status"].items() if status != "ok"],
    )  # fmt: skip
    speed = f"{run['photographs']:,} in {run['seconds']:.0f} s: {run['photographs_per_second']} a second"
    done = "all were labelled before, --restart finds new ones"
    console.say(f"{speed if run['photographs'] else done}; results in {output}")
