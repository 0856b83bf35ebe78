"""The connection to the broker, in a thread of its own."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from edge_fmnist.pipeline.reader_thread import Retry
from edge_fmnist.sinks.mqtt.address import PASSWORD_VARIABLE, USER_VARIABLE, Broker, Credentials
from edge_fmnist.sinks.mqtt.buffer import Buffer, Message
from edge_fmnist.sinks.mqtt.client import CONNECT_TIMEOUT, make_client, turn
from edge_fmnist.sinks.mqtt.traffic import Traffic

if TYPE_CHECKING:
    import ssl

    from paho.mqtt.client import Client
    from paho.mqtt.reasoncodes import ReasonCode

# Messages that are on their way at a time; each is kept until the broker has acknowledged it.
WINDOW = 20
# Seconds between two looks at the clock while nothing happens.
TICK = 1.0
# Seconds in which what still waits at the end is delivered, and then the farewell.
DRAIN_TIMEOUT = 3.0
FAREWELL_TIMEOUT = 1.0
# Why a broker refuses, in the numbers of MQTT 5, to which paho turns those of 3.1.1.
BAD_USER_OR_PASSWORD, NOT_AUTHORIZED = 0x86, 0x87
# Between two attempts at the end, when there is no time for longer pauses.
LAST_PAUSE = 0.2


class Occasions(Protocol):
    """What is published at certain moments, beside what is in the buffer; called in the connection's thread."""

    def greeting(self) -> Iterable[Message]:
        """Return what comes first in every connection."""

    def regular(self) -> Iterable[Message]:
        """Return what is due now; asked at least every :data:`TICK` seconds while connected."""

    def farewell(self) -> Message:
        """Return what comes last, and is the last will of a connection that breaks."""


class Connection:
    """Delivers the messages of a buffer, in their order and at least once each (MQTT's quality of service 1).

    A lost connection is opened again until the broker answers, after half a second at first, then
    ever later. What was not acknowledged is sent again.

    Paho's own threads are not used: only with one thread for everything is the order certain, the
    end bounded in time, and the queue one that lets go of its oldest.

    Attributes:
        error: what has ended the thread, if it was not foreseen.
        trouble: why the connection was lost, or not accepted, the last time.
        messages: for people, to be taken and shown in another thread.
    """

    def __init__(
        self,
        broker: Broker,
        buffer: Buffer,
        occasions: Occasions,
        *,
        credentials: Credentials | None = None,
        context: ssl.SSLContext | None = None,
        retry: Retry | None = None,
    ) -> None:
        """Start connecting; returns at once.

        Args:
            broker: where to connect to.
            buffer: what is to be delivered; call :meth:`wake` after filling it.
            occasions: what is published beside it.
            credentials: user and password, if the broker asks for them.
            context: checks the broker's certificate; None takes the system's authorities where ``broker.tls``.
            retry: the pauses between attempts.
        """
        self.error: Exception | None = None
        self.trouble: str | None = None
        self.messages: deque[str] = deque(maxlen=16)
        self._broker = broker
        self._buffer = buffer
        self._occasions = occasions
        self._retry = retry or Retry()
        self._client = make_client(broker, occasions.farewell(), credentials, context)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self._connected = self._was_connected = self._away = False
        self._reconnects = self._delivered = self._failures = 0
        self._lost_at = time.monotonic()
        self._dropped_before = 0
        self._unacknowledged: dict[int, Message] = {}
        # The newest retained message of each topic: a broker that forgot them when it was restarted gets them again.
        self._standing: dict[str, Message] = {}
        self._farewell: int | None = None
        self._ending = threading.Event()
        self._deadline = float("inf")
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._thread.start()

    @property
    def traffic(self) -> Traffic:
        """What was done so far; may be read from any thread."""
        waiting = len(self._buffer) + len(self._unacknowledged)
        return Traffic(self._connected, self._reconnects, self._delivered, waiting, self._buffer.dropped)

    def wake(self) -> None:
        """Let the thread look at the buffer; never waits."""
        # A full pipe means that it is awake already; a closed one, that it has ended.
        with contextlib.suppress(OSError):
            self._wake.send(b"\0")

    def close(self) -> None:
        """Deliver what waits, say farewell and end, all within a few seconds; harmless when called twice."""
        if not self._ending.is_set():
            self._deadline = time.monotonic() + DRAIN_TIMEOUT
            self._ending.set()
            self.wake()
        # A name server that does not answer can hold the thread longer; it is a daemon and ends with the program.
        self._thread.join(DRAIN_TIMEOUT + FAREWELL_TIMEOUT + 1.0)
        if not self._thread.is_alive():
            self._wake.close()
            self._woken.close()

    def _run(self) -> None:
        """Connect again and again; what is not foreseen is for the loop's thread to raise."""
        try:
            while not self._finished():
                self._converse()
                if not self._finished():
                    self._note_failure()
                    self._pause()
        except Exception as error:
            self.error = error

    def _finished(self) -> bool:
        """Return whether to end: nothing is left to deliver, or no time."""
        if not self._ending.is_set():
            return False
        return time.monotonic() >= self._deadline or not self.traffic.waiting

    def _converse(self) -> None:
        """Connect and deliver until the connection is lost or the end has come."""
        self.trouble = None
        try:
            self._client.reconnect()
            self._exchange(time.monotonic() + CONNECT_TIMEOUT)
            self.trouble = self.trouble or "the connection was closed"
        except (OSError, UnicodeError) as error:
            self.trouble = str(getattr(error, "strerror", None) or error)
        finally:
            self._connected = False
            self._client.disconnect()

    def _exchange(self, patience: float) -> None:
        """Deliver while the connection lasts; one that is not accepted until the time ``patience`` is given up."""
        while self._client.socket() is not None:
            if self._finished():
                if self._connected:
                    self._say_farewell()
                return
            if not self._connected and time.monotonic() > patience:
                self.trouble = f"no answer within {CONNECT_TIMEOUT:g} s"
                return
            self._publish()
            turn(self._client, self._woken, LAST_PAUSE if self._ending.is_set() else TICK)

    def _publish(self) -> None:
        """Hand over what is due and what waits, as far as the window is open."""
        if not self._connected:
            return
        self._tell(self._occasions.regular())
        while self._connected and len(self._unacknowledged) < WINDOW:
            message = self._buffer.take()
            if message is None:
                return
            self._send(message)

    def _send(self, message: Message) -> None:
        """Hand a message to paho, which sends it again in the next connection unless it is acknowledged."""
        number = self._client.publish(message.topic, message.payload, qos=1, retain=message.retain).mid
        self._unacknowledged[number] = message

    def _tell(self, messages: Iterable[Message]) -> None:
        """Send what the next connection brings anew, and which therefore needs no acknowledgement."""
        for message in messages:
            self._client.publish(message.topic, message.payload, qos=0, retain=message.retain)

    def _say_farewell(self) -> None:
        will = self._occasions.farewell()
        self._farewell = self._client.publish(will.topic, will.payload, qos=1, retain=will.retain).mid
        end = time.monotonic() + FAREWELL_TIMEOUT
        while self._farewell is not None and self._client.socket() is not None and time.monotonic() < end:
            turn(self._client, self._woken, LAST_PAUSE)

    def _pause(self) -> None:
        if self._ending.is_set():
            time.sleep(LAST_PAUSE)
        else:
            self._ending.wait(self._retry.delay(self._failures))

    def _note_failure(self) -> None:
        """Say once that the broker is away."""
        self._failures += 1
        if not self._away:
            self._away = True
            self._lost_at = time.monotonic()
            self._dropped_before = self._buffer.dropped
            self.messages.append(
                f"no connection to the MQTT broker at {self._broker.name} ({self.trouble}); up to "
                f"{self._buffer.limit} messages wait for it"
            )

    def _note_success(self) -> None:
        if self._was_connected:
            self._reconnects += 1
        self._was_connected = True
        if self._away:
            self._away = False
            away, traffic = time.monotonic() - self._lost_at, self.traffic
            self.messages.append(
                f"the MQTT broker at {self._broker.name} is back after {away:.1f} s; {traffic.waiting} messages "
                f"follow, {traffic.dropped - self._dropped_before} found no room"
            )

    def _on_connect(self, _client: Client, _data: object, _flags: object, reason: ReasonCode, _more: object) -> None:
        if reason.is_failure:
            unknown = reason.value in (BAD_USER_OR_PASSWORD, NOT_AUTHORIZED)
            hint = f"; are {USER_VARIABLE} and {PASSWORD_VARIABLE} right?" if unknown else ""
            self.trouble = f"{reason}{hint}"
            return
        self._connected = True
        self._note_success()
        self._tell((*self._occasions.greeting(), *self._standing.values()))

    def _on_disconnect(self, *_: object) -> None:
        self._connected = False

    def _on_publish(self, _client: Client, _data: object, number: int, *_: object) -> None:
        if number == self._farewell:
            self._farewell = None
        message = self._unacknowledged.pop(number, None)
        if message is None:
            return
        # A broker that takes messages is well; one that accepts connections only to close them is not.
        self._failures = 0
        self._delivered += 1
        if message.retain:
            self._standing[message.topic] = message
