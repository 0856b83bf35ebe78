"""What Prometheus finds at ``/metrics``, read with the parser of its own client."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge_fmnist.pipeline.results import LiveResult, Stages
from edge_fmnist.pipeline.stats import LiveStats
from edge_fmnist.sinks.mqtt import Traffic
from edge_fmnist.sinks.web import WebPage

MakeResult = Callable[..., LiveResult]
Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Answer(NamedTuple):
    status: int
    media_type: str
    body: str

    @property
    def values(self) -> Values:
        """The value of each sample by its name and labels."""
        families = list(text_string_to_metric_families(self.body))
        return {(sample.name, tuple(sample.labels.items())): sample.value for one in families for sample in one.samples}

    def of(self, name: str) -> float:
        """Return the value of a metric without labels, with the project's prefix."""
        return self.values[f"edge_fmnist_{name}", ()]


def get(page: WebPage, *, host: str | None = None, method: str = "GET") -> Answer:
    connection = http.client.HTTPConnection(urlsplit(page.url).netloc, timeout=30)
    try:
        connection.request(method, "/metrics", headers={} if host is None else {"Host": host})
        response = connection.getresponse()
        return Answer(response.status, response.headers["Content-Type"], response.read().decode())
    finally:
        connection.close()


@pytest.fixture
def page() -> Iterator[WebPage]:
    with closing(WebPage(port=0)) as page:
        yield page


def test_before_the_first_result(page: WebPage) -> None:
    answer = get(page)
    assert (answer.status, answer.media_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert (answer.of("frames_total"), answer.of("frames_dropped_total"), answer.of("results_per_second")) == (0, 0, 0)
    assert answer.of("viewers") == 0


def test_counts(page: WebPage, make_result: MakeResult) -> None:
    labels = ["Coat", "Coat", "unknown", None]
    for index, label in enumerate(labels):
        page.write(make_result(index, label, size=(28, 28), seen=2 * index + 1, dropped=index, fps=29.5))
    answer = get(page)
    counted = {labels[0][1]: value for (name, labels), value in answer.values.items() if name.endswith("results_total")}
    assert counted == {"Coat": 2, "unknown": 1, "no garment": 1}
    assert (answer.of("frames_total"), answer.of("frames_dropped_total"), answer.of("results_per_second")) == (
        7,
        3,
        29.5,
    )


def test_latency_by_stage(page: WebPage, make_result: MakeResult) -> None:
    for age, classify in ((5.0, 0.2), (40.0, 3.0)):
        page.write(make_result(size=(28, 28), stages=Stages(2.0, classify, 0.01), age=age))
    values = get(page).values

    def stage(name: str, **labels: str) -> float:
        return values[f"edge_fmnist_stage_seconds_{name}", tuple(sorted(labels.items()))]

    assert stage("count", stage="classify") == 2
    assert stage("sum", stage="classify") == pytest.approx(0.0032)
    assert stage("bucket", stage="classify", le="0.00025") == 1
    assert stage("bucket", stage="classify", le="0.005") == 2
    assert stage("sum", stage="preprocess") == pytest.approx(0.004)
    assert stage("bucket", stage="smooth", le="0.0001") == 2
    assert values["edge_fmnist_latency_seconds_sum", ()] == pytest.approx(0.045)
    assert values["edge_fmnist_latency_seconds_bucket", (("le", "0.01"),)] == 1


def test_the_process(page: WebPage) -> None:
    values = get(page).values
    assert 10e6 < values["process_resident_memory_bytes", ()] < 100e9
    assert values["process_cpu_seconds_total", ()] > 0


def test_what_others_count(make_result: MakeResult) -> None:
    stats = LiveStats(9, 2, 6, 1, 4, 12.5, {}, {"Coat": 6})
    traffic = Traffic(connected=True, reconnects=3, delivered=70, waiting=5, dropped=2)
    with closing(WebPage(port=0, stats=lambda: stats, traffic=lambda: traffic)) as page:
        answer = get(page)
    assert (answer.of("frames_unusable_total"), answer.of("source_reconnects_total")) == (1, 4)
    assert answer.of("running_seconds") == 12.5
    assert (answer.of("mqtt_connected"), answer.of("mqtt_reconnects_total"), answer.of("mqtt_waiting")) == (1, 3, 5)
    assert (answer.of("mqtt_delivered_total"), answer.of("mqtt_dropped_total")) == (70, 2)


def test_what_is_not_there_is_left_out(page: WebPage) -> None:
    assert "mqtt" not in get(page).body
    assert "reconnects" not in get(page).body


def test_the_age_of_the_newest_result(page: WebPage, make_result: MakeResult) -> None:
    page.write(make_result(size=(28, 28)))
    time.sleep(0.2)
    first = get(page).of("newest_result_age_seconds")
    assert first >= 0.2
    time.sleep(0.1)
    assert get(page).of("newest_result_age_seconds") >= first + 0.1


def test_every_metric_has_help_and_type_and_its_unit_in_its_name(make_result: MakeResult) -> None:
    traffic = Traffic(connected=False, reconnects=0, delivered=0, waiting=0, dropped=0)
    with closing(WebPage(port=0, stats=lambda: LiveStats(0, 0, 0, 0, 0, 0.0, {}, {}), traffic=lambda: traffic)) as page:
        page.write(make_result(size=(28, 28)))
        body = get(page).body
    families = [one for one in text_string_to_metric_families(body) if one.name.startswith("edge_fmnist_")]
    assert len(families) >= 15
    for family in families:
        assert family.documentation
        assert family.type in {"counter", "gauge", "histogram"}
        assert "milli" not in family.name
    types = [line.split()[2] for line in body.splitlines() if line.startswith("# TYPE ")]
    assert len(types) == len(set(types))
    assert body.endswith("\n")


def test_it_is_guarded_as_the_page_is(page: WebPage) -> None:
    assert get(page, host="example.com").status == 400
    assert get(page, method="POST").status == 405
    assert get(page, method="HEAD").body == ""


def test_the_command_counts_its_loop(run_cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[Answer] = []

    class Asked(WebPage):
        """A page that is asked for its metrics before it is closed."""

        def close(self) -> None:
            bodies.append(get(self))
            super().close()

    monkeypatch.setattr("edge_fmnist.sinks.web.WebPage", Asked)
    run_cli("live", "--source", "demo", "--frames", 5, "--serve", "127.0.0.1:0", "--quiet")
    assert bodies[0].of("frames_total") >= 5
    assert bodies[0].of("running_seconds") > 0
    assert sum(value for (name, _), value in bodies[0].values.items() if name == "edge_fmnist_results_total") == 5
