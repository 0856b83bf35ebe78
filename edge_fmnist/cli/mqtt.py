"""``edge-fmnist mqtt``: what a broker keeps of a camera."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_fmnist.cli import console
from edge_fmnist.cli.options import Json
from edge_fmnist.errors import UsageError

mqtt = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@mqtt.callback()
def group() -> None:
    """Manage the retained messages of a camera on an MQTT broker."""


@mqtt.command()
def clear(
    url: Annotated[str, typer.Argument(metavar="URL", help="Broker and prefix of the camera, as for live --mqtt.")],
    mqtt_ca: Annotated[
        Path | None,
        typer.Option(
            help="PEM file of the authority that signed the broker's certificate. Default: the system's.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Remove a camera that is no longer used from Home Assistant, and the last messages that the broker keeps of it.

    User and password come from $EDGE_FMNIST_MQTT_USER and $EDGE_FMNIST_MQTT_PASSWORD.
    """
    from edge_fmnist.sinks.mqtt import parse_broker
    from edge_fmnist.sinks.mqtt.clear import clear as clear_broker

    broker = parse_broker(url)
    if mqtt_ca is not None and not broker.tls:
        raise UsageError(f"--mqtt-ca {mqtt_ca}: expected an encrypted connection, mqtts://, got mqtt://")
    topics = clear_broker(broker, mqtt_ca)
    if json:
        console.emit_json({"broker": broker.url, "topics": topics})
    else:
        print(f"cleared {len(topics)} retained topics of {broker.prefix} at {broker.name}")
