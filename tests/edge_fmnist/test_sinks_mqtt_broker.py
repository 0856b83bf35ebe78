"""MQTT with a real broker, mosquitto, which is stopped and started in mid-run."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from edge_fmnist.data.labels import LABELS
from edge_fmnist.errors import SinkError
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.mqtt import Broker, MqttPublisher, Traffic, connection

MakeResult = Callable[..., LiveResult]
Publish = Callable[..., MqttPublisher]
PREFIX = "house/camera"
SECRET = "correct-horse"
PATIENCE = 30.0


def tool(name: str) -> str:
    """Return the path of a program of the system; skip where it is missing, fail where the machine must have it."""
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if path is None:
        missing = f"{name} is not installed; on Debian: apt install mosquitto openssl"
        if os.environ.get("EDGE_FMNIST_REQUIRE_MOSQUITTO") == "1":
            pytest.fail(f"EDGE_FMNIST_REQUIRE_MOSQUITTO=1, but {missing}")
        pytest.skip(missing)
    return path


def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


class Mosquitto:
    """A broker in a process of its own, at a port of its own, that can be stopped and started again."""

    def __init__(self, folder: Path, *settings: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.config = folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", "max_queued_messages 0", *settings]
        # As root, mosquitto would become another user, who cannot read the test's folder.
        lines += ["user root"] if os.geteuid() == 0 else []
        self.config.write_text("\n".join(lines) + "\n", "utf-8")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen([tool("mosquitto"), "-c", str(self.config)], stderr=subprocess.DEVNULL)
        until(self._accepts)

    def _accepts(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "mosquitto ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(PATIENCE)
            self.process = None


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Return a function that makes a broker with these settings, not yet started."""
    brokers: list[Mosquitto] = []

    def make(*settings: str) -> Mosquitto:
        brokers.append(Mosquitto(tmp_path, *(settings or ("allow_anonymous true",))))
        return brokers[-1]

    tool("mosquitto")
    yield make
    for broker in brokers:
        broker.stop()


@pytest.fixture
def broker(mosquitto: Callable[..., Mosquitto], tmp_path: Path) -> Mosquitto:
    """Return a broker that keeps its subscriptions and retained messages when it is stopped; started."""
    broker = mosquitto("allow_anonymous true", "persistence true", f"persistence_location {tmp_path}/")
    broker.start()
    return broker


class Received(NamedTuple):
    topic: str
    payload: bytes
    retained: bool

    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.payload)
        return value


class Subscriber:
    """Takes every message; the broker keeps what comes while it is away."""

    def __init__(self, port: int, name: str = "subscriber") -> None:
        self.received: list[Received] = []
        self.subscribed = False
        self._client = Client(CallbackAPIVersion.VERSION2, name, clean_session=False)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        until(lambda: self.subscribed)

    def _on_subscribe(self, *_: object) -> None:
        self.subscribed = True

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self.received.append(Received(message.topic, bytes(message.payload), message.retain))

    def of(self, topic: str) -> list[Received]:
        return [message for message in list(self.received) if message.topic == f"{PREFIX}/{topic}"]

    def frames(self) -> list[int]:
        """Return the frames of all changes; one that came twice in a row, which MQTT allows, is counted once."""
        numbers = [message.json()["frame"] for message in self.of("state")]
        return [number for number, before in zip(numbers, [None, *numbers], strict=False) if number != before]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def subscribe() -> Iterator[Callable[..., Subscriber]]:
    subscribers: list[Subscriber] = []

    def make(port: int, name: str = "subscriber") -> Subscriber:
        subscribers.append(Subscriber(port, name))
        return subscribers[-1]

    yield make
    for subscriber in subscribers:
        subscriber.close()


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch, warnings: list[str]) -> Iterator[Publish]:
    """Return a function that makes a publisher to a port of this machine."""
    for name in ("EDGE_FMNIST_MQTT_USER", "EDGE_FMNIST_MQTT_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    publishers: list[MqttPublisher] = []

    def make(port: int, host: str = "127.0.0.1", *, tls: bool = False, **settings: Any) -> MqttPublisher:
        broker = Broker(host, port, PREFIX, tls)
        publishers.append(MqttPublisher(broker, LABELS, warn=warnings.append, **settings))
        return publishers[-1]

    yield make
    monkeypatch.setattr(connection, "DRAIN_TIMEOUT", 0.1)
    for publisher in publishers:
        with contextlib.suppress(SinkError):
            publisher.close()


@pytest.fixture
def change(make_result: MakeResult) -> Callable[[int], LiveResult]:
    """Return a function that makes the result of a frame, whose label is another than that of the frame before."""
    return lambda index: make_result(index, LABELS[index % 10], size=(28, 28))


Change = Callable[[int], LiveResult]


def write_until(condition: Callable[[], Any], publisher: MqttPublisher, result: LiveResult) -> None:
    """Write the same result again and again: warnings are passed on when something is written."""

    def written() -> bool:
        publisher.write(result)
        return bool(condition())

    until(written)


def test_what_a_subscriber_gets(
    broker: Mosquitto, subscribe: Callable[..., Subscriber], publish: Publish, change: Change, warnings: list[str]
) -> None:
    subscriber = subscribe(broker.port)
    publisher = publish(broker.port)
    for index in range(5):
        publisher.write(change(index))
    publisher.close()
    publisher.close()
    until(lambda: subscriber.of("availability")[-1:] == [Received(f"{PREFIX}/availability", b"offline", False)])
    assert [message.json()["label"] for message in subscriber.of("state")] == list(LABELS[:5])
    assert [message.payload for message in subscriber.of("availability")] == [b"online", b"offline"]
    assert {message.json()["state"] for message in subscriber.of("health")} >= {"running"}
    assert len(subscriber.of("scores")) == 5
    assert publisher.traffic == Traffic(False, 0, 10, 0, 0)
    assert warnings == []


def test_who_comes_later_gets_what_is_retained(
    broker: Mosquitto, subscribe: Callable[..., Subscriber], publish: Publish, change: Change
) -> None:
    publisher = publish(broker.port)
    for index in range(5):
        publisher.write(change(index))
    until(lambda: publisher.traffic.waiting == 0)
    subscriber = subscribe(broker.port)
    until(lambda: len(subscriber.received) >= 7)
    assert all(message.retained for message in subscriber.received)
    topics = [message.topic for message in subscriber.received]
    assert sum(topic.startswith("homeassistant/sensor/edge_fmnist_house_camera_") for topic in topics) == 4
    assert [message.json()["frame"] for message in subscriber.of("state")] == [4]
    assert subscriber.of("availability")[0].payload == b"online"


def test_a_broker_stopped_in_mid_run(
    broker: Mosquitto, subscribe: Callable[..., Subscriber], publish: Publish, change: Change, warnings: list[str]
) -> None:
    subscriber = subscribe(broker.port)
    publisher = publish(broker.port)
    slowest = 0.0
    for index in range(300):
        if index == 100:
            until(lambda: subscriber.frames()[-1:] == [99])
            broker.stop()
        if index == 200:
            broker.start()
        result = change(index)
        begun = time.perf_counter()
        publisher.write(result)
        slowest = max(slowest, time.perf_counter() - begun)
        time.sleep(0.01)
    until(lambda: len(subscriber.frames()) == 300)
    assert subscriber.frames() == list(range(300))
    until(lambda: publisher.traffic.waiting == 0)
    traffic = publisher.traffic
    assert (traffic.connected, traffic.reconnects, traffic.dropped) == (True, 1, 0)
    assert slowest < 0.5
    publisher.close()
    lost, back = warnings
    assert f"no connection to the MQTT broker at 127.0.0.1:{broker.port}" in lost
    assert "is back after" in back
    assert "0 found no room" in back


def test_a_broker_that_comes_late(
    mosquitto: Callable[..., Mosquitto],
    subscribe: Callable[..., Subscriber],
    publish: Publish,
    change: Change,
    warnings: list[str],
) -> None:
    broker = mosquitto()
    publisher = publish(broker.port)
    for index in range(20):
        publisher.write(change(index))
        time.sleep(0.02)
    assert publisher.traffic.waiting == 40
    assert not publisher.traffic.connected
    broker.start()
    # The retained last change tells also who subscribes only now.
    subscriber = subscribe(broker.port)
    until(lambda: subscriber.frames()[-1:] == [19])
    publisher.close()
    assert len([message for message in warnings if "Connection refused" in message]) == 1


def test_no_more_than_fits_waits_and_the_newest_stay(
    mosquitto: Callable[..., Mosquitto],
    subscribe: Callable[..., Subscriber],
    publish: Publish,
    change: Change,
    warnings: list[str],
) -> None:
    broker = mosquitto()
    publisher = publish(broker.port, limit=10)
    for index in range(30):
        publisher.write(change(index))
    write_until(lambda: warnings, publisher, change(29))
    traffic = publisher.traffic
    assert (traffic.waiting, traffic.dropped) == (10, 50)
    broker.start()
    subscriber = subscribe(broker.port)
    until(lambda: subscriber.frames()[-1:] == [29])
    publisher.close()
    assert publisher.traffic.delivered == 10


def test_a_broker_that_forgets_is_told_again(
    mosquitto: Callable[..., Mosquitto], subscribe: Callable[..., Subscriber], publish: Publish, change: Change
) -> None:
    broker = mosquitto()
    broker.start()
    publisher = publish(broker.port)
    publisher.write(change(3))
    until(lambda: publisher.traffic.delivered == 3)
    broker.stop()
    broker.start()
    until(lambda: publisher.traffic.reconnects == 1)
    subscriber = subscribe(broker.port)
    until(lambda: len(subscriber.received) >= 7)
    assert subscriber.frames() == [3]


def test_a_broker_that_stays_away(publish: Publish, change: Change, closed_port: str, warnings: list[str]) -> None:
    publisher = publish(int(closed_port.rstrip("/").rpartition(":")[2]))
    for index in range(5):
        publisher.write(change(index))
    begun = time.monotonic()
    with pytest.raises(SinkError, match=r"MQTT: 10 messages could not be delivered .* \(Connection refused\)"):
        publisher.close()
    assert time.monotonic() - begun < 15
    assert len(warnings) == 1


def test_a_broker_that_says_nothing(
    publish: Publish, change: Change, monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT", 0.3)
    monkeypatch.setattr(connection, "DRAIN_TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        publisher = publish(listener.getsockname()[1])
        publisher.write(change(0))
        with pytest.raises(SinkError, match="could not be delivered"):
            publisher.close()


def test_a_host_that_does_not_exist(publish: Publish, change: Change, warnings: list[str]) -> None:
    publisher = publish(1883, "a" * 70 + ".invalid")
    write_until(lambda: warnings, publisher, change(0))
    assert "no connection to the MQTT broker" in warnings[0]


def test_a_thread_that_has_ended_is_an_error(
    broker: Mosquitto, publish: Publish, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(connection, "turn", broken)
    publisher = publish(broker.port)
    with pytest.raises(SinkError, match="ZeroDivisionError"):
        write_until(lambda: False, publisher, change(0))


# User, password and TLS.


@pytest.fixture
def guarded(mosquitto: Callable[..., Mosquitto], tmp_path: Path) -> Mosquitto:
    """Return a broker that lets one user in; started."""
    passwords = tmp_path / "passwords"
    command = [tool("mosquitto_passwd"), "-b", "-c", str(passwords), "camera", SECRET]
    subprocess.run(command, check=True, capture_output=True)
    broker = mosquitto("allow_anonymous false", f"password_file {passwords}")
    broker.start()
    return broker


def test_user_and_password(
    guarded: Mosquitto, publish: Publish, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a publisher is made with counts, so the fixture that clears the variables comes first.
    monkeypatch.setenv("EDGE_FMNIST_MQTT_USER", "camera")
    monkeypatch.setenv("EDGE_FMNIST_MQTT_PASSWORD", SECRET)
    publisher = publish(guarded.port)
    publisher.write(change(0))
    publisher.close()
    assert publisher.traffic.delivered == 2


@pytest.mark.parametrize("user", ["camera", None])
def test_a_wrong_password_is_told_of_and_not_repeated(
    guarded: Mosquitto,
    publish: Publish,
    change: Change,
    monkeypatch: pytest.MonkeyPatch,
    warnings: list[str],
    user: str | None,
) -> None:
    if user:
        monkeypatch.setenv("EDGE_FMNIST_MQTT_USER", user)
        monkeypatch.setenv("EDGE_FMNIST_MQTT_PASSWORD", f"{SECRET}-wrong")
    publisher = publish(guarded.port)
    write_until(lambda: warnings, publisher, change(0))
    assert "are EDGE_FMNIST_MQTT_USER and EDGE_FMNIST_MQTT_PASSWORD right?" in warnings[0]
    assert SECRET not in warnings[0]


@pytest.fixture
def encrypted(mosquitto: Callable[..., Mosquitto], tmp_path: Path) -> tuple[Mosquitto, Path]:
    """Return a broker that encrypts, started, and the certificate to check it by."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = [tool("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    broker = mosquitto("allow_anonymous true", f"certfile {certificate}", f"keyfile {key}")
    broker.start()
    return broker, certificate


def test_encrypted(encrypted: tuple[Mosquitto, Path], publish: Publish, change: Change) -> None:
    broker, certificate = encrypted
    publisher = publish(broker.port, "localhost", tls=True, authority=certificate)
    for index in range(100):
        publisher.write(change(index))
    publisher.close()
    assert publisher.traffic.delivered == 200


# paho leaves it to the garbage collector to close a connection whose certificate was refused.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize(
    ("host", "trusted", "message"),
    [("localhost", False, "certificate verify failed"), ("127.0.0.1", True, "not valid for '127.0.0.1'")],
)
def test_a_broker_that_cannot_be_trusted(
    encrypted: tuple[Mosquitto, Path],
    publish: Publish,
    change: Change,
    warnings: list[str],
    host: str,
    trusted: bool,
    message: str,
) -> None:
    broker, certificate = encrypted
    publisher = publish(broker.port, host, tls=True, authority=certificate if trusted else None)
    write_until(lambda: warnings, publisher, change(0))
    assert message in warnings[0]


# The command.


def start_live(port: int, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "edge_fmnist", "live", "--source", "demo", "--mqtt"]
    command += [f"mqtt://127.0.0.1:{port}/{PREFIX}", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGKILL, -9)])
def test_it_is_offline_after_its_end_and_after_its_death(
    broker: Mosquitto, subscribe: Callable[..., Subscriber], number: signal.Signals, code: int
) -> None:
    subscriber = subscribe(broker.port)
    with start_live(broker.port) as process:
        try:
            until(lambda: subscriber.of("state"), 120)
            process.send_signal(number)
            _, stderr = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == code, stderr
    assert f"Publishing to mqtt://127.0.0.1:{broker.port}/{PREFIX}" in stderr
    until(lambda: [message.payload for message in subscriber.of("availability")] == [b"online", b"offline"])


def test_without_a_broker_it_goes_on_and_says_so_once(run_cli: Callable[..., Any], closed_port: str) -> None:
    url = f"mqtt{closed_port.removeprefix('http')}{PREFIX}"
    result = run_cli("live", "--source", "demo", "--frames", 60, "--mqtt", url, code=1)
    assert result.stderr.count("no connection to the MQTT broker") == 1
    assert "60 results" in result.stderr
    assert "messages could not be delivered" in result.stderr
