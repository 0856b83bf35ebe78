"""Paho's client, made for one thread that drives it by hand."""

from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING

from edge_fmnist.sinks.mqtt.address import Broker, Credentials, tls_context
from edge_fmnist.sinks.mqtt.buffer import Message

if TYPE_CHECKING:
    import ssl

    from paho.mqtt.client import Client

# Seconds without a word after which each side asks whether the other is there. The broker
# publishes the last will after one and a half times as long.
KEEPALIVE = 20
# How many seconds a broker may take to accept a connection.
CONNECT_TIMEOUT = 5.0


def make_client(
    broker: Broker, will: Message, credentials: Credentials | None = None, context: ssl.SSLContext | None = None
) -> Client:
    """Return a client that has not connected yet; ``reconnect`` does so.

    Args:
        broker: where to connect to.
        will: what the broker publishes when the connection breaks.
        credentials: user and password, if the broker asks for them.
        context: checks the broker's certificate; None takes the system's authorities where ``broker.tls``.
    """
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    # Without an identifier the broker chooses one, so that two programs never push each other out.
    client = Client(CallbackAPIVersion.VERSION2, client_id="", clean_session=True)
    client.connect_timeout = CONNECT_TIMEOUT
    # None: who publishes limits it, and paho would hold messages back without being asked.
    client.max_inflight_messages = 0
    if credentials is not None:
        client.username_pw_set(credentials.user, credentials.password)
    if broker.tls:
        client.tls_set_context(context or tls_context())
    client.will_set(will.topic, will.payload, qos=1, retain=will.retain)
    client.connect_async(broker.host, broker.port, KEEPALIVE)
    return client


def turn(client: Client, woken: socket.socket, timeout: float) -> None:
    """Wait for the broker, for room to write or for ``woken``, and do what is to be done.

    Args:
        client: connected or connecting; its callbacks are called from here.
        woken: a non-blocking socket; what it has received is read and forgotten.
        timeout: seconds to wait at most.
    """
    connection = client.socket()
    if connection is None:
        return
    # Bytes that TLS has decrypted already are no news to select.
    pending = getattr(connection, "pending", int)()
    writing = [connection] if client.want_write() else []
    readable, writable, _ = select.select([connection, woken], writing, [], 0 if pending else timeout)
    if woken in readable:
        woken.recv(4096)
    if connection in readable or pending:
        client.loop_read()
    if connection in writable:
        client.loop_write()
    client.loop_misc()
