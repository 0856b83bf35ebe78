"""What Prometheus collects at ``/metrics``.

Names and units follow https://prometheus.io/docs/practices/naming/: seconds, bytes, ``_total`` for what only grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.pipeline.stats import NO_GARMENT, LiveStats
from edge_fmnist.sinks.mqtt import Traffic

# Prometheus text format; the name of this constant is not in all versions of prometheus_client.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Seconds: from a classification on a workstation to a frame that came late.
BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class Metrics:
    """Counts and times results, and says so in the text format of Prometheus.

    One thread calls :meth:`observe`, another :meth:`text`.
    """

    def __init__(
        self,
        age: Callable[[], float],
        viewers: Callable[[], int],
        stats: Callable[[], LiveStats] | None = None,
        traffic: Callable[[], Traffic] | None = None,
    ) -> None:
        """Make metrics that have seen no result yet.

        Args:
            age: seconds since the newest result.
            viewers: how many streams are being watched.
            stats: what the loop has done, for what no result tells; None leaves that out.
            traffic: what the connection to the MQTT broker has done; None leaves that out.
        """
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._results = Counter("edge_fmnist_results", "Results by shown label.", ["label"], registry=self._registry)
        self._stages = Histogram(
            "edge_fmnist_stage_seconds",
            "Time of each stage of a result.",
            ["stage"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._latency = Histogram(
            "edge_fmnist_latency_seconds",
            "From the capture of a frame to its result.",
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._current = Current(age, viewers, stats, traffic)
        self._registry.register(self._current)

    def observe(self, result: LiveResult) -> None:
        """Count and time a result; takes microseconds."""
        self._current.newest = result
        self._results.labels(result.label or NO_GARMENT).inc()
        for stage in ("preprocess", "classify", "smooth"):
            self._stages.labels(stage).observe(getattr(result.stages, stage) / 1e3)
        self._latency.observe(result.age / 1e3)

    def text(self) -> bytes:
        """Return all metrics, as UTF-8."""
        return generate_latest(self._registry)


class Current(Collector):
    """Looks at what others count, when Prometheus asks.

    Attributes:
        newest: the newest result; None before the first.
    """

    def __init__(
        self,
        age: Callable[[], float],
        viewers: Callable[[], int],
        stats: Callable[[], LiveStats] | None,
        traffic: Callable[[], Traffic] | None,
    ) -> None:
        """Make a collector; the arguments are those of :class:`Metrics`."""
        self.newest: LiveResult | None = None
        self._age = age
        self._viewers = viewers
        self._stats = stats
        self._traffic = traffic

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, for prometheus_client."""
        seen, dropped, fps = (self.newest.seen, self.newest.dropped, self.newest.fps) if self.newest else (0, 0, 0.0)
        yield _counter("frames", "Frames that the source has delivered.", seen)
        yield _counter("frames_dropped", "Frames passed over because a newer one was there.", dropped)
        yield _gauge("results_per_second", "Results a second, smoothed.", fps)
        yield _gauge("newest_result_age_seconds", "Seconds since the newest result, or since the start.", self._age())
        yield _gauge("viewers", "Streams that are being watched.", self._viewers())
        if self._stats is not None:
            yield from _of_loop(self._stats())
        if self._traffic is not None:
            yield from _of_broker(self._traffic())


def _of_loop(stats: LiveStats) -> Iterator[Metric]:
    yield _counter("frames_unusable", "Frames that could not be processed.", stats.unusable)
    yield _counter("source_reconnects", "How often the source was lost and opened again.", stats.reconnects)
    yield _gauge("running_seconds", "How long the loop has run.", stats.seconds)


def _of_broker(traffic: Traffic) -> Iterator[Metric]:
    yield _gauge("mqtt_connected", "Whether the MQTT broker is connected, 1 or 0.", traffic.connected)
    yield _counter("mqtt_reconnects", "How often the MQTT broker was lost and connected again.", traffic.reconnects)
    yield _counter("mqtt_delivered", "Messages that the MQTT broker has acknowledged.", traffic.delivered)
    yield _gauge("mqtt_waiting", "Messages that the MQTT broker has not acknowledged yet.", traffic.waiting)
    yield _counter("mqtt_dropped", "Messages that found no room while the broker was away.", traffic.dropped)


def _counter(name: str, what: str, value: float) -> Metric:
    return CounterMetricFamily(f"edge_fmnist_{name}", what, value)


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(f"edge_fmnist_{name}", what, value)
