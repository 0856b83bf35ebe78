"""What makes the camera appear in Home Assistant by itself.

The single-component form of MQTT discovery is used, which old versions of
Home Assistant know too: https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery
and, for the fields of a sensor, https://www.home-assistant.io/integrations/sensor.mqtt/.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from edge_fmnist.data.labels import UNKNOWN
from edge_fmnist.pipeline.stats import NO_GARMENT
from edge_fmnist.sinks.mqtt.buffer import Message
from edge_fmnist.sinks.mqtt.messages import OFFLINE, ONLINE, Topics

# Home Assistant's own default.
DISCOVERY_PREFIX = "homeassistant"
MEASUREMENT = {"state_class": "measurement"}
DIAGNOSTIC = {"entity_category": "diagnostic"}


def discovery(prefix: str, labels: tuple[str, ...]) -> Iterator[Message]:
    """Yield the messages that describe the camera's sensors, to be retained by the broker.

    Args:
        prefix: of the topics, which also tells this camera from others.
        labels: the names of the classes.
    """
    # Identifiers may hold these characters only.
    identifier = f"edge_fmnist_{re.sub(r'[^A-Za-z0-9]+', '_', prefix.removeprefix('edge-fmnist/'))}"
    common = {
        "device": {"identifiers": [identifier], "name": prefix, "model": "edge-fmnist", "sw_version": _version()},
        "origin": {"name": "edge-fmnist", "sw_version": _version()},
        "qos": 1,
    }
    for name, settings in _sensors(Topics(prefix), labels).items():
        unique = f"{identifier}_{name}"
        config = {"unique_id": unique, **settings, **common}
        yield Message(f"{DISCOVERY_PREFIX}/sensor/{unique}/config", json.dumps(config).encode(), retain=True)


def _sensors(topics: Topics, labels: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    connected = {"topic": topics.availability, "payload_available": ONLINE, "payload_not_available": OFFLINE}
    # A camera that delivers nothing is told of as unavailable, rather than with the label it last had.
    running = {
        "topic": topics.health,
        "value_template": f"{{{{ '{ONLINE}' if value_json.state == 'running' else '{OFFLINE}' }}}}",
    }
    fresh = {"availability": [connected, running], "availability_mode": "all"}
    return {
        "garment": {
            "name": "Garment",
            "icon": "mdi:hanger",
            "state_topic": topics.state,
            "value_template": f"{{{{ value_json.label or '{NO_GARMENT}' }}}}",
            "device_class": "enum",
            "options": [*labels, UNKNOWN, NO_GARMENT],
            **fresh,
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
            **fresh,
        },
        "frame_rate": {
            "name": "Frame rate",
            "icon": "mdi:speedometer",
            "state_topic": topics.frame_rate,
            "unit_of_measurement": "fps",
            **MEASUREMENT,
            **DIAGNOSTIC,
            **fresh,
        },
        "health": {
            "name": "Health",
            "icon": "mdi:heart-pulse",
            "state_topic": topics.health,
            "value_template": "{{ value_json.state }}",
            "device_class": "enum",
            "options": ["starting", "running", "stalled"],
            "json_attributes_topic": topics.health,
            "availability": [connected],
            **DIAGNOSTIC,
        },
    }


def _version() -> str:
    return version("edge-fmnist")
