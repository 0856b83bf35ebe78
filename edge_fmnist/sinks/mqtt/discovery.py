"""Home Assistant MQTT discovery.

Uses the single-component form, which older versions of Home Assistant support too:
https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery; the fields of a sensor are described at
https://www.home-assistant.io/integrations/sensor.mqtt/.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from edge_fmnist.data.labels import UNKNOWN
from edge_fmnist.pipeline.stats import NO_GARMENT
from edge_fmnist.sinks.formatting import printable
from edge_fmnist.sinks.mqtt.queue import MqttMessage

ONLINE, OFFLINE = "online", "offline"
# The default of Home Assistant.
DISCOVERY_PREFIX = "homeassistant"
MEASUREMENT = {"state_class": "measurement"}
DIAGNOSTIC = {"entity_category": "diagnostic"}


class Topics:
    """The topics below a prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.availability = f"{prefix}/availability"
        self.state = f"{prefix}/state"
        self.scores = f"{prefix}/scores"
        self.frame_rate = f"{prefix}/frame_rate"
        self.health = f"{prefix}/health"
        self.retained = (self.availability, self.state, self.health)


def discovery(topics: Topics, labels: tuple[str, ...]) -> Iterator[MqttMessage]:
    """Yield the retained messages that describe the sensors of this camera; its prefix identifies the device."""
    identifier = f"edge_fmnist_{_identifier(topics.prefix)}"
    software = version("edge-fmnist")
    device = {"identifiers": [identifier], "name": topics.prefix, "model": "edge-fmnist", "sw_version": software}
    common = {"device": device, "origin": {"name": "edge-fmnist", "sw_version": software}, "qos": 1}
    for name, settings in _sensors(topics, labels).items():
        unique = f"{identifier}_{name}"
        config = {"unique_id": unique, **settings, **common}
        yield MqttMessage(f"{DISCOVERY_PREFIX}/sensor/{unique}/config", json.dumps(config).encode(), retain=True)


def _identifier(prefix: str) -> str:
    """Return a name for a prefix, of the characters that are allowed, which no other prefix has."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", prefix.removeprefix("edge-fmnist/"))
    if re.fullmatch(r"edge-fmnist/[A-Za-z0-9]+(-[A-Za-z0-9]+)*", prefix):
        # The default, with a host name.
        return name
    return f"{name}_{hashlib.sha256(prefix.encode()).hexdigest()[:8]}"


def _sensors(topics: Topics, labels: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    connected = {"topic": topics.availability, "payload_available": ONLINE, "payload_not_available": OFFLINE}
    # A camera that delivers no frames is shown as unavailable instead of with its last label.
    running = {
        "topic": topics.health,
        "value_template": f"{{{{ '{ONLINE}' if value_json.state == 'running' else '{OFFLINE}' }}}}",
    }
    live = {"availability": [connected, running], "availability_mode": "all"}
    return {
        "garment": {
            "name": "Garment",
            "icon": "mdi:hanger",
            "state_topic": topics.state,
            "value_template": f"{{{{ value_json.label or '{NO_GARMENT}' }}}}",
            "device_class": "enum",
            "options": [*map(printable, labels), UNKNOWN, NO_GARMENT],
            **live,
        },
        "score": {
            "name": "Score",
            "icon": "mdi:percent",
            "state_topic": topics.scores,
            "value_template": "{{ (value_json.score * 100) | round(1) }}",
            "json_attributes_topic": topics.scores,
            "json_attributes_template": "{{ value_json.scores | tojson }}",
            "unit_of_measurement": "%",
            **MEASUREMENT,
            **live,
        },
        "frame_rate": {
            "name": "Frame rate",
            "icon": "mdi:speedometer",
            "state_topic": topics.frame_rate,
            "unit_of_measurement": "fps",
            **MEASUREMENT,
            **DIAGNOSTIC,
            **live,
        },
        "health": {
            "name": "Health",
            "icon": "mdi:heart-pulse",
            "state_topic": topics.health,
            "value_template": "{{ value_json.state }}",
            "device_class": "enum",
            "options": ["starting", "running", "stalled", "stopped"],
            "json_attributes_topic": topics.health,
            "availability": [connected],
            **DIAGNOSTIC,
        },
    }
