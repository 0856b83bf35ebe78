"""MQTT without a broker: addresses, the buffer, what is published when, and what Home Assistant is told."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_fmnist import extras
from edge_fmnist.data.labels import LABELS, UNKNOWN
from edge_fmnist.errors import MissingExtraError, UsageError
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.pipeline.stats import NO_GARMENT
from edge_fmnist.sinks.mqtt import Broker, MqttPublisher, find_credentials, parse_broker
from edge_fmnist.sinks.mqtt.address import Credentials, tls_context
from edge_fmnist.sinks.mqtt.buffer import Buffer, Message
from edge_fmnist.sinks.mqtt.discovery import discovery
from edge_fmnist.sinks.mqtt.reporter import STALLED_AFTER, Reporter

MakeResult = Callable[..., LiveResult]
SECRET = "correct-horse"


# Addresses.


@pytest.mark.parametrize(
    ("text", "broker"),
    [
        ("mqtt://broker/house/camera", Broker("broker", 1883, "house/camera")),
        ("mqtts://broker/a", Broker("broker", 8883, "a", tls=True)),
        ("mqtt://Broker.local:1884/a/", Broker("broker.local", 1884, "a")),
        ("mqtt://192.168.1.5/a", Broker("192.168.1.5", 1883, "a")),
        ("mqtt://[::1]:1884/a", Broker("::1", 1884, "a")),
        ("mqtt://broker/two%20words/k%C3%BCche", Broker("broker", 1883, "two words/küche")),
        ("mqtt://broker/a@b", Broker("broker", 1883, "a@b")),
    ],
)
def test_addresses(text: str, broker: Broker) -> None:
    assert parse_broker(text) == broker


@pytest.mark.parametrize("text", ["mqtt://broker", "mqtt://broker/"])
def test_without_a_prefix_it_is_the_name_of_this_machine(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "pi.kitchen")
    assert parse_broker(text).prefix == "edge-fmnist/pi_kitchen"


@pytest.mark.parametrize("broker", [Broker("h", 1883, "a/b"), Broker("::1", 8883, "a", tls=True)])
def test_the_url_leads_back(broker: Broker) -> None:
    assert parse_broker(broker.url) == broker


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected mqtt://HOST"),
        ("broker", "expected mqtt://HOST"),
        ("http://broker/a", "expected mqtt://HOST"),
        ("mqtt:broker", "expected mqtt://HOST"),
        ("mqtt:///prefix", "expected mqtt://HOST"),
        ("mqtt://bro ker/a", "expected mqtt://HOST"),
        ("mqtt://bro%00ker/a", "expected mqtt://HOST"),
        ("mqtt://[::1", "expected mqtt://HOST"),
        ("mqtt://[::g]/a", "expected mqtt://HOST"),
        ("mqtt://broker:x/a", "expected mqtt://HOST"),
        ("mqtt://broker:70000/a", "expected mqtt://HOST"),
        ("mqtt://broker:0/a", "expected a port from 1 to 65535, got 0"),
        ("mqtt://broker/a#b", "expected mqtt://HOST"),
        ("mqtt://broker/a?b", "expected mqtt://HOST"),
        ("mqtt://broker/a/+", r"without \+, #"),
        ("mqtt://broker/a%23", r"without \+, #"),
        ("mqtt://broker/a%00", r"without \+, #"),
        ("mqtt://broker/a%ff", r"without \+, #"),
        ("mqtt://broker/a//b", "empty level"),
        ("mqtt://broker/$SYS/a", "the broker's own"),
        (f"mqtt://broker/{'a' * 1025}", "at most 1024 bytes, got 1025"),
    ],
)
def test_bad_addresses(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_broker(text)


@pytest.mark.parametrize(
    "text", [f"mqtt://me:{SECRET}@broker/a", f"http://me:{SECRET}@broker", f"me:{SECRET}@broker", f"mqtt://{SECRET}@b"]
)
def test_a_password_in_the_url_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError, match="EDGE_FMNIST_MQTT_PASSWORD") as refused:
        parse_broker(text)
    assert SECRET not in str(refused.value)


def test_credentials_come_from_the_environment() -> None:
    user, password = "EDGE_FMNIST_MQTT_USER", "EDGE_FMNIST_MQTT_PASSWORD"
    assert find_credentials({}) is None
    assert find_credentials({user: "", password: ""}) is None
    assert find_credentials({user: "me"}) == Credentials("me")
    found = find_credentials({user: "me", password: SECRET})
    assert found == Credentials("me", SECRET)
    assert SECRET not in repr(found)
    with pytest.raises(UsageError, match=f"{user} is not"):
        find_credentials({password: SECRET})


def test_bad_authorities(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        tls_context(tmp_path / "absent.pem")
    (tmp_path / "text.pem").write_text("no certificate", "utf-8")
    with pytest.raises(UsageError, match="expected certificates in PEM format"):
        tls_context(tmp_path / "text.pem")


# The buffer.


def messages(*numbers: int, expendable: bool = False) -> list[Message]:
    return [Message("topic", str(number).encode(), expendable=expendable) for number in numbers]


def drained(buffer: Buffer) -> list[int]:
    taken = []
    while (message := buffer.take()) is not None:
        taken.append(int(message.payload))
    return taken


def test_the_buffer_keeps_the_order_of_both_kinds() -> None:
    buffer = Buffer()
    for number in range(20):
        buffer.put(*messages(number, expendable=number % 3 == 0))
    assert len(buffer) == 20
    assert drained(buffer) == list(range(20))
    assert (len(buffer), buffer.dropped) == (0, 0)


def test_a_full_buffer_lets_the_oldest_measurement_go_first() -> None:
    buffer = Buffer(4)
    for message in (*messages(0), *messages(1, 2, expendable=True), *messages(3)):
        buffer.put(message)
    buffer.put(*messages(4))
    buffer.put(*messages(5, expendable=True))
    assert buffer.dropped == 2
    assert drained(buffer) == [0, 3, 4, 5]


def test_a_buffer_full_of_changes_lets_the_oldest_go() -> None:
    buffer = Buffer(3)
    for message in messages(*range(10)):
        buffer.put(message)
    assert (len(buffer), buffer.dropped) == (3, 7)
    assert drained(buffer) == [7, 8, 9]


# What is published, and when.


class Clock:
    """Two clocks that go on by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Published:
    """A reporter with its buffer and clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.buffer = Buffer()
        self.reporter = Reporter("house", LABELS, self.buffer, 5.0, self.clock, lambda: 1767225600.5)

    def after(self, result: LiveResult) -> list[str]:
        """Return the topics of what a result gives, without the prefix."""
        self.reporter.take(result)
        return [message.topic.removeprefix("house/") for message in iter(self.buffer.take, None)]

    def health(self) -> list[str]:
        """Return the states of health that are due."""
        return [json.loads(message.payload)["state"] for message in self.reporter.regular()]


@pytest.fixture
def published() -> Published:
    return Published()


def test_changes_at_once_and_measurements_at_intervals(published: Published, make_result: MakeResult) -> None:
    def labelled(index: int, label: str | None) -> LiveResult:
        return make_result(index, label, size=(28, 28))

    # The first result has no rate yet.
    assert published.after(labelled(0, "Coat")) == ["state", "scores"]
    assert published.after(labelled(1, "Coat")) == []
    assert published.after(labelled(2, "Dress")) == ["state", "scores"]
    published.clock.now += 5
    assert published.after(labelled(3, "Dress")) == ["scores", "frame_rate"]
    published.clock.now += 4.9
    assert published.after(labelled(4, "Dress")) == []
    assert published.after(labelled(5, None)) == ["state", "scores"]
    assert published.after(labelled(6, "unknown")) == ["state", "scores"]


def test_no_garment_in_the_first_result_is_a_change(published: Published, make_result: MakeResult) -> None:
    assert published.after(make_result(label=None, size=(28, 28)))[0] == "state"


def test_what_a_change_says(published: Published, make_result: MakeResult) -> None:
    published.reporter.take(make_result(7, "Coat", 0.93456, size=(28, 28)))
    message = published.buffer.take()
    assert message is not None
    assert (message.topic, message.retain, message.expendable) == ("house/state", True, False)
    assert json.loads(message.payload) == {
        "time": "2026-01-01T00:00:00.500+00:00",
        "label": "Coat",
        "score": 0.9346,
        "frame": 7,
    }


def test_what_measurements_say(published: Published, make_result: MakeResult) -> None:
    result = make_result(1, fps=29.966, size=(28, 28))
    published.reporter.take(result)
    _, scores, rate = iter(published.buffer.take, None)
    assert (scores.retain, scores.expendable, rate.retain, rate.expendable) == (False, True, False, True)
    facts = json.loads(scores.payload)
    assert facts["scores"] == result.as_dict()["scores"]
    assert (facts["label"], facts["score"], facts["frame"]) == ("Coat", 0.9, 1)
    assert rate.payload == b"29.97"


def test_health_from_start_to_stall(published: Published, make_result: MakeResult) -> None:
    assert published.health() == ["starting"]
    assert published.health() == []
    published.after(make_result(size=(28, 28)))
    assert published.health() == ["running"]
    published.clock.now += 4.9
    assert published.health() == []
    published.clock.now += 0.1
    assert published.health() == ["running"]
    published.clock.now += STALLED_AFTER - 5
    assert published.health() == ["stalled"]
    published.after(make_result(1, size=(28, 28)))
    assert published.health() == ["running"]


def test_a_connection_begins_with_discovery_and_ends_offline(published: Published) -> None:
    *sensors, availability, health = published.reporter.greeting()
    assert [message.topic.split("/")[0] for message in sensors] == ["homeassistant"] * 4
    assert (availability.topic, availability.payload, availability.retain) == ("house/availability", b"online", True)
    assert health.topic == "house/health"
    farewell = published.reporter.farewell()
    assert (farewell.topic, farewell.payload, farewell.retain) == ("house/availability", b"offline", True)


# Home Assistant.


def configs(prefix: str = "house/camera", labels: tuple[str, ...] = LABELS) -> dict[str, dict[str, Any]]:
    """Return the discovery messages by the name of the sensor."""
    found = {message.topic: json.loads(message.payload) for message in discovery(prefix, labels)}
    assert all(message.retain for message in discovery(prefix, labels))
    return {config["name"]: {**config, "discovery_topic": topic} for topic, config in found.items()}


def test_the_sensors_share_a_device_and_have_identifiers_of_their_own() -> None:
    sensors = configs()
    assert set(sensors) == {"Garment", "Score", "Frame rate", "Health"}
    assert len({json.dumps(sensor["device"]) for sensor in sensors.values()}) == 1
    for sensor in sensors.values():
        assert sensor["discovery_topic"] == f"homeassistant/sensor/{sensor['unique_id']}/config"
        # What Home Assistant allows in a level of a discovery topic.
        assert re.fullmatch("[a-zA-Z0-9_-]+", sensor["unique_id"])
    assert len({sensor["unique_id"] for sensor in sensors.values()}) == 4


def test_two_cameras_are_two_devices() -> None:
    first, second = (configs(prefix)["Garment"] for prefix in ("edge-fmnist/pi1", "edge-fmnist/pi2"))
    assert first["device"]["identifiers"] == ["edge_fmnist_pi1"]
    assert second["device"]["identifiers"] != first["device"]["identifiers"]
    assert second["unique_id"] != first["unique_id"]


def test_every_label_is_an_option() -> None:
    garment = configs(labels=("Hat", "Scarf"))["Garment"]
    assert garment["options"] == ["Hat", "Scarf", UNKNOWN, NO_GARMENT]
    assert garment["device_class"] == "enum"
    # Home Assistant takes no unit and no statistics beside a list of options.
    assert not {"unit_of_measurement", "state_class"} & set(garment)


def test_sensors_read_topics_that_are_published(published: Published, make_result: MakeResult) -> None:
    topics = {f"house/{topic}" for topic in published.after(make_result(1, size=(28, 28)))}
    topics |= {message.topic for message in published.reporter.greeting()}
    for sensor in configs("house").values():
        read = {sensor["state_topic"], *(place["topic"] for place in sensor["availability"])}
        assert read <= topics


# The sink.


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"MQTT needs .*pip install 'edge-fmnist\[mqtt\]'"):
        MqttPublisher(Broker("127.0.0.1", 1883, "a"), LABELS)


def test_importing_needs_no_extra() -> None:
    script = "import sys, edge_fmnist.sinks.mqtt, edge_fmnist.cli.app; sys.exit('paho' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mqtt", "http://broker"], "--mqtt http://broker: expected mqtt://HOST"),
        (["--mqtt", f"mqtt://me:{SECRET}@broker"], "EDGE_FMNIST_MQTT_PASSWORD"),
        (["--mqtt", "mqtt://broker", "--mqtt-ca", "ca.pem"], "expected an encrypted connection"),
        (["--mqtt-ca", "ca.pem"], "expected a broker"),
        (["--mqtt", "mqtts://127.0.0.1:9", "--mqtt-ca", "absent.pem"], "--mqtt-ca absent.pem: cannot be read"),
    ],
)
def test_bad_options(run_cli: Callable[..., Any], arguments: list[str], message: str) -> None:
    result = run_cli("live", "--source", "demo", "--frames", 1, *arguments, code=2)
    assert message in result.stderr
    assert SECRET not in result.stderr


def test_the_command_names_the_extra(run_cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    result = run_cli("live", "--source", "demo", "--mqtt", "mqtt://broker", code=2)
    assert "pip install 'edge-fmnist[mqtt]'" in result.stderr
