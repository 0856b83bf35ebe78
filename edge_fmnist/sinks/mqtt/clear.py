"""Removal of what a broker keeps of a camera that is no longer used."""

from __future__ import annotations

import queue
from pathlib import Path
from typing import Any

from edge_fmnist.errors import SinkError
from edge_fmnist.extras import require
from edge_fmnist.sinks.mqtt.broker import Broker, make_client, rejection
from edge_fmnist.sinks.mqtt.discovery import Topics, discovery

# Seconds to connect and for all messages to be acknowledged.
TIMEOUT = 10.0


def clear(broker: Broker, authority: str | Path | None = None) -> list[str]:
    """Remove the retained messages of a camera: its sensors in Home Assistant, its last label, health and availability.

    Returns their topics.

    Args:
        broker: the broker and the topic prefix of the camera.
        authority: PEM file of the authority that signed the broker's certificate; None for those of the system.

    Raises:
        MissingExtraError: the extra ``mqtt`` is not installed.
        UsageError: a password without a user, or an authority that cannot be read.
        SinkError: the broker cannot be reached, refuses the connection or acknowledges nothing.
    """
    require("mqtt", "MQTT")
    topics = Topics(broker.prefix)
    removed = [message.topic for message in discovery(topics, ())] + list(topics.retained)
    client = make_client(broker, authority)
    connected: queue.SimpleQueue[str] = queue.SimpleQueue()

    def on_connect(_client: Any, _data: Any, _flags: Any, reason: Any, _more: Any) -> None:
        connected.put(rejection(reason) if reason.is_failure else "")

    client.on_connect = on_connect
    try:
        client.connect(broker.host, broker.port)
        client.loop_start()
        if problem := connected.get(timeout=TIMEOUT):
            raise SinkError(f"MQTT: no connection to the broker at {broker.name}: {problem}")
        # An empty retained message is how MQTT deletes one.
        for sent in [client.publish(topic, b"", qos=1, retain=True) for topic in removed]:
            sent.wait_for_publish(TIMEOUT)
            if not sent.is_published():
                raise SinkError(f"MQTT: the broker at {broker.name} has acknowledged nothing for {TIMEOUT:.0f} s")
    except queue.Empty as error:
        raise SinkError(f"MQTT: the broker at {broker.name} does not answer") from error
    except OSError as error:
        raise SinkError(f"MQTT: no connection to the broker at {broker.name}: {error.strerror or error}") from error
    except RuntimeError as error:
        # Raised by wait_for_publish.
        raise SinkError(f"MQTT: the broker at {broker.name} has closed the connection") from error
    finally:
        client.disconnect()
        client.loop_stop()
    return removed
