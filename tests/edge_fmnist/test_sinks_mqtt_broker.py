"""MQTT with a real broker, mosquitto, which is stopped and restarted during a run."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from edge_fmnist.data.labels import LABELS
from edge_fmnist.errors import SinkError
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.mqtt import Broker, MqttPublisher, Traffic
from edge_fmnist.sinks.mqtt.clear import clear
from edge_fmnist.sinks.mqtt.messages import MessageFactory
from edge_fmnist.sinks.mqtt.queue import MqttMessage

MakeResult = Callable[..., LiveResult]
Publish = Callable[..., MqttPublisher]
Subscribe = Callable[[int], "Subscriber"]
Change = Callable[[int], LiveResult]
PREFIX = "house/camera"
SECRET = "correct-horse"
PATIENCE = 30.0
DRAIN_TIMEOUT = "edge_fmnist.sinks.mqtt.publisher.DRAIN_TIMEOUT"
RECONNECT_DELAYS = "edge_fmnist.sinks.mqtt.publisher.RECONNECT_DELAYS"


def until(condition: Callable[[], Any]) -> None:
    """Poll another process, or counters without an event."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


class Mosquitto:
    """A broker in a process of its own, at a port of its own, that can be stopped and started again."""

    def __init__(self, program: str, folder: Path, *settings: str) -> None:
        self.program = program
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
        self.process = subprocess.Popen([self.program, "-c", str(self.config)], stderr=subprocess.DEVNULL)
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
def mosquitto(need: Callable[..., str], tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Return a function that makes a broker with these settings, not yet started."""
    program, brokers = need("mosquitto", "mosquitto"), list[Mosquitto]()

    def make(*settings: str) -> Mosquitto:
        brokers.append(Mosquitto(program, tmp_path, *(settings or ("allow_anonymous true",))))
        return brokers[-1]

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
    """Receives every message; the broker keeps what arrives while it is disconnected."""

    def __init__(self, port: int) -> None:
        self.received: list[Received] = []
        self._changed = threading.Condition()
        self._subscribed = False
        self._client = Client(CallbackAPIVersion.VERSION2, "subscriber", clean_session=False)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self.wait(lambda: self._subscribed)

    def _on_subscribe(self, *_: object) -> None:
        with self._changed:
            self._subscribed = True
            self._changed.notify_all()

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        with self._changed:
            self.received.append(Received(message.topic, bytes(message.payload), message.retain))
            self._changed.notify_all()

    def wait(self, condition: Callable[[], Any]) -> None:
        """Wait until what was received meets a condition."""
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE), self.received

    def of(self, topic: str) -> list[Received]:
        return [message for message in list(self.received) if message.topic == f"{PREFIX}/{topic}"]

    def availability(self) -> list[bytes]:
        return [message.payload for message in self.of("availability")]

    def frames(self) -> list[int]:
        """Return the frames of all changes in the order of arrival; duplicates, which QoS 1 allows, count once."""
        return list(dict.fromkeys(message.json()["frame"] for message in self.of("state")))

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def subscribe() -> Iterator[Callable[[int], Subscriber]]:
    subscribers: list[Subscriber] = []

    def make(port: int) -> Subscriber:
        subscribers.append(Subscriber(port))
        return subscribers[-1]

    yield make
    for subscriber in subscribers:
        subscriber.close()


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch, warnings: list[str]) -> Iterator[Publish]:
    """Return a function that makes a publisher to a port of this machine."""
    for name in ("EDGE_FMNIST_MQTT_USER", "EDGE_FMNIST_MQTT_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(RECONNECT_DELAYS, (0.1, 0.2))
    publishers: list[MqttPublisher] = []

    def make(port: int, host: str = "127.0.0.1", *, tls: bool = False, **settings: Any) -> MqttPublisher:
        broker = Broker(host, port, PREFIX, tls)
        publishers.append(MqttPublisher(broker, LABELS, warn=warnings.append, **settings))
        return publishers[-1]

    yield make
    monkeypatch.setattr(DRAIN_TIMEOUT, 0.1)
    for publisher in publishers:
        with contextlib.suppress(SinkError):
            publisher.close()


@pytest.fixture
def change(make_result: MakeResult) -> Change:
    """Return a function that makes the result of a frame; its label differs from that of the frame before."""
    return lambda index: make_result(index, LABELS[index % 10], size=(28, 28))


def write_until(condition: Callable[[], Any], publisher: MqttPublisher, result: LiveResult) -> None:
    """Write a result repeatedly: warnings are passed on by write()."""

    def written() -> bool:
        publisher.write(result)
        return bool(condition())

    until(written)


def test_what_a_subscriber_receives(
    broker: Mosquitto, subscribe: Subscribe, publish: Publish, change: Change, warnings: list[str]
) -> None:
    subscriber = subscribe(broker.port)
    publisher = publish(broker.port)
    for index in range(5):
        publisher.write(change(index))
    publisher.close()
    publisher.close()
    subscriber.wait(lambda: subscriber.availability() == [b"online", b"offline"])
    assert [message.json()["label"] for message in subscriber.of("state")] == list(LABELS[:5])
    states = [message.json()["state"] for message in subscriber.of("health")]
    assert "running" in states
    # What the broker keeps after the end.
    assert (states[-1], subscriber.of("health")[-1].topic) == ("stopped", f"{PREFIX}/health")
    assert len(subscriber.of("scores")) == 5
    assert publisher.traffic == Traffic(False, 0, 10, 0, 0)
    assert warnings == []


def test_it_ends_as_soon_as_everything_is_delivered(
    broker: Mosquitto, publish: Publish, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DRAIN_TIMEOUT, 2 * PATIENCE)
    publisher = publish(broker.port)
    publisher.write(change(0))
    begun = time.monotonic()
    publisher.close()
    assert time.monotonic() - begun < PATIENCE
    assert publisher.traffic.delivered == 2


def test_a_change_is_published_at_once(
    broker: Mosquitto, publish: Publish, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_fmnist.sinks.mqtt.publisher.TICK", 2 * PATIENCE)
    publisher = publish(broker.port)
    for index in range(3):
        publisher.write(change(index))
        until(lambda: publisher.traffic.delivered == 2 * (index + 1))  # noqa: B023 - called at once


def test_a_stop_ends_the_wait_for_a_broker(
    publish: Publish, closed_port: str, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DRAIN_TIMEOUT, 2 * PATIENCE)
    publisher = publish(int(closed_port.rpartition(":")[2].strip("/")))
    publisher.time_left = lambda: 1.0
    publisher.write(change(0))
    begun = time.monotonic()
    with pytest.raises(SinkError, match="2 messages could not be delivered"):
        publisher.close()
    assert time.monotonic() - begun < PATIENCE


def test_late_subscribers_receive_what_is_retained(
    broker: Mosquitto, subscribe: Subscribe, publish: Publish, change: Change
) -> None:
    publisher = publish(broker.port)
    for index in range(5):
        publisher.write(change(index))
    until(lambda: publisher.traffic.delivered == 10)
    subscriber = subscribe(broker.port)
    subscriber.wait(lambda: len(subscriber.received) >= 7)
    assert all(message.retained for message in subscriber.received)
    topics = [message.topic for message in subscriber.received]
    assert sum(topic.startswith("homeassistant/sensor/edge_fmnist_house_camera_") for topic in topics) == 4
    assert subscriber.frames() == [4]
    assert subscriber.availability() == [b"online"]


def test_a_broker_that_restarts_during_a_run(
    broker: Mosquitto, subscribe: Subscribe, publish: Publish, change: Change, warnings: list[str]
) -> None:
    subscriber = subscribe(broker.port)
    publisher = publish(broker.port)
    slowest = 0.0
    for index in range(300):
        if index == 100:
            # Some messages may still be in flight.
            subscriber.wait(lambda: subscriber.frames()[-1:] > [90])
            broker.stop()
        if index == 200:
            until(lambda: not publisher.traffic.connected)
            broker.start()
        result = change(index)
        begun = time.perf_counter()
        publisher.write(result)
        slowest = max(slowest, time.perf_counter() - begun)
    subscriber.wait(lambda: len(subscriber.frames()) == 300)
    assert subscriber.frames() == list(range(300))
    until(lambda: publisher.traffic.waiting == 0)
    traffic = publisher.traffic
    assert (traffic.connected, traffic.reconnects, traffic.dropped) == (True, 1, 0)
    assert slowest < 0.5
    publisher.close()
    lost, back = warnings
    assert f"no connection to the MQTT broker at 127.0.0.1:{broker.port}" in lost
    assert f"reconnected to the MQTT broker at 127.0.0.1:{broker.port} after" in back
    assert "0 dropped" in back


def test_a_broker_that_starts_late_receives_the_newest_messages(
    mosquitto: Callable[..., Mosquitto],
    subscribe: Subscribe,
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
    assert (traffic.connected, traffic.waiting, traffic.dropped) == (False, 10, 50)
    broker.start()
    subscriber = subscribe(broker.port)
    subscriber.wait(lambda: subscriber.frames()[-1:] == [29])
    publisher.close()
    assert publisher.traffic.delivered == 10
    assert sum("Connection refused" in message for message in warnings) == 1


def test_a_broker_that_lost_its_retained_messages_gets_them_again(
    mosquitto: Callable[..., Mosquitto], subscribe: Subscribe, publish: Publish, change: Change
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
    subscriber.wait(lambda: len(subscriber.received) >= 7)
    assert subscriber.frames() == [3]


@pytest.mark.parametrize("listening", [False, True], ids=["refused", "silent"])
def test_a_broker_that_is_never_available(
    publish: Publish, change: Change, monkeypatch: pytest.MonkeyPatch, warnings: list[str], listening: bool
) -> None:
    monkeypatch.setattr(DRAIN_TIMEOUT, 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        if not listening:
            listener.close()
        publisher = publish(port)
        for index in range(5):
            publisher.write(change(index))
        begun = time.monotonic()
        with pytest.raises(SinkError, match=r"MQTT: 10 messages could not be delivered .*start the broker"):
            publisher.close()
    assert time.monotonic() - begun < 5
    assert len(warnings) == (0 if listening else 1)


@pytest.fixture
def password_broker(need: Callable[..., str], mosquitto: Callable[..., Mosquitto], tmp_path: Path) -> Mosquitto:
    """Return a broker that accepts one user; started."""
    passwords = tmp_path / "passwords"
    command = [need("mosquitto_passwd", "mosquitto"), "-b", "-c", str(passwords), "camera", SECRET]
    subprocess.run(command, check=True, capture_output=True)
    broker = mosquitto("allow_anonymous false", f"password_file {passwords}")
    broker.start()
    return broker


def test_user_and_password(
    password_broker: Mosquitto, publish: Publish, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_FMNIST_MQTT_USER", "camera")
    monkeypatch.setenv("EDGE_FMNIST_MQTT_PASSWORD", SECRET)
    publisher = publish(password_broker.port)
    publisher.write(change(0))
    publisher.close()
    assert publisher.traffic.delivered == 2


def test_a_wrong_password_is_reported_and_not_repeated(
    password_broker: Mosquitto,
    publish: Publish,
    change: Change,
    monkeypatch: pytest.MonkeyPatch,
    warnings: list[str],
) -> None:
    monkeypatch.setenv("EDGE_FMNIST_MQTT_USER", "camera")
    monkeypatch.setenv("EDGE_FMNIST_MQTT_PASSWORD", f"{SECRET}-wrong")
    publisher = publish(password_broker.port)
    write_until(lambda: warnings, publisher, change(0))
    assert "check EDGE_FMNIST_MQTT_USER and EDGE_FMNIST_MQTT_PASSWORD" in warnings[0]
    assert SECRET not in warnings[0]


def test_a_broker_that_acknowledges_nothing_is_warned_about(
    publish: Publish, change: Change, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_fmnist.sinks.mqtt.publisher.ACKNOWLEDGE_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        publisher = publish(port)
        connection, _ = listener.accept()
        with connection:
            # CONNACK, and nothing else.
            connection.sendall(b"\x20\x02\x00\x00")
            write_until(lambda: warnings, publisher, change(0))
            publisher.write(change(1))
            monkeypatch.setattr(DRAIN_TIMEOUT, 0.1)
            with pytest.raises(SinkError, match="could not be delivered"):
                publisher.close()
    assert [re.sub(r"\d+ s", "N s", warning) for warning in warnings] == [
        f"the MQTT broker at 127.0.0.1:{port} has acknowledged no message for N s; up to 10000 are queued"
    ]


@pytest.mark.parametrize("where", ["greeting", "health_if_due"])
def test_a_bug_in_a_thread_is_not_silent(
    broker: Mosquitto, publish: Publish, change: Change, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The greeting is made in paho's thread, health in the other one."""

    def fail(*_: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(MessageFactory, where, fail)
    publisher = publish(broker.port)

    def stopped() -> bool:
        try:
            publisher.write(change(0))
        except SinkError as error:
            return str(error) == "MQTT has stopped: ValueError: a bug"
        return False

    until(stopped)
    publisher.close()


def test_clearing_removes_everything_that_the_broker_keeps(
    broker: Mosquitto, subscribe: Subscribe, publish: Publish, change: Change, run_cli: Callable[..., Any]
) -> None:
    publisher = publish(broker.port)
    publisher.write(change(0))
    publisher.close()
    url = f"mqtt://127.0.0.1:{broker.port}/{PREFIX}"
    assert "cleared 7 retained topics of house/camera" in run_cli("mqtt", "clear", url).stdout
    assert len(json.loads(run_cli("mqtt", "clear", url, "--json").stdout)["topics"]) == 7
    publisher = publish(broker.port)
    subscriber = subscribe(broker.port)
    # What a new camera publishes is all that arrives.
    subscriber.wait(lambda: b"online" in subscriber.availability())
    assert not [message for message in subscriber.received if b'"state": "stopped"' in message.payload]
    assert subscriber.of("state") == []


def test_clearing_without_a_broker(run_cli: Callable[..., Any]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"mqtt://127.0.0.1:{probe.getsockname()[1]}"
        assert "no connection to the broker" in run_cli("mqtt", "clear", url, code=1).stderr
    assert (
        "--mqtt-ca ca.pem: expected an encrypted" in run_cli("mqtt", "clear", url, "--mqtt-ca", "ca.pem", code=2).stderr
    )


def test_clearing_with_a_wrong_password(
    password_broker: Mosquitto, run_cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_FMNIST_MQTT_USER", "camera")
    monkeypatch.setenv("EDGE_FMNIST_MQTT_PASSWORD", f"{SECRET}-wrong")
    url = f"mqtt://127.0.0.1:{password_broker.port}/{PREFIX}"
    stderr = run_cli("mqtt", "clear", url, code=1).stderr
    assert "check EDGE_FMNIST_MQTT_USER and EDGE_FMNIST_MQTT_PASSWORD" in stderr
    assert SECRET not in stderr


@pytest.mark.parametrize(
    ("answer", "timeout", "message"),
    [(b"", 0.2, "does not answer"), (b"\x20\x02\x00\x00", 3.0, "has acknowledged nothing for 3 s")],
    ids=["nothing", "CONNACK"],
)
def test_clearing_with_a_silent_broker(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, timeout: float, message: str
) -> None:
    monkeypatch.setattr("edge_fmnist.sinks.mqtt.clear.TIMEOUT", timeout)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(answer)
                # Until the client disconnects.
                while connection.recv(1 << 12):
                    pass

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        with pytest.raises(SinkError, match=f"the broker at 127.0.0.1:.* {message}"):
            clear(Broker("127.0.0.1", listener.getsockname()[1], PREFIX))
        thread.join()


@pytest.fixture
def tls_broker(mosquitto: Callable[..., Mosquitto], certificate: Path) -> tuple[Mosquitto, Path]:
    """Return a broker with TLS, started, and its certificate."""
    broker = mosquitto("allow_anonymous true", f"certfile {certificate}", f"keyfile {certificate}")
    broker.start()
    return broker, certificate


def test_encrypted(tls_broker: tuple[Mosquitto, Path], publish: Publish, change: Change) -> None:
    broker, certificate = tls_broker
    publisher = publish(broker.port, "localhost", tls=True, authority=certificate)
    for index in range(100):
        publisher.write(change(index))
    publisher.close()
    assert publisher.traffic.delivered == 200


# Paho leaves a connection whose certificate was rejected to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize(
    ("host", "trusted", "message"),
    [("localhost", False, "certificate verify failed"), ("127.0.0.1", True, "not valid for '127.0.0.1'")],
)
def test_a_broker_with_an_invalid_certificate(
    tls_broker: tuple[Mosquitto, Path],
    publish: Publish,
    change: Change,
    warnings: list[str],
    host: str,
    trusted: bool,
    message: str,
) -> None:
    broker, certificate = tls_broker
    publisher = publish(broker.port, host, tls=True, authority=certificate if trusted else None)
    write_until(lambda: warnings, publisher, change(0))
    assert message in warnings[0]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGKILL, -9)])
def test_offline_after_the_end_and_after_a_crash(
    broker: Mosquitto, subscribe: Subscribe, number: signal.Signals, code: int
) -> None:
    subscriber = subscribe(broker.port)
    command = [sys.executable, "-m", "edge_fmnist", "live", "--source", "demo", "--mqtt"]
    command += [f"mqtt://127.0.0.1:{broker.port}/{PREFIX}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            subscriber.wait(lambda: subscriber.of("state"))
            process.send_signal(number)
            _, stderr = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == code, stderr
    assert f"Publishing to mqtt://127.0.0.1:{broker.port}/{PREFIX}" in stderr
    subscriber.wait(lambda: subscriber.availability() == [b"online", b"offline"])


def test_without_a_broker_the_command_goes_on_and_warns_once(
    run_cli: Callable[..., Any], closed_port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DRAIN_TIMEOUT, 0.1)
    url = f"mqtt{closed_port.removeprefix('http')}{PREFIX}"
    result = run_cli("live", "--source", "demo", "--frames", 20, "--mqtt", url, code=1)
    assert result.stderr.count("no connection to the MQTT broker") == 1
    assert "20 results" in result.stderr
    assert "messages could not be delivered" in result.stderr


@pytest.fixture
def unconnected(publish: Publish, closed_port: str) -> tuple[MqttPublisher, list[tuple[str, int]]]:
    """Return a publisher whose threads have ended, and what it is told to publish: topic and quality of service."""
    publisher, published = publish(int(closed_port.rpartition(":")[2].strip("/"))), list[tuple[str, int]]()
    publisher.close()

    def note(topic: str, _payload: bytes, qos: int, retain: bool) -> SimpleNamespace:
        published.append((topic, qos))
        return SimpleNamespace(mid=len(published))

    publisher._client = cast(Client, SimpleNamespace(publish=note))
    publisher._warnings.clear()
    publisher._away = False
    return publisher, published


SUCCESS = cast(Any, SimpleNamespace(is_failure=False))


def test_new_messages_wait_for_repeated_ones(
    unconnected: tuple[MqttPublisher, list[tuple[str, int]]],
) -> None:
    publisher, published = unconnected
    publisher._in_flight[7] = MqttMessage(f"{PREFIX}/state", b"1", retain=True)
    publisher._on_connect(cast(Any, None), None, None, SUCCESS, None)
    publisher._queue.put(MqttMessage(f"{PREFIX}/state", b"2", retain=True))
    publisher._publish_due()
    assert (f"{PREFIX}/state", 1) not in published
    publisher._on_publish(cast(Any, None), None, 7)
    publisher._publish_due()
    assert published[-1] == (f"{PREFIX}/state", 1)


def test_messages_dropped_before_an_interruption_are_not_counted(
    unconnected: tuple[MqttPublisher, list[tuple[str, int]]],
) -> None:
    publisher, _ = unconnected
    publisher._queue.dropped = 5
    publisher._lost("gone")
    publisher._queue.dropped = 7
    publisher._on_connect(cast(Any, None), None, None, SUCCESS, None)
    assert publisher._warnings[-1].endswith("0 messages queued, 2 dropped")


def test_each_time_that_a_broker_acknowledges_nothing_is_warned_about(
    unconnected: tuple[MqttPublisher, list[tuple[str, int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_fmnist.sinks.mqtt.publisher.ACKNOWLEDGE_TIMEOUT", -1.0)
    publisher, _ = unconnected
    publisher._on_connect(cast(Any, None), None, None, SUCCESS, None)
    for number in (7, 8):
        publisher._in_flight[number] = MqttMessage(f"{PREFIX}/state", b"1", retain=True)
        publisher._publish_due()
        publisher._publish_due()
        publisher._on_publish(cast(Any, None), None, number)
        publisher._publish_due()
    assert sum("acknowledged no message" in warning for warning in publisher._warnings) == 2


def test_the_reason_of_a_refusal_is_the_one_reported(
    unconnected: tuple[MqttPublisher, list[tuple[str, int]]], change: Change
) -> None:
    publisher, _ = unconnected
    refused = ReasonCode(PacketTypes.CONNACK, "Not authorized")
    publisher._on_connect(cast(Any, None), None, None, refused, None)
    # The broker then closes the connection.
    publisher._on_disconnect(cast(Any, None), None, None, ReasonCode(PacketTypes.DISCONNECT, "Unspecified error"), None)
    publisher._closed = False
    publisher.write(change(0))
    with pytest.raises(SinkError, match="Not authorized; check EDGE_FMNIST_MQTT_USER"):
        publisher.close()
