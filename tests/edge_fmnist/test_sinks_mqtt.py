"""MQTT without a broker: URLs, credentials, the queue, what is published when, and Home Assistant discovery."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jinja2 import Template

from edge_fmnist import extras, live
from edge_fmnist.data.labels import LABELS, UNKNOWN
from edge_fmnist.errors import MissingExtraError, UsageError
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.pipeline.stats import NO_GARMENT
from edge_fmnist.sinks.base import Sink
from edge_fmnist.sinks.mqtt import Broker, MqttPublisher, find_credentials, parse_broker
from edge_fmnist.sinks.mqtt.messages import STALLED_AFTER, MessageFactory
from edge_fmnist.sinks.mqtt.queue import MessageQueue, MqttMessage
from edge_fmnist.sources.tls import client_context

MakeResult = Callable[..., LiveResult]
SECRET = "correct-horse"
USER, PASSWORD = "EDGE_FMNIST_MQTT_USER", "EDGE_FMNIST_MQTT_PASSWORD"


@pytest.mark.parametrize(
    ("text", "broker"),
    [
        ("mqtts://broker/a", Broker("broker", 8883, "a", tls=True)),
        ("mqtt://Broker.local:1884/a/", Broker("broker.local", 1884, "a")),
        ("mqtt://[::1]:1884/a", Broker("::1", 1884, "a")),
        ("mqtt://192.168.1.5/two%20words/k%C3%BCche", Broker("192.168.1.5", 1883, "two words/küche")),
        ("mqtt://broker/a@b", Broker("broker", 1883, "a@b")),
        ("mqtt://broker/", Broker("broker", 1883, "edge-fmnist/pi_kitchen")),
    ],
)
def test_broker_urls(text: str, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "pi.kitchen")
    assert parse_broker(text) == broker
    assert parse_broker(broker.url) == broker


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected mqtt://HOST"),
        ("http://broker/a", "expected mqtt://HOST"),
        ("mqtt:///prefix", "expected mqtt://HOST"),
        ("mqtt://bro ker/a", "expected mqtt://HOST"),
        ("mqtt://[::1", "expected mqtt://HOST"),
        ("mqtt://[::g]/a", "expected mqtt://HOST"),
        (f"mqtt://{'a' * 64}.local/a", "expected mqtt://HOST"),
        ("mqtt://broker:70000/a", "expected mqtt://HOST"),
        ("mqtt://broker:0/a", "expected a port from 1 to 65535, got 0"),
        ("mqtt://broker/a?b", "expected mqtt://HOST"),
        ("mqtt://broker/a/+", r"without \+, #"),
        ("mqtt://broker/a%00", "control characters"),
        ("mqtt://broker/a%1b[31m", "control characters"),
        ("mqtt://broker/a%ff", r"without \+, #"),
        ("mqtt://broker/a\udcff", "control characters"),
        ("mqtt://broker/a//b", "empty levels"),
        ("mqtt://broker/$SYS/a", "reserved for the broker"),
        (f"mqtt://broker/{'a' * 1025}", "at most 1024 bytes, got 1025"),
    ],
)
def test_bad_broker_urls(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        parse_broker(text)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "text", [f"mqtt://me:{SECRET}@broker/a", f"http://me:{SECRET}@broker", f"me:{SECRET}@broker", f"mqtt://{SECRET}@b"]
)
def test_a_password_in_the_url_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError, match=PASSWORD) as refused:
        parse_broker(text)
    assert SECRET not in str(refused.value)


def test_credentials_from_the_environment() -> None:
    assert find_credentials({USER: "", PASSWORD: ""}) is None
    assert find_credentials({USER: "me"}) == ("me", None)
    assert find_credentials({USER: "me", PASSWORD: SECRET}) == ("me", SECRET)
    with pytest.raises(UsageError, match=f"{USER} is not"):
        find_credentials({PASSWORD: SECRET})


@pytest.mark.parametrize("value", [f"{SECRET}\udcff", f"{SECRET}\0", SECRET * 6000])
def test_credentials_that_mqtt_cannot_carry(value: str) -> None:
    for environment in ({USER: value}, {USER: "me", PASSWORD: value}):
        with pytest.raises(UsageError, match="expected UTF-8 text") as refused:
            find_credentials(environment)
        assert SECRET not in str(refused.value)


def test_bad_authorities(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        client_context(tmp_path / "absent.pem")
    (tmp_path / "text.pem").write_text("no certificate", "utf-8")
    with pytest.raises(UsageError, match="expected certificates in PEM format"):
        client_context(tmp_path / "text.pem")


@pytest.mark.parametrize(
    ("expendable", "kept"),
    [((), [4, 5, 6, 7]), ((1, 2, 7), [4, 5, 6, 7]), ((1, 4, 6, 7), [2, 3, 5, 7]), (range(8), [4, 5, 6, 7])],
)
def test_a_full_queue_drops_the_oldest_measurement_first(expendable: tuple[int, ...], kept: list[int]) -> None:
    queue = MessageQueue(4)
    for number in range(8):
        queue.put(MqttMessage("topic", str(number).encode(), expendable=number in expendable))
    assert (len(queue), queue.dropped) == (4, 4)
    assert [int(message.payload) for message in iter(queue.take, None)] == kept


@pytest.fixture
def factory(clock: Any) -> MessageFactory:
    return MessageFactory("house", LABELS, clock, lambda: 1767225600.5)


def test_changes_at_once_and_measurements_at_intervals(
    factory: MessageFactory, clock: Any, make_result: MakeResult
) -> None:
    def published(index: int, label: str | None, after: float = 0.0) -> list[str]:
        clock.now += after
        result = make_result(index, label, size=(28, 28))
        return [message.topic.removeprefix("house/") for message in factory.for_result(result)]

    # The first result has no frame rate yet, and counts as a change even without a garment.
    assert published(0, None) == ["state", "scores"]
    assert published(1, None) == []
    assert published(2, "Dress") == ["state", "scores"]
    assert published(3, "Dress", after=5) == ["scores", "frame_rate"]
    assert published(4, "Dress", after=4.9) == []
    assert published(5, "unknown") == ["state", "scores"]


def test_payloads(factory: MessageFactory, make_result: MakeResult) -> None:
    result = make_result(7, "Coat", 0.93456, size=(28, 28), fps=29.966)
    state, scores, rate = factory.for_result(result)
    assert [(message.retain, message.expendable) for message in (state, scores, rate)] == [
        *((True, False), (False, True), (False, True))
    ]
    facts = {"time": "2026-01-01T00:00:00.500+00:00", "label": "Coat", "score": 0.9346, "frame": 7}
    assert json.loads(state.payload) == facts
    assert json.loads(scores.payload) == {**facts, "scores": result.as_dict()["scores"]}
    assert rate.payload == b"29.97"


def test_labels_are_published_escaped(make_result: MakeResult) -> None:
    labels = ("Coat\x1b[31m", *LABELS[1:])
    factory = MessageFactory("house", labels)
    result = make_result(label=labels[0], size=(28, 28), labels=labels)
    state, scores = factory.for_result(result)
    assert json.loads(state.payload)["label"] == r"Coat\x1b[31m"
    assert next(iter(json.loads(scores.payload)["scores"])) == r"Coat\x1b[31m"
    assert r"Coat\x1b[31m" in json.loads(next(factory.greeting(0)).payload)["options"]
    assert result.labels == labels


def test_health_from_start_to_stall(factory: MessageFactory, clock: Any, make_result: MakeResult) -> None:
    def health(after: float = 0.0) -> str | None:
        clock.now += after
        message = factory.health_if_due(dropped=3)
        return json.loads(message.payload)["state"] if message else None

    assert [health(), health()] == ["starting", None]
    list(factory.for_result(make_result(size=(28, 28))))
    assert [health(), health(4.9), health(0.1)] == ["running", None, "running"]
    assert health(STALLED_AFTER - 5) == "stalled"
    list(factory.for_result(make_result(1, size=(28, 28))))
    assert health() == "running"
    list(factory.for_result(make_result(2, size=(28, 28), fps=0.1)))
    assert [health(STALLED_AFTER + 1), health(STALLED_AFTER)] == ["running", "stalled"]


def test_the_health_has_counts(factory: MessageFactory, make_result: MakeResult) -> None:
    for index in (1, 8):
        list(factory.for_result(make_result(index, size=(28, 28), dropped=index - 1)))
    facts = json.loads(factory.stopped(3).payload)
    del facts["time"]
    counts = {"frames": 9, "frames_dropped": 7, "results": 2, "messages_dropped": 3}
    assert facts == {"state": "stopped", **counts}


def test_a_connection_begins_with_discovery_and_ends_offline(factory: MessageFactory) -> None:
    *sensors, availability, health = factory.greeting(3)
    assert [message.topic.split("/")[0] for message in sensors] == ["homeassistant"] * 4
    assert availability == MqttMessage("house/availability", b"online", retain=True)
    assert (health.topic, json.loads(health.payload)["messages_dropped"]) == ("house/health", 3)
    assert factory.availability(False) == MqttMessage("house/availability", b"offline", retain=True)


def sensors(prefix: str, labels: tuple[str, ...] = LABELS) -> dict[str, dict[str, Any]]:
    """Return the discovery messages by the name of the sensor."""
    messages = list(MessageFactory(prefix, labels).greeting(0))[:4]
    assert all(message.retain for message in messages)
    configs = [{**json.loads(message.payload), "discovery_topic": message.topic} for message in messages]
    return {config["name"]: config for config in configs}


def test_sensors_share_a_device_and_have_identifiers_of_their_own() -> None:
    found = sensors("house/camera")
    assert set(found) == {"Garment", "Score", "Frame rate", "Health"}
    assert len({json.dumps(sensor["device"]) for sensor in found.values()}) == 1
    assert len({sensor["unique_id"] for sensor in found.values()}) == 4
    for sensor in found.values():
        assert sensor["discovery_topic"] == f"homeassistant/sensor/{sensor['unique_id']}/config"
        # The characters that Home Assistant allows in a level of a discovery topic.
        assert re.fullmatch("[a-zA-Z0-9_-]+", sensor["unique_id"])


def test_two_cameras_are_two_devices() -> None:
    first, second = (sensors(prefix)["Garment"] for prefix in ("edge-fmnist/pi1", "edge-fmnist/pi2"))
    assert first["device"]["identifiers"] == ["edge_fmnist_pi1"]
    assert second["device"]["identifiers"] != first["device"]["identifiers"]
    assert second["unique_id"] != first["unique_id"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("house/cam-1", "house/cam_1"),
        ("küche", "köche"),
        ("家/門", "庭/車"),
        ("edge-fmnist/a-b", "a-b"),
        ("edge-fmnist/a-b", "edge-fmnist/a--b"),
    ],
)
def test_prefixes_that_differ_in_special_characters(one: str, other: str) -> None:
    assert not {each["unique_id"] for each in sensors(one).values()} & {
        each["unique_id"] for each in sensors(other).values()
    }


def test_every_label_is_an_option() -> None:
    garment = sensors("house", labels=("Hat", "Scarf"))["Garment"]
    assert garment["options"] == ["Hat", "Scarf", UNKNOWN, NO_GARMENT]
    assert garment["device_class"] == "enum"
    # Home Assistant accepts neither unit nor statistics with a list of options.
    assert not {"unit_of_measurement", "state_class"} & set(garment)


def test_sensors_read_topics_that_are_published(factory: MessageFactory, make_result: MakeResult) -> None:
    topics = {message.topic for message in (*factory.for_result(make_result(1, size=(28, 28))), *factory.greeting(0))}
    for sensor in sensors("house").values():
        assert {sensor["state_topic"], *(place["topic"] for place in sensor["availability"])} <= topics


def test_what_home_assistant_shows(factory: MessageFactory, clock: Any, make_result: MakeResult) -> None:
    """Its templates are Jinja's; ``value_json`` is the payload."""
    shown = {}
    for label in ("Coat", None):
        clock.now += 5
        published = {
            message.topic: message for message in factory.for_result(make_result(1, label, 0.93456, size=(28, 28)))
        }
        published["house/health"] = factory.stopped(0)
        for name, sensor in sensors("house").items():
            values = {"value_json": json.loads(published[sensor["state_topic"]].payload)}
            shown[name, label] = Template(sensor.get("value_template", "{{ value_json }}")).render(values)
    assert [shown["Garment", label] for label in ("Coat", None)] == ["Coat", NO_GARMENT]
    assert float(shown["Score", "Coat"]) == pytest.approx(93.5)
    assert float(shown["Frame rate", "Coat"]) == 30
    assert shown["Health", "Coat"] == "stopped"


@pytest.mark.parametrize(("state", "shown"), [("starting", "offline"), ("running", "online"), ("stalled", "offline")])
def test_a_camera_without_frames_is_unavailable(state: str, shown: str) -> None:
    for name, sensor in sensors("house").items():
        connected, *running = sensor["availability"]
        assert (connected["payload_available"], connected["payload_not_available"]) == ("online", "offline")
        # The health says itself that there are none.
        assert len(running) == (name != "Health")
        for place in running:
            assert Template(place["value_template"]).render(value_json={"state": state}) == shown
            assert sensor["availability_mode"] == "all"


def test_missing_extra(run_cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"MQTT needs .*pip install 'edge-fmnist\[mqtt\]'"):
        MqttPublisher(Broker("127.0.0.1", 1883, "a"), LABELS)
    result = run_cli("live", "--source", "demo", "--mqtt", "mqtt://broker", code=2)
    assert "pip install 'edge-fmnist[mqtt]'" in result.stderr


class Unconnected(Sink):
    """Stands in for the publisher."""

    time_left: object = None

    def __init__(self, *_: object, **__: object) -> None: ...

    def write(self, result: LiveResult) -> None: ...

    def close(self) -> None: ...


def test_the_publisher_has_the_time_that_the_loop_has(monkeypatch: pytest.MonkeyPatch) -> None:
    publisher = Unconnected()
    monkeypatch.setattr("edge_fmnist.sinks.mqtt.MqttPublisher", lambda *_, **__: publisher)
    loop = live([np.zeros((28, 28), np.uint8)], model="nano", mqtt="mqtt://localhost")
    list(loop)
    assert publisher.time_left == loop.time_left


@pytest.mark.parametrize(
    ("url", "warned"), [("mqtt://192.0.2.1", True), ("mqtts://192.0.2.1", False), ("mqtt://localhost", False)]
)
@pytest.mark.parametrize("user", ["", "me"])
def test_a_password_without_encryption_is_warned_about(
    monkeypatch: pytest.MonkeyPatch, warnings: list[str], url: str, warned: bool, user: str
) -> None:
    monkeypatch.setenv(USER, user)
    monkeypatch.delenv(PASSWORD, raising=False)
    monkeypatch.setattr("edge_fmnist.sinks.mqtt.MqttPublisher", Unconnected)
    list(live([np.zeros((28, 28), np.uint8)], model="nano", mqtt=url, warn=warnings.append))
    assert len(warnings) == (warned and user == "me")
    assert all("unencrypted" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mqtt", "http://broker"], "--mqtt http://broker: expected mqtt://HOST"),
        (["--mqtt", f"mqtt://me:{SECRET}@broker"], PASSWORD),
        (["--mqtt", "mqtt://broker", "--mqtt-ca", "ca.pem"], "expected an encrypted connection"),
        (["--mqtt-ca", "ca.pem"], "--mqtt-ca: needs --mqtt"),
        (["--mqtt", "mqtts://127.0.0.1:9", "--mqtt-ca", "absent.pem"], "--mqtt-ca: absent.pem: cannot be read"),
    ],
)
def test_bad_options(run_cli: Callable[..., Any], arguments: list[str], message: str) -> None:
    result = run_cli("live", "--source", "demo", "--frames", 1, *arguments, code=2)
    assert message in result.stderr
    assert SECRET not in result.stderr
