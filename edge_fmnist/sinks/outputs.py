"""Writes each result to any number of sinks; one that fails does not affect the others."""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_fmnist.errors import EdgeFmnistError, SinkClosedError, SinkError, UsageError
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.pipeline.settings import LiveSettings, caused_by
from edge_fmnist.sinks.base import Sink
from edge_fmnist.sinks.queued import BLOCKED_SECONDS, POLL, QueuedSink
from edge_fmnist.sources.base import Warn, log_warning

if TYPE_CHECKING:
    from edge_fmnist.pipeline.loop import LiveLoop
    from edge_fmnist.sinks.collect import Collector
    from edge_fmnist.sinks.mqtt import Broker, MqttPublisher
    from edge_fmnist.sinks.web import Access, Address, WebPage

# Frame rate of a video saved from images of a folder.
IMAGES_FPS = 1.0
# Seconds after the time that sinks have to close, in which they report what is missing.
REPORT_SECONDS = 0.2
# Settings that do nothing without another one.
NEEDS = {
    "overwrite": "jsonl",
    "jsonl_max_bytes": "jsonl",
    "jsonl_keep": "jsonl_max_bytes",
    "save_segment": "save",
    "collect_below": "collect",
    "collect_max_frames": "collect",
    "collect_max_mb": "collect",
    "allow_host": "serve",
    "no_token": "serve",
    "tls_cert": "serve",
    "tls_key": "tls_cert",
    "mqtt_ca": "mqtt",
}


class OutputReport:
    """Receives messages about sinks; this one warns and logs."""

    def __init__(self, warn: Warn = log_warning) -> None:
        self._warn = warn

    def warn(self, message: str) -> None:
        """Report a problem that does not end the run."""
        self._warn(message)

    def failed(self, message: str) -> None:
        """Report a sink that failed."""
        self._warn(message)

    def serving(self, page: WebPage) -> None:
        """Report where the browser page is; a token that was generated is shown nowhere else."""
        if page.access.generated:
            self._warn(f"the browser page is at {page.login_url}")
        else:
            logging.getLogger("edge_fmnist").info("Serving at %s", page.url)

    def publishing(self, url: str) -> None:
        """Report the MQTT broker."""
        logging.getLogger("edge_fmnist").info("Publishing to %s", url)


class Outputs:
    """The sinks of a live run.

    Attributes:
        failed: whether a sink failed, or could not be closed.
        sinks: those that still work.
        status: a status line, which is written last and alone does not keep the run going.
    """

    def __init__(self, settings: LiveSettings, report: OutputReport, *, needed: bool = False) -> None:
        """Check the settings; nothing is opened yet. If ``needed``, the run stops once all sinks have failed.

        Raises:
            UsageError: an address that cannot be used.
            MissingExtraError: a package is not installed.
        """
        self.failed = False
        self.sinks: list[Sink] = []
        self.status: Sink | None = None
        self._settings = settings
        self._report = report
        self._needed = needed
        self._time_left: Callable[[], float] = lambda: 0.0
        self._queued: list[QueuedSink] = []
        for setting, needed_one in NEEDS.items():
            given = getattr(settings, setting) not in (getattr(LiveSettings, setting), None)
            if given and getattr(settings, needed_one) in (None, False):
                raise UsageError(f"needs --{needed_one.replace('_', '-')}", setting=setting)
        for setting in ("overwrite", "jsonl_max_bytes"):
            if str(settings.jsonl) == "-" and getattr(settings, setting):
                raise UsageError("is for a file, not for standard output", setting=setting)
        with caused_by("serve"):
            self._address = _address(settings.serve)
        self._access = _access(settings, self._address)
        self._broker = _broker(settings)
        _check_files(settings)

    @property
    def dropped(self) -> dict[str, int]:
        """Number of results that each sink has dropped because it was too slow."""
        return {sink.name: sink.dropped for sink in self._queued}

    def open(self, loop: LiveLoop) -> None:
        """Open the sinks, those first that may be refused.

        Raises:
            SinkError: a file cannot be written, a port is in use.
        """
        self._time_left = loop.time_left
        publisher = None if self._broker is None else self._open_mqtt(self._broker, loop)
        collector = None if self._settings.collect is None else self._open_collector(Path(self._settings.collect))
        if self._address is not None:
            with caused_by("serve"):
                self._open_page(self._address, loop, publisher, collector)
        if self._settings.jsonl is not None:
            self._open_jsonl(str(self._settings.jsonl))
        if self._settings.save is not None:
            # None measures the rate, as frames may be dropped.
            fps = None if loop.realtime else loop.source.fps or self._settings.fps or IMAGES_FPS
            self._open_video(Path(self._settings.save), fps)
        if self._settings.snapshot is not None:
            from edge_fmnist.sinks.snapshots import Snapshots

            folder = Path(self._settings.snapshot)
            self._open_queued("snapshot", lambda: Snapshots(folder))
        if self._settings.show:
            from edge_fmnist.sinks.window import Window

            self.sinks.append(Window("edge-fmnist live"))
        if not loop.realtime:
            # No frame of a file is dropped, but a blocked sink must not hold up the others.
            for sink in self._queued:
                sink.patience = math.inf if len(self.sinks) == 1 else BLOCKED_SECONDS

    def _open_collector(self, folder: Path) -> Collector:
        from edge_fmnist.sinks.collect import Collector
        from edge_fmnist.teaching.collection import Collection

        settings = self._settings
        with caused_by("collect"):
            limits = settings.collect_max_frames, int(settings.collect_max_mb * 1e6)
            collector = Collector(Collection(folder, *limits, self._report.warn), settings.collect_below)
        self._open_queued("collect", lambda: collector)
        return collector

    def _open_jsonl(self, target: str) -> None:
        from edge_fmnist.sinks.jsonl import JsonLines, json_line, new_run_id

        run = new_run_id()
        options: dict[str, Any] = {
            "overwrite": self._settings.overwrite,
            "max_bytes": self._settings.jsonl_max_bytes,
            "keep": self._settings.jsonl_keep,
            "warn": self._report.warn,
        }
        # Queued as lines, which are small and have the time of the result.
        self._open_queued("jsonl", lambda: JsonLines(target, **options), lambda result: json_line(result, run))

    def _open_video(self, path: Path, fps: float | None) -> None:
        from edge_fmnist.sinks.video import VideoRecorder

        segment, warn = self._settings.save_segment, self._report.warn
        self._open_queued("save", lambda: VideoRecorder(path, fps, segment=segment, warn=warn))

    def _open_queued(
        self, setting: str, open_sink: Callable[[], Sink], prepare: Callable[[LiveResult], Any] | None = None
    ) -> None:
        name = f"--{setting} {getattr(self._settings, setting)}"
        with caused_by(setting):
            sink = QueuedSink(name, open_sink, prepare=prepare, time_left=self._time_left, warn=self._report.warn)
        self._queued.append(sink)
        self.sinks.append(sink)

    def _open_page(
        self, address: Address, loop: LiveLoop, publisher: MqttPublisher | None, collector: Collector | None
    ) -> None:
        from edge_fmnist.sinks.web import WebPage

        traffic = None if publisher is None else lambda: publisher.traffic
        collect = None
        if collector is not None:
            from edge_fmnist.sinks.web.collect import CollectPage
            from edge_fmnist.teaching.background import BackgroundTeacher

            teacher = BackgroundTeacher(collector.collection.folder, loop)
            collect = CollectPage(collector, teacher, lambda: loop.labels)
        page = WebPage(
            *address,
            stats=lambda: loop.stats,
            traffic=traffic,
            access=self._access,
            certificate=self._settings.tls_cert,
            key=self._settings.tls_key,
            collect=collect,
        )
        self.sinks.append(page)
        self._report.serving(page)
        if page.access.exposed and not page.access.token:
            self._report.warn("the page asks for no token: everyone who can reach this address sees the camera")

    def _open_mqtt(self, broker: Broker, loop: LiveLoop) -> MqttPublisher:
        from edge_fmnist.sinks.mqtt import MqttPublisher, find_credentials
        from edge_fmnist.sinks.web import is_local

        credentials = find_credentials()
        with caused_by("mqtt_ca"):
            authority = self._settings.mqtt_ca
            publisher = MqttPublisher(broker, loop.labels, authority=authority, warn=self._report.warn)
        publisher.time_left = self._time_left
        self.sinks.append(publisher)
        self._report.publishing(broker.url)
        if credentials is not None and not (broker.tls or is_local(broker.host)):
            self._report.warn("user and password are sent to the broker unencrypted; use mqtts:// if it supports TLS")
        return publisher

    def write(self, result: LiveResult) -> bool:
        """Write a result to every sink; return False to stop: a sink was closed, or all that are needed failed."""
        more = True
        for sink in list(self.sinks):
            try:
                sink.write(result)
            except SinkClosedError:
                more = False
            except (EdgeFmnistError, OSError) as error:
                self._fail(error)
                self.sinks.remove(sink)
                # It may be blocked, on a disk that does not respond.
                closing = threading.Thread(target=self._close, args=(sink,), daemon=True)
                (closing.run if sink.main_thread else closing.start)()
                if closing.ident is not None:
                    closing.join(REPORT_SECONDS)
                more = more and (bool(self.sinks) or not self._needed)
        if self.status is not None:
            self.status.write(result)
        return more

    def reopen(self) -> None:
        """Reopen the files of all sinks; may be called from a signal handler."""
        for sink in list(self.sinks):
            sink.reopen()

    def close(self) -> None:
        """Close every sink, all at once, even if one fails to close or is blocked; may be called twice."""
        # The status line first, so that later messages are on lines of their own.
        if self.status is not None:
            self._close(self.status)
        sinks, self.sinks, self.status = self.sinks, [], None
        threads = [(sink, threading.Thread(target=self._close, args=(sink,), daemon=True)) for sink in sinks]
        for sink, thread in threads:
            (thread.run if sink.main_thread else thread.start)()
        for sink, thread in threads:
            while thread.is_alive() and self._time_left() > -REPORT_SECONDS:
                thread.join(POLL)
            if thread.is_alive():
                self._fail(SinkError(f"{sink.name} did not end in time"))

    def _close(self, sink: Sink) -> None:
        try:
            sink.close()
        except SinkClosedError:
            pass
        except (EdgeFmnistError, OSError) as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.failed = True
        self._report.failed(str(error))


def _check_files(settings: LiveSettings) -> None:
    """Refuse to write over what is read, or over another output: files are compared by their real paths."""
    taken: dict[str, str] = {}
    for setting in ("source", "model", "save", "jsonl"):
        value = getattr(settings, setting)
        if not isinstance(value, str | Path) or str(value) == "-":
            continue
        path = os.path.realpath(value)
        if setting == "save":
            from edge_fmnist.sinks.video import recording_path

            if str(recording_path(Path(path))) in taken:
                raise UsageError(f"{value}: is recorded to the file that is read; choose another", setting=setting)
        if setting in ("save", "jsonl") and path in taken:
            raise UsageError(f"{value}: is given as --{taken[path]}, too; choose another file", setting=setting)
        taken[path] = setting


def _address(serve: str | bool | None) -> Address | None:
    if serve is None or serve is False:
        return None
    from edge_fmnist.extras import require
    from edge_fmnist.sinks.web import parse_address

    require("web", "--serve")
    return parse_address("" if serve is True else serve)


def _access(settings: LiveSettings, address: Address | None) -> Access | None:
    if address is None:
        return None
    from edge_fmnist.sinks.web import Access

    if settings.tls_cert is not None:
        from edge_fmnist.sources.tls import check_server_certificate

        with caused_by("tls_cert"):
            check_server_certificate(settings.tls_cert, settings.tls_key)
    return Access.of(address.host, settings.allow_host, token=not settings.no_token)


def _broker(settings: LiveSettings) -> Broker | None:
    authority = settings.mqtt_ca
    if settings.mqtt is None:
        return None
    from edge_fmnist.extras import require
    from edge_fmnist.sinks.mqtt import parse_broker

    with caused_by("mqtt"):
        require("mqtt", "--mqtt")
        broker = parse_broker(settings.mqtt)
    if authority is not None and not broker.tls:
        raise UsageError(f"{authority}: expected an encrypted connection, mqtts://, got mqtt://", setting="mqtt_ca")
    return broker
