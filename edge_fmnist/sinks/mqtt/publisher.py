"""MQTT sink."""

from __future__ import annotations

from pathlib import Path

from edge_fmnist.errors import SinkError
from edge_fmnist.extras import require
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.base import Sink
from edge_fmnist.sinks.mqtt.broker import Broker, find_credentials, tls_context
from edge_fmnist.sinks.mqtt.connection import BrokerConnection, Traffic
from edge_fmnist.sinks.mqtt.messages import INTERVAL, MessageFactory
from edge_fmnist.sinks.mqtt.queue import QUEUE_LIMIT, MessageQueue
from edge_fmnist.sources.base import Warn, log_warning


class MqttPublisher(Sink):
    """Publishes label changes, scores, frame rate and health, with Home Assistant discovery.

    While the broker is unavailable, a limited number of messages is queued; the loop never waits. Topics and payloads
    are described in ``docs/mqtt.md``.
    """

    def __init__(
        self,
        broker: Broker,
        labels: tuple[str, ...],
        *,
        authority: str | Path | None = None,
        limit: int = QUEUE_LIMIT,
        interval: float = INTERVAL,
        warn: Warn = log_warning,
    ) -> None:
        """Start connecting in the background; an unavailable broker is not an error.

        User and password are read from the environment.

        Args:
            broker: the broker and the topic prefix.
            labels: class names, for Home Assistant.
            authority: PEM file of the authority that signed the broker's certificate; None for those of the system.
            limit: maximum number of queued messages.
            interval: seconds between two measurements.
            warn: called from :meth:`write` and :meth:`close` when the broker was lost or is back.

        Raises:
            MissingExtraError: the extra ``mqtt`` is not installed.
            UsageError: a password without a user, or an authority that cannot be read.
        """
        require("mqtt", "MQTT")
        self._broker = broker
        self._warn = warn
        self._queue = MessageQueue(limit)
        self._messages = MessageFactory(broker.prefix, labels, interval)
        self._closed = False
        context = tls_context(authority) if broker.tls else None
        self._connection = BrokerConnection(broker, self._queue, self._messages, find_credentials(), context)

    @property
    def traffic(self) -> Traffic:
        """Statistics of the connection; may be read from any thread."""
        return self._connection.traffic

    def write(self, result: LiveResult) -> None:
        """Queue the messages for a result; never waits for the broker."""
        for message in self._messages.for_result(result):
            self._queue.put(message)
            self._connection.wake()
        self._pass_on_warnings()

    def close(self) -> None:
        """Deliver what is queued, publish ``offline`` and disconnect, all within a few seconds.

        Raises:
            SinkError: messages are left that the broker did not acknowledge.
        """
        if self._closed:
            return
        self._closed = True
        self._connection.close()
        self._pass_on_warnings()
        if left := self.traffic.waiting:
            raise SinkError(
                f"MQTT: {left} messages could not be delivered to the broker at {self._broker.name} "
                f"({self._connection.problem or 'it is too slow'}); start the broker, or correct --mqtt"
            )

    def _pass_on_warnings(self) -> None:
        while self._connection.warnings:
            self._warn(self._connection.warnings.popleft())
