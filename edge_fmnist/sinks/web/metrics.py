"""Prometheus metrics, served at ``/metrics``.

Names and units follow https://prometheus.io/docs/practices/naming/: seconds, bytes, ``_total`` for counters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.pipeline.stats import NO_GARMENT, LiveStats
from edge_fmnist.sinks.formatting import printable
from edge_fmnist.sinks.mqtt import Traffic

# The Prometheus text format; not every version of prometheus_client has a constant of the same name for it.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Seconds: from one classification on a workstation to a delayed frame.
BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class PrometheusMetrics(Collector):
    """Counts and times results; one thread calls :meth:`observe`, another :meth:`text`."""

    def __init__(
        self,
        age: Callable[[], float],
        viewers: Callable[[], int],
        stats: Callable[[], LiveStats] | None = None,
        traffic: Callable[[], Traffic] | None = None,
    ) -> None:
        """Create metrics without any result yet.

        Args:
            age: returns the seconds since the latest result.
            viewers: returns the number of open streams.
            stats: returns the statistics of the loop; None omits them.
            traffic: returns the statistics of the MQTT connection; None omits them.
        """
        self._age = age
        self._viewers = viewers
        self._stats = stats
        self._traffic = traffic
        self._latest: LiveResult | None = None
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._results = Counter(
            "edge_fmnist_results", "Results by displayed label.", ["label"], registry=self._registry
        )
        stage, latency = "Processing time of each stage.", "Time from frame capture to result."
        self._stages = Histogram(
            "edge_fmnist_stage_seconds", stage, ["stage"], buckets=BUCKETS, registry=self._registry
        )
        self._latency = Histogram("edge_fmnist_latency_seconds", latency, buckets=BUCKETS, registry=self._registry)
        self._registry.register(self)

    def observe(self, result: LiveResult) -> None:
        """Count and time a result; takes microseconds."""
        self._latest = result
        self._results.labels(printable(result.label or NO_GARMENT)).inc()
        for stage in ("preprocess", "classify", "smooth"):
            self._stages.labels(stage).observe(getattr(result.stages, stage) / 1e3)
        self._latency.observe(result.age / 1e3)

    def text(self) -> bytes:
        """Return all metrics in the Prometheus text format, as UTF-8."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics that are read when Prometheus asks, for prometheus_client."""
        latest = self._latest
        stats = None if self._stats is None else self._stats()
        counts = stats or latest
        yield _counter("frames", "Frames delivered by the source.", counts.seen if counts else 0)
        yield _counter("frames_dropped", "Frames dropped in favour of a newer one.", counts.dropped if counts else 0)
        yield _gauge("results_per_second", "Results per second, smoothed.", latest.fps if latest else 0.0)
        yield _gauge("newest_result_age_seconds", "Seconds since the latest result, or since the start.", self._age())
        yield _gauge("viewers", "Open streams.", self._viewers())
        if stats is not None:
            yield _counter("frames_unusable", "Frames that could not be processed.", stats.unusable)
            yield _counter("source_reconnects", "Reconnections to the source.", stats.reconnects)
            dropped = sum(stats.not_written.values())
            yield _counter("results_not_written", "Results dropped by outputs that are too slow.", dropped)
            yield _gauge("running_seconds", "Running time of the loop.", stats.seconds)
        if self._traffic is not None:
            traffic = self._traffic()
            yield _gauge("mqtt_connected", "Whether the MQTT broker is connected, 1 or 0.", traffic.connected)
            yield _counter("mqtt_reconnects", "Reconnections to the MQTT broker.", traffic.reconnects)
            yield _counter("mqtt_delivered", "Messages acknowledged by the MQTT broker.", traffic.delivered)
            yield _gauge("mqtt_waiting", "Messages not yet acknowledged by the MQTT broker.", traffic.waiting)
            yield _counter("mqtt_dropped", "Messages dropped because the queue was full.", traffic.dropped)


def _counter(name: str, documentation: str, value: float) -> Metric:
    return CounterMetricFamily(f"edge_fmnist_{name}", documentation, value)


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(f"edge_fmnist_{name}", documentation, value)
