"""``edge-fmnist live``: name the garment in front of a camera."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from edge_fmnist.cli import config as configs
from edge_fmnist.cli import console, options
from edge_fmnist.cli.outputs import Outputs
from edge_fmnist.cli.publishing import add_publisher, broker_of
from edge_fmnist.cli.reports import Log, Report, log_of, make_report, say
from edge_fmnist.cli.signals import stopped_by_signals
from edge_fmnist.cli.supervision import Supervisor
from edge_fmnist.errors import EdgeFmnistError, ImageError
from edge_fmnist.model.registry import CAMERA_MODEL
from edge_fmnist.pipeline import journal
from edge_fmnist.pipeline import loop as loops
from edge_fmnist.pipeline.loop import SLIDE_SHOW_FPS, LiveLoop
from edge_fmnist.pipeline.stats import LiveStats
from edge_fmnist.pipeline.systemd import Notifier

if TYPE_CHECKING:
    from edge_fmnist.sinks.mqtt import MqttPublisher
    from edge_fmnist.sinks.web import Address


class LiveCommand(TyperCommand):
    """Lets ``--serve`` stand without its value, and tells of settings that cannot work by file and key.

    Attributes:
        bare: the options that may stand without a value.
    """

    bare = ("serve",)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give a bare ``--serve`` the empty value, which stands for the default address; no argument can follow it."""
        words = [
            f"{arg}=" if arg == "--serve" and after.startswith("-") else arg
            for arg, after in zip_longest(args, args[1:], fillvalue="-")
        ]
        with _told_to_the_journal(None):
            rest = super().parse_args(ctx, words)
        # A bare --serve says that there is a page, not where: that may be in the file.
        ctx.params["serve"] = ctx.params["serve"] or configs.value_of(ctx, "serve") or ctx.params["serve"]
        return rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an error whose cause is in the settings file names the file."""
        with _told_to_the_journal(ctx.params["log"]), configs.errors_name_the_file(ctx):
            return super().invoke(ctx)


@contextlib.contextmanager
def _told_to_the_journal(log: Log | None) -> Iterator[None]:
    """Let one of our errors in the block be told as a line of the journal, where reports go there.

    Raises:
        EdgeFmnistError: the same, where they do not.
    """
    try:
        yield
    except EdgeFmnistError as error:
        if log_of(log) is not Log.JOURNAL:
            raise
        say("error", str(error), journal.ERROR)
        raise typer.Exit(error.exit_code) from error


def live(
    source: Annotated[
        str,
        typer.Option(
            "--source",
            "-s",
            help="auto, demo, picamera, a camera's index, /dev/videoN, an http:// or rtsp:// URL, "
            "a video or picture file, a folder, or a glob.",
        ),
    ] = "auto",
    model: options.Model = CAMERA_MODEL,
    threads: options.Threads = 1,
    interpreter: options.Interpreter = None,
    width: Annotated[int | None, typer.Option(min=1, help="Width of the frames.", show_default=False)] = None,
    height: Annotated[int | None, typer.Option(min=1, help="Height of the frames.", show_default=False)] = None,
    fps: Annotated[float | None, typer.Option(help="Frames a second.", show_default=False)] = None,
    rotate: Annotated[int, typer.Option(help="Turn frames clockwise: 0, 90, 180 or 270 degrees.")] = 0,
    mirror: Annotated[bool, typer.Option("--mirror", help="Swap left and right.")] = False,
    roi: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,W,H",
            help="Look at this part only, in pixels or percent (10%,10%,80%,80%).",
            show_default=False,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help='Score below which the answer is "unknown", 0 to 1. Default: the model\'s.', show_default=False
        ),
    ] = None,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Read a file at its own frame rate, dropping frames when late.")
    ] = False,
    max_failures: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Give a lost source up, with exit code 3, after so many failures in a row. Default: never.",
            show_default=False,
        ),
    ] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="End after so many results.", show_default=False)] = None,
    seconds: Annotated[float | None, typer.Option(help="End after so many seconds.", show_default=False)] = None,
    max_fps: Annotated[
        float | None,
        typer.Option(help="Name so many frames a second at most. Default: all that it can.", show_default=False),
    ] = None,
    idle_fps: Annotated[
        float | None,
        typer.Option(
            help="While nothing moves, look so often a second, 1 or more, and repeat the last answer. Default: never.",
            show_default=False,
        ),
    ] = None,
    serve: Annotated[
        str | None,
        typer.Option(
            metavar="[HOST:PORT]",
            help="Show it in a browser. Without an address: 127.0.0.1:8000, for this machine only.",
            show_default=False,
        ),
    ] = None,
    mqtt: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Publish to the broker at mqtt://HOST[:PORT][/PREFIX], or mqtts://… for TLS. User and password come "
            "from $EDGE_FMNIST_MQTT_USER and $EDGE_FMNIST_MQTT_PASSWORD.",
            show_default=False,
        ),
    ] = None,
    mqtt_ca: Annotated[
        Path | None,
        typer.Option(
            help="PEM file of the authority that signed the broker's certificate. Default: the system's.",
            show_default=False,
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Show it in a window.")] = False,
    jsonl: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|-", help="Write a JSON line for each result; - is standard output.", show_default=False
        ),
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Write the annotated video, .mp4 or .avi.", show_default=False)
    ] = None,
    snapshot: Annotated[
        Path | None,
        typer.Option(help="Write pictures into this folder whenever the label changes.", show_default=False),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="Read options from this TOML file, with _ for - in their names; those given here come first.",
            callback=configs.use,
            is_eager=True,
            show_default=False,
        ),
    ] = None,
    log: Annotated[
        Log | None,
        typer.Option(
            help="text for people, or journal: a line with its priority for each change. Default: journal where "
            "standard error goes there, else text.",
            show_default=False,
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings and errors only.")] = False,
) -> None:
    """Name the garment in front of a camera, or in a video, a stream or pictures.

    Results go to any number of sinks together: --serve, --mqtt, --show, --jsonl, --save, --snapshot. A status
    line is on standard error. A camera or stream that is lost is opened again until it answers.

    Ctrl-C, SIGTERM and closing the window are the normal end: files are completed, a summary is printed, exit
    code 0. A sink that fails is reported and the others go on; the exit code is then 1.
    """
    report = make_report(log, quiet)
    supervisor = Supervisor(report, Notifier.from_environment())
    outputs = report.outputs
    address = None if serve is None else _address(serve)
    broker = broker_of(mqtt, mqtt_ca)
    with console.quiet_native_log():
        loop = loops.live(
            source,
            model=model,
            width=width,
            height=height,
            fps=fps,
            rotate=rotate,
            mirror=mirror,
            roi=roi,
            threads=threads,
            interpreter=interpreter,
            realtime=realtime,
            max_failures=max_failures,
            threshold=threshold,
            frames=frames,
            seconds=seconds,
            max_fps=max_fps,
            idle_fps=idle_fps,
            warn=outputs.warn,
            watcher=supervisor,
        )
    try:
        # The source first, so that nothing is written when it is not there; then whatever else may be refused.
        with loop, stopped_by_signals(loop.stop), outputs, contextlib.ExitStack() as last:
            publisher = None if broker is None else add_publisher(report, broker, mqtt_ca, loop.labels)
            if address is not None:
                _add_page(address, report, loop, publisher)
            _add_files(outputs, jsonl, save, snapshot, _save_fps(loop, fps))
            _add_screen(outputs, show, quiet or report.has_events, jsonl)
            supervisor.start({"source": loop.source.name, "model": model, "config": config})
            last.callback(supervisor.stop)
            for result in loop:
                outputs.write(result)
                supervisor.take(result)
                if outputs.over:
                    break
    finally:
        report.end(loop.stats, summary(loop.stats))
    if loop.stats.unusable and not loop.stats.results:
        raise ImageError(f"none of {loop.stats.unusable} frames could be used")
    if outputs.failed:
        raise typer.Exit(1)


def summary(stats: LiveStats) -> str:
    """Return what a run has done, in a few lines for people."""
    counts = [f"{stats.results} results in {stats.seconds:.1f} s ({stats.fps:.1f} a second)", f"{stats.seen} frames"]
    counts += [
        f"{count} {what}"
        for count, what in ((stats.dropped, "dropped"), (stats.unusable, "unusable"), (stats.reconnects, "reconnects"))
        if count
    ]
    times = [f"{name} {time.p50:.2f}/{time.p90:.2f}" for name, time in stats.milliseconds.items()]
    labels = [f"{label} {count}" for label, count in stats.labels.items()]
    lines = [", ".join(counts), f"ms p50/p90: {', '.join(times)}", ", ".join(labels)]
    return "\n".join(lines if stats.results else lines[:1])


def _address(text: str) -> Address:
    from edge_fmnist.extras import require
    from edge_fmnist.sinks.web import parse_address

    require("web", "--serve")
    return parse_address(text)


def _add_page(address: Address, report: Report, loop: LiveLoop, publisher: MqttPublisher | None) -> None:
    from edge_fmnist.sinks.web import WebPage, is_local

    traffic = None if publisher is None else lambda: publisher.traffic
    page = WebPage(*address, stats=lambda: loop.stats, traffic=traffic)
    report.outputs.add(page)
    report.serving(page.url)
    if not is_local(address.host):
        report.warn("the page has no password: everyone who can reach this address sees what the camera sees")


def _add_files(
    outputs: Outputs, jsonl: str | None, save: Path | None, snapshot: Path | None, fps: float | None
) -> None:
    if jsonl is not None:
        from edge_fmnist.sinks.jsonl import JsonLines

        outputs.add(JsonLines(jsonl))
    if save is not None:
        from edge_fmnist.sinks.video import VideoRecorder

        outputs.add(VideoRecorder(save, fps))
    if snapshot is not None:
        from edge_fmnist.sinks.snapshots import Snapshots

        outputs.add(Snapshots(snapshot))


def _add_screen(outputs: Outputs, show: bool, quiet: bool, jsonl: str | None) -> None:
    if show:
        from edge_fmnist.sinks.window import Window

        outputs.add(Window("edge-fmnist live"))
    # Beside other sinks the line is for someone who watches; a service's log has no use for it.
    # JSON lines on the same terminal would be written over.
    watched = sys.stderr.isatty() and not (jsonl == "-" and sys.stdout.isatty())
    if not quiet and (watched or outputs.empty):
        from edge_fmnist.sinks.status import StatusLine

        outputs.add_status(StatusLine())


def _save_fps(loop: LiveLoop, wish: float | None) -> float | None:
    """Return the rate of a saved video: a file's own; None, to be measured, where frames may be dropped."""
    return None if loop.realtime else loop.source.fps or wish or SLIDE_SHOW_FPS
