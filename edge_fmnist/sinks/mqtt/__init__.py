"""Results for the rest of the house: MQTT, with Home Assistant's discovery.

Importing this is quick and needs no extra; :class:`MqttPublisher` needs ``edge-fmnist[mqtt]``.
"""

from edge_fmnist.sinks.mqtt.address import Broker, find_credentials, parse_broker
from edge_fmnist.sinks.mqtt.publisher import MqttPublisher
from edge_fmnist.sinks.mqtt.traffic import Traffic

__all__ = ["Broker", "MqttPublisher", "Traffic", "find_credentials", "parse_broker"]
