"""``edge-fmnist live --mqtt URL``: the broker from the options, and the sink for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge_fmnist.cli import console
from edge_fmnist.cli.reports import Report
from edge_fmnist.errors import UsageError

if TYPE_CHECKING:
    from edge_fmnist.sinks.mqtt import Broker, MqttPublisher


def broker_of(url: str | None, authority: Path | None) -> Broker | None:
    """Return the broker that ``--mqtt`` names; None where it is not given.

    Raises:
        UsageError: not such a URL, or a certificate authority where nothing is encrypted.
        MissingExtraError: the extra ``mqtt`` is not installed.
    """
    if url is None:
        if authority is not None:
            raise UsageError(f"--mqtt-ca {authority}: expected a broker to check, --mqtt mqtts://…")
        return None
    from edge_fmnist.extras import require
    from edge_fmnist.sinks.mqtt import parse_broker

    require("mqtt", "--mqtt")
    broker = parse_broker(url)
    if authority is not None and not broker.tls:
        raise UsageError(f"--mqtt-ca {authority}: expected an encrypted connection to check, mqtts://, got mqtt://")
    return broker


def add_publisher(report: Report, broker: Broker, authority: Path | None, labels: tuple[str, ...]) -> MqttPublisher:
    """Publish results to the broker from now on.

    Raises:
        UsageError: a password without a user, or an authority that cannot be read.
    """
    from edge_fmnist.sinks.mqtt import MqttPublisher, find_credentials
    from edge_fmnist.sinks.web import is_local

    publisher = MqttPublisher(broker, labels, authority=authority, warn=report.warn)
    report.outputs.add(publisher)
    if not (report.quiet or report.has_events):
        console.say(f"Publishing to {broker.url}")
    if find_credentials() is not None and not (broker.tls or is_local(broker.host)):
        report.warn("user and password reach the broker unencrypted; mqtts:// encrypts them, if it can")
    return publisher
