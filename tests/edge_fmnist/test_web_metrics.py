"""Prometheus metrics at ``/metrics``, read with the parser of the official client."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge_fmnist.pipeline.results import LiveResult, Stages
from edge_fmnist.pipeline.stats import LiveStats
from edge_fmnist.sinks.mqtt import Traffic

MakeResult = Callable[..., LiveResult]
PREFIX = "edge_fmnist_"


def scrape(page: Any) -> dict[str, float]:
    """Return each sample by name, and label values if it has labels: ``"results_total Coat"``."""
    answer = page.ask("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    body = answer.text()
    assert body.endswith("\n")
    samples = {}
    for family in text_string_to_metric_families(body):
        assert family.documentation
        assert not family.name.startswith(PREFIX) or family.type in {"counter", "gauge", "histogram"}
        for sample in family.samples:
            samples[" ".join([sample.name.removeprefix(PREFIX), *sample.labels.values()])] = sample.value
    return samples


def test_before_the_first_result(page: Any) -> None:
    samples = scrape(page)
    for name in ("frames_total", "frames_dropped_total", "results_per_second", "viewers"):
        assert samples[name] == 0
    assert samples["process_cpu_seconds_total"] > 0
    # Without a loop and a broker there is nothing to say about them.
    assert not [name for name in samples if "mqtt" in name or "reconnects" in name]


def test_results(page: Any, make_result: MakeResult) -> None:
    labels = ["Coat", "Coat", "unknown", None, "x\x1b\udcff"]
    for index, label in enumerate(labels):
        page.write(make_result(index, label, size=(28, 28), seen=2 * index + 1, dropped=index, fps=29.5))
    samples = scrape(page)
    counts = {name.partition(" ")[2]: value for name, value in samples.items() if name.startswith("results_total")}
    assert counts == {"Coat": 2, "unknown": 1, "no garment": 1, r"x\x1b\udcff": 1}
    assert (samples["frames_total"], samples["frames_dropped_total"], samples["results_per_second"]) == (9, 4, 29.5)


def test_latency_by_stage(page: Any, make_result: MakeResult) -> None:
    for age, classify in ((5.0, 0.2), (40.0, 3.0)):
        page.write(make_result(size=(28, 28), stages=Stages(2.0, classify, 0.01), age=age))
    samples = scrape(page)
    assert samples["stage_seconds_count classify"] == 2
    assert samples["stage_seconds_sum classify"] == pytest.approx(0.0032)
    assert samples["stage_seconds_bucket 0.00025 classify"] == 1
    assert samples["stage_seconds_bucket 0.005 classify"] == 2
    assert samples["latency_seconds_sum"] == pytest.approx(0.045)
    assert samples["latency_seconds_bucket 0.01"] == 1


def test_loop_and_broker(page_class: Any) -> None:
    stats = LiveStats(9, 2, 6, 1, 4, 12.5, {}, {"Coat": 6}, {"--jsonl a": 2, "--save b": 5})
    traffic = Traffic(connected=True, reconnects=3, delivered=70, waiting=5, dropped=2)
    with closing(page_class(port=0, stats=lambda: stats, traffic=lambda: traffic)) as page:
        samples = scrape(page)
    expected = {"frames_unusable_total": 1, "source_reconnects_total": 4, "running_seconds": 12.5, "mqtt_connected": 1}
    expected |= {"results_not_written_total": 7, "frames_total": 9, "frames_dropped_total": 2}
    expected |= {"mqtt_reconnects_total": 3, "mqtt_waiting": 5, "mqtt_delivered_total": 70, "mqtt_dropped_total": 2}
    assert {name: samples[name] for name in expected} == expected


def test_the_age_of_the_latest_result_grows(page: Any, make_result: MakeResult) -> None:
    page.write(make_result(size=(28, 28)))
    first = scrape(page)["newest_result_age_seconds"]
    assert 0 <= first < scrape(page)["newest_result_age_seconds"]


def test_the_command_reports_its_loop(
    run_cli: Callable[..., Any], page_class: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scraped: list[dict[str, float]] = []

    class ScrapedPage(page_class):  # type: ignore[misc]
        """A page whose metrics are read before it is closed."""

        def close(self) -> None:
            scraped.append(scrape(self))
            super().close()

    monkeypatch.setattr("edge_fmnist.sinks.web.WebPage", ScrapedPage)
    run_cli("live", "--source", "demo", "--frames", 5, "--serve", "127.0.0.1:0", "--quiet")
    assert scraped[0]["frames_total"] >= 5
    assert scraped[0]["running_seconds"] > 0
    assert sum(value for name, value in scraped[0].items() if name.startswith("results_total")) == 5
