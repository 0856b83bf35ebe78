"""``edge-fmnist live``: classify clothing in front of a camera."""

from __future__ import annotations

import inspect
import sys
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand
from typer.models import TyperPath

from edge_fmnist.api import make_loop
from edge_fmnist.cli import config, console
from edge_fmnist.cli.reports import ERROR, JournalReport, Log, Report, log_of, say_event
from edge_fmnist.cli.signals import stopped_by_signals
from edge_fmnist.cli.supervision import Supervisor
from edge_fmnist.errors import EdgeFmnistError, ImageError
from edge_fmnist.pipeline.settings import LiveSettings, Option, options
from edge_fmnist.pipeline.stats import LiveStats
from edge_fmnist.pipeline.systemd import Notifier
from edge_fmnist.sinks.outputs import Outputs


class PathType(TyperPath):
    """The type of options with a path. Typer alone reads an empty one as the current folder."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Convert a value; errors as :meth:`Option.check`."""
        options()[param.name].check(value, param.name)
        return super().convert(value, param, ctx)


class LiveCommand(TyperCommand):
    """Allows ``--serve`` without its value, and names the option or the line of the file that caused an error.

    Attributes:
        bare: the options that may be given without a value.
    """

    bare = ("serve",)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give a bare ``--serve`` the empty value, which stands for the default address."""
        words = [
            f"{arg}=" if arg == "--serve" and after.startswith("-") else arg
            for arg, after in zip_longest(args, args[1:], fillvalue="-")
        ]
        try:
            rest = super().parse_args(ctx, words)
        except EdgeFmnistError as error:
            raise _located(ctx, error, None) from error
        # A bare --serve asks for a page; its address may be in the file.
        ctx.params["serve"] = ctx.params["serve"] or config.value_of(ctx, "serve") or ctx.params["serve"]
        return rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except EdgeFmnistError as error:
            raise _located(ctx, error, ctx.params["log"]) from error


# The class that the command line makes the command of.
COMMAND_CLASS = LiveCommand


def _located(ctx: Any, error: EdgeFmnistError, log: str | None) -> Exception:
    """Return what to raise for an error: one that names its cause, or the exit after a line for the journal."""
    message = config.located(ctx, error)
    if log_of(log) is Log.JOURNAL:
        say_event("error", message, ERROR)
        return typer.Exit(error.exit_code)
    located = EdgeFmnistError(message)
    located.exit_code = error.exit_code
    return located


def live(**arguments: Any) -> None:
    """Classify clothing live from a camera, a stream, a video or images.

    Results go to any number of outputs together: --serve, --mqtt, --show, --jsonl, --save, --snapshot,
    --collect. A status line is on standard error. A camera or stream that is lost is reopened until it answers.

    Ctrl-C, SIGTERM and closing the window end the run normally: files are completed, a summary is printed, exit
    code 0. SIGHUP reopens the files of the outputs. An output that fails is reported and the others go on; the exit
    code is then 1.
    """
    settings_file, log, quiet = (arguments.pop(name) for name in ("config", "log", "quiet"))
    settings = LiveSettings(**arguments)
    report = (JournalReport if log_of(log) is Log.JOURNAL else Report)(quiet)
    supervisor = Supervisor(report, Notifier.from_environment())
    outputs = Outputs(settings, report, needed=True)
    with console.quiet_native_log():
        loop = make_loop(settings, outputs, warn=report.warn, observer=supervisor)
    try:
        loop.open()
        console.end_at_once = True
        with stopped_by_signals(loop.stop, outputs.reopen), loop:
            _add_status(outputs, report, settings.jsonl == "-")
            supervisor.start({"source": loop.source.name, "model": loop.classifier.name, "config": settings_file})
            for result in loop:
                supervisor.take(result)
    finally:
        report.end(loop.stats, summary(loop.stats))
    if loop.stats.unusable and not loop.stats.results:
        raise ImageError(f"none of {loop.stats.unusable} frames could be used")
    if outputs.failed:
        raise typer.Exit(1)


def summary(stats: LiveStats) -> str:
    """Return the counts and times of a run in a few lines."""
    counts = [f"{stats.results} results in {stats.seconds:.1f} s ({stats.fps:.1f} fps)", f"{stats.seen} frames"]
    counts += [
        f"{count} {what}"
        for count, what in ((stats.dropped, "dropped"), (stats.unusable, "unusable"), (stats.reconnects, "reconnects"))
        if count
    ]
    times = [f"{name} {time.p50:.2f}/{time.p90:.2f}" for name, time in stats.milliseconds.items()]
    labels = [f"{label} {count}" for label, count in stats.labels.items()]
    lines = [", ".join(counts), f"ms p50/p90: {', '.join(times)}", ", ".join(labels)]
    return "\n".join(lines if stats.results else lines[:1])


def _add_status(outputs: Outputs, report: Report, json_on_stdout: bool) -> None:
    """Add the status line, unless nobody would see it or it would overwrite JSON lines on the same terminal."""
    watched = sys.stderr.isatty() and not (json_on_stdout and sys.stdout.isatty())
    if not (report.quiet or report.has_events) and (watched or not outputs.sinks):
        from edge_fmnist.sinks.status import StatusLine

        outputs.status = StatusLine()
        report.status_shown = True


def _parameter(name: str, option: Option, default: object) -> inspect.Parameter:
    flags = [f"--{name.replace('_', '-')}", *([option.flag] if option.flag else [])]
    shown = default is not None and default is not False
    typed = option.type if default is not None else option.type | None
    kind = PathType() if option.type is Path else None
    info = typer.Option(*flags, help=option.help, metavar=option.metavar, show_default=shown, click_type=kind)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[typed, info])


def _signature() -> inspect.Signature:
    """Return the signature from which Typer makes the options: the settings, and three of the command line only."""
    parameters = [
        _parameter(name, option, getattr(LiveSettings, name))
        for name, option in options().items()
        if not option.python_only
    ]
    file = typer.Option(
        "--config",
        help="Read options from this TOML file, with _ for - in their names; the command line takes precedence.",
        callback=config.use,
        is_eager=True,
        show_default=False,
    )
    log = Option(
        Log,
        "text: human-readable text; journal: a line with its priority for each change. "
        "Default: journal if standard error is connected to it, else text.",
    )
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Signature(
        [
            *parameters,
            inspect.Parameter("config", keyword, default=None, annotation=Annotated[Path | None, file]),
            _parameter("log", log, None),
            _parameter("quiet", Option(bool, "Print warnings and errors only.", "-q"), False),
        ]
    )


live.__signature__ = _signature()  # type: ignore[attr-defined]
