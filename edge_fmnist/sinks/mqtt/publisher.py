"""MQTT sink: paho-mqtt connects and reconnects, a thread of our own publishes."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_fmnist.errors import SinkError
from edge_fmnist.extras import require
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.base import Sink
from edge_fmnist.sinks.mqtt.broker import Broker, make_client, rejection
from edge_fmnist.sinks.mqtt.messages import MessageFactory
from edge_fmnist.sinks.mqtt.queue import QUEUE_LIMIT, MessageQueue, MqttMessage
from edge_fmnist.sources.base import Warn, log_warning

if TYPE_CHECKING:
    from paho.mqtt.client import Client
    from paho.mqtt.reasoncodes import ReasonCode

# Seconds of silence after which each side checks the other. The broker publishes the last will after 1.5 times that.
KEEPALIVE = 20
# Seconds without an acknowledgement after which a warning is given.
ACKNOWLEDGE_TIMEOUT = 15.0
# Seconds between two attempts to connect: doubled after each, up to the second value.
RECONNECT_DELAYS = (1, 10)
# Messages in flight at a time; paho keeps each until the broker has acknowledged it.
MAX_IN_FLIGHT = 20
# Seconds between two checks while nothing happens.
TICK = 1.0
# Seconds to deliver queued messages at the end, then to announce the end, then to disconnect.
DRAIN_TIMEOUT = 3.0
OFFLINE_TIMEOUT = 0.4
DISCONNECT_TIMEOUT = 0.2


@dataclass(frozen=True, slots=True)
class Traffic:
    """Statistics of the connection to a broker.

    Attributes:
        connected: whether the broker has accepted the connection.
        reconnects: number of times the connection was restored after it was lost.
        delivered: queued messages that the broker has acknowledged.
        waiting: queued messages that the broker has not acknowledged yet.
        dropped: messages dropped because the queue was full.
    """

    connected: bool
    reconnects: int
    delivered: int
    waiting: int
    dropped: int


class MqttPublisher(Sink):
    """Publishes label changes, scores, frame rate and health, with Home Assistant discovery.

    Changes of the label and measurements are delivered in order, at least once each (QoS 1). While the broker is
    unavailable, a limited number is queued; the loop never waits. Topics and payloads are described in
    ``docs/mqtt.md``.

    Attributes:
        time_left: returns the seconds in which it has to be closed; infinite unless the run is stopping.
    """

    name = "MQTT"
    time_left: Callable[[], float] = staticmethod(lambda: math.inf)

    # Paho's callbacks only set flags, and one thread publishes: paho calls on_publish with a lock held that publish()
    # needs, so a lock of our own around publish() could deadlock.

    def __init__(
        self,
        broker: Broker,
        labels: tuple[str, ...],
        *,
        authority: str | Path | None = None,
        limit: int = QUEUE_LIMIT,
        warn: Warn = log_warning,
    ) -> None:
        """Start connecting in the background; an unavailable broker is not an error.

        User and password are read from the environment.

        Args:
            broker: the broker and the topic prefix.
            labels: class names, for Home Assistant.
            authority: PEM file of the authority that signed the broker's certificate; None for those of the system.
            limit: maximum number of queued messages.
            warn: called from :meth:`write` and :meth:`close` when the broker was lost or is back.

        Raises:
            MissingExtraError: the extra ``mqtt`` is not installed.
            UsageError: a password without a user, or an authority that cannot be read.
        """
        require("mqtt", "MQTT")
        self._broker = broker
        self._warn = warn
        self._queue = MessageQueue(limit)
        self._messages = MessageFactory(broker.prefix, labels)
        self._warnings: deque[str] = deque(maxlen=16)
        self._problem: str | None = None
        self._connected = self._was_connected = self._away = self._resending = self._closed = self._unacknowledged = (
            False
        )
        self._reconnects = self._delivered = self._dropped_before = 0
        self._lost_at = self._progress_at = 0.0
        self._failure: Exception | None = None
        self._in_flight: dict[int, MqttMessage] = {}
        self._acknowledged: deque[int] = deque()
        # The newest acknowledged retained message per topic: a broker that lost them in a restart gets them again.
        self._retained: dict[str, MqttMessage] = {}
        self._wake = threading.Event()
        self._deadline: float | None = None
        self._client = self._make_client(authority)
        self._client.loop_start()
        self._thread = threading.Thread(target=self._guarded(self._run), name="mqtt", daemon=True)
        self._thread.start()

    def _make_client(self, authority: str | Path | None) -> Client:
        client = make_client(self._broker, authority)
        client.reconnect_delay_set(*RECONNECT_DELAYS)
        last_will = self._messages.availability(False)
        client.will_set(last_will.topic, last_will.payload, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        # What paho's thread runs; an error there would end the thread without a word.
        client.loop_forever = self._guarded(client.loop_forever)  # type: ignore[method-assign]
        client.connect_async(self._broker.host, self._broker.port, KEEPALIVE)
        return client

    @property
    def traffic(self) -> Traffic:
        """Statistics of the connection; may be read from any thread."""
        waiting = len(self._queue) + len(self._in_flight)
        return Traffic(self._connected, self._reconnects, self._delivered, waiting, self._queue.dropped)

    def write(self, result: LiveResult) -> None:
        """Queue the messages for a result; never waits for the broker.

        Raises:
            SinkError: an error in this program has ended the connection.
        """
        if self._failure is not None:
            raise SinkError(f"MQTT has stopped: {type(self._failure).__name__}: {self._failure}") from self._failure
        for message in self._messages.for_result(result):
            self._queue.put(message)
            self._wake.set()
        self._pass_on_warnings()

    def close(self) -> None:
        """Deliver what is queued, publish ``offline`` and disconnect, all within a few seconds.

        Raises:
            SinkError: messages are left that the broker did not acknowledge.
        """
        if self._closed:
            return
        self._closed = True
        last = OFFLINE_TIMEOUT + DISCONNECT_TIMEOUT
        drain_timeout = min(DRAIN_TIMEOUT, max(0.0, self.time_left() - last))
        self._deadline = time.monotonic() + drain_timeout
        self._wake.set()
        # An unresponsive name server can block paho's thread for longer; both threads are daemons.
        self._thread.join(drain_timeout + last)
        self._pass_on_warnings()
        if self._failure is None and (left := self.traffic.waiting):
            raise SinkError(
                f"MQTT: {left} messages could not be delivered to the broker at {self._broker.name} "
                f"({self._problem or 'it is too slow'}); start the broker, or correct --mqtt"
            )

    def _pass_on_warnings(self) -> None:
        while self._warnings:
            self._warn(self._warnings.popleft())

    def _guarded(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """Return what a thread runs, so that an error in it is reported by the next :meth:`write`."""

        def guarded(*arguments: Any, **settings: Any) -> Any:
            try:
                return run(*arguments, **settings)
            except Exception as error:
                self._failure, self._connected = error, False
                self._wake.set()

        return guarded

    # In the publishing thread.

    def _run(self) -> None:
        while True:
            self._publish_due()
            remaining = TICK if self._deadline is None else self._deadline - time.monotonic()
            if self._deadline is not None and (remaining <= 0 or self._failure or not self.traffic.waiting):
                break
            self._wait(min(TICK, remaining))
        if self._connected:
            self._publish(self._messages.stopped(self._queue.dropped), qos=1)
            number = self._publish(self._messages.availability(False), qos=1)
            end = time.monotonic() + OFFLINE_TIMEOUT
            while number not in self._acknowledged and time.monotonic() < end:
                self._wait(TICK)
        self._client.on_connect = self._client.on_connect_fail = self._client.on_disconnect = None
        self._client.disconnect()
        self._connected = False
        self._client.loop_stop()

    def _wait(self, timeout: float) -> None:
        self._wake.wait(timeout)
        self._wake.clear()

    def _publish_due(self) -> None:
        while self._acknowledged:
            message = self._in_flight.pop(self._acknowledged.popleft(), None)
            if message is not None:
                self._delivered += 1
                self._progress_at = time.monotonic()
                self._unacknowledged = False
                if message.retain:
                    self._retained[message.topic] = message
        if self._resending and not self._in_flight:
            self._resending = False
        if not self._connected or self._resending:
            return
        self._warn_unacknowledged()
        if health := self._messages.health_if_due(self._queue.dropped):
            self._publish(health, qos=0)
        while self._connected and len(self._in_flight) < MAX_IN_FLIGHT:
            queued = self._queue.take()
            if queued is None:
                return
            if not self._in_flight:
                self._progress_at = time.monotonic()
            self._in_flight[self._publish(queued, qos=1)] = queued

    def _warn_unacknowledged(self) -> None:
        """Warn once of a broker that accepts messages, but acknowledges none."""
        waited = time.monotonic() - self._progress_at
        if self._in_flight and waited > ACKNOWLEDGE_TIMEOUT and not self._unacknowledged:
            self._unacknowledged = True
            self._warnings.append(
                f"the MQTT broker at {self._broker.name} has acknowledged no message for {waited:.0f} s; up to "
                f"{self._queue.limit} are queued"
            )

    def _publish(self, message: MqttMessage, qos: int) -> int:
        """Publish a message and return its ID; paho repeats QoS 1 after a reconnection until it is acknowledged."""
        return self._client.publish(message.topic, message.payload, qos=qos, retain=message.retain).mid

    # In paho's thread.

    def _on_connect(self, _client: Client, _data: object, _flags: object, reason: ReasonCode, _more: object) -> None:
        if reason.is_failure:
            self._lost(rejection(reason))
            return
        self._reconnects += self._was_connected
        if self._away:
            away, dropped = time.monotonic() - self._lost_at, self._queue.dropped - self._dropped_before
            self._warnings.append(
                f"reconnected to the MQTT broker at {self._broker.name} after {away:.1f} s; "
                f"{self.traffic.waiting} messages queued, {dropped} dropped"
            )
        repeated = {message.topic for message in tuple(self._in_flight.values())}
        retained = [message for message in tuple(self._retained.values()) if message.topic not in repeated]
        for message in (*self._messages.greeting(self._queue.dropped), *retained):
            self._publish(message, qos=0)
        # Paho now repeats what was in flight; new messages wait for that, so that the order is kept.
        self._resending = bool(repeated)
        self._progress_at = time.monotonic()
        self._away, self._connected, self._was_connected = False, True, True
        self._wake.set()

    def _on_connect_fail(self, *_: object) -> None:
        # Paho calls this while it handles the exception, but does not pass it on.
        error = sys.exc_info()[1]
        self._lost(str(getattr(error, "strerror", None) or error))

    def _on_disconnect(self, _client: Client, _data: object, _flags: object, reason: ReasonCode, _more: object) -> None:
        # After a refusal, the reason given with it says more than that the connection was closed.
        if self._connected or not self._away:
            self._lost(f"connection lost: {reason}")

    def _on_publish(self, _client: Client, _data: object, number: int, *_: object) -> None:
        self._acknowledged.append(number)
        self._wake.set()

    def _lost(self, problem: str) -> None:
        """Warn once when the broker becomes unavailable."""
        self._connected = False
        self._problem = problem
        if not self._away:
            self._away, self._lost_at, self._dropped_before = True, time.monotonic(), self._queue.dropped
            self._warnings.append(
                f"no connection to the MQTT broker at {self._broker.name} ({problem}); reconnecting, up to "
                f"{self._queue.limit} messages are queued"
            )
