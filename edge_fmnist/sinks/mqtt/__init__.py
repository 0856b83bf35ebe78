"""Results over MQTT, with Home Assistant discovery.

Importing this is quick and needs no extra; :class:`MqttPublisher` needs ``edge-fmnist[mqtt]``.
"""

from edge_fmnist.sinks.mqtt.broker import Broker, find_credentials, parse_broker
from edge_fmnist.sinks.mqtt.publisher import MqttPublisher, Traffic

__all__ = ["Broker", "MqttPublisher", "Traffic", "find_credentials", "parse_broker"]
