"""MQTT as a sink."""

from __future__ import annotations

from pathlib import Path

from edge_fmnist.errors import SinkError
from edge_fmnist.extras import require
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.base import Sink
from edge_fmnist.sinks.mqtt.address import Broker, find_credentials, tls_context
from edge_fmnist.sinks.mqtt.buffer import LIMIT, Buffer
from edge_fmnist.sinks.mqtt.connection import Connection
from edge_fmnist.sinks.mqtt.reporter import INTERVAL, Reporter
from edge_fmnist.sinks.mqtt.traffic import Traffic
from edge_fmnist.sources.base import Warn, log_warning


class MqttPublisher(Sink):
    """Publishes changes of the label, scores, frame rate and health, and describes itself to Home Assistant.

    While the broker is away, results wait for it, a bounded number of them; the loop never waits.
    What is published where is in ``docs/mqtt.md``.
    """

    def __init__(
        self,
        broker: Broker,
        labels: tuple[str, ...],
        *,
        authority: str | Path | None = None,
        limit: int = LIMIT,
        interval: float = INTERVAL,
        warn: Warn = log_warning,
    ) -> None:
        """Start connecting; a broker that is not there is no error, and is waited for.

        User and password are taken from the environment.

        Args:
            broker: where to publish.
            labels: the names of the classes, for Home Assistant.
            authority: PEM file of the authority that signed the broker's certificate; None takes the system's.
            limit: messages that wait for the broker at most.
            interval: seconds between two measurements.
            warn: told, in the thread that writes, when the broker is away and when it is back.

        Raises:
            MissingExtraError: the extra ``mqtt`` is not installed.
            UsageError: a password without a user, or an authority that cannot be read.
        """
        require("mqtt", "MQTT")
        self._broker = broker
        self._warn = warn
        self._buffer = Buffer(limit)
        self._reporter = Reporter(broker.prefix, labels, self._buffer, interval)
        self._closed = False
        self._connection = Connection(
            broker,
            self._buffer,
            self._reporter,
            credentials=find_credentials(),
            context=tls_context(authority) if broker.tls else None,
        )

    @property
    def traffic(self) -> Traffic:
        """What the connection has done so far; may be read from any thread."""
        return self._connection.traffic

    def write(self, result: LiveResult) -> None:
        """Take a result; takes microseconds, whatever the broker does.

        Raises:
            SinkError: the connection's thread has ended, for a reason that was not foreseen.
        """
        if self._connection.error is not None:
            raise SinkError(f"MQTT has ended ({self._connection.error!r})") from self._connection.error
        if self._reporter.take(result):
            self._connection.wake()
        self._pass_on_messages()

    def close(self) -> None:
        """Deliver what waits, publish that this program is offline, and disconnect, all within a few seconds.

        Raises:
            SinkError: messages are left that the broker did not take.
        """
        if self._closed:
            return
        self._closed = True
        self._connection.close()
        self._pass_on_messages()
        if left := self.traffic.waiting:
            raise SinkError(
                f"MQTT: {left} messages could not be delivered to the broker at {self._broker.name} "
                f"({self._connection.trouble or 'it is too slow'}); start it, or correct --mqtt"
            )

    def _pass_on_messages(self) -> None:
        while self._connection.messages:
            self._warn(self._connection.messages.popleft())
