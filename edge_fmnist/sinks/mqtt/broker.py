"""The broker's address (``mqtt://HOST[:PORT][/PREFIX]``), credentials and TLS settings."""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from edge_fmnist.errors import UsageError
from edge_fmnist.sinks.formatting import printable
from edge_fmnist.sources.tls import client_context

if TYPE_CHECKING:
    from paho.mqtt.client import Client
    from paho.mqtt.reasoncodes import ReasonCode

# Ports registered with IANA for MQTT and for MQTT over TLS.
PORTS = {"mqtt": 1883, "mqtts": 8883}
USER_VARIABLE = "EDGE_FMNIST_MQTT_USER"
PASSWORD_VARIABLE = "EDGE_FMNIST_MQTT_PASSWORD"  # noqa: S105 - the name of a variable, not a password
EXPECTED = "expected mqtt://HOST[:PORT][/PREFIX] or mqtts://…, such as mqtt://homeassistant.local/house/camera"
# MQTT allows 65,535 bytes per topic, of which the levels after the prefix need a few.
MAX_PREFIX_BYTES = 1024
MAX_TEXT_BYTES = 65_535
CONNECT_TIMEOUT = 5.0
# Reason codes of MQTT 5, to which paho maps the codes of 3.1.1.
BAD_USER_OR_PASSWORD, NOT_AUTHORIZED = 0x86, 0x87


@dataclass(frozen=True)
class Broker:
    """An MQTT broker and where to publish on it.

    Attributes:
        host: name or IP address, without brackets.
        port: TCP port.
        prefix: the first levels of every topic.
        tls: whether the connection is encrypted and the broker's certificate verified.
    """

    host: str
    port: int
    prefix: str
    tls: bool = False

    @property
    def name(self) -> str:
        """Host and port, for messages."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL, as ``--mqtt`` accepts it."""
        return f"mqtt{'s' if self.tls else ''}://{self.name}/{quote(self.prefix)}"


def parse_broker(text: str) -> Broker:
    """Parse the argument of ``--mqtt``; the default prefix is ``edge-fmnist/`` and the host name of this machine.

    Raises:
        UsageError: not such a URL, or it contains a user or password, which belong in the environment.
    """
    # A password must not appear in an error message, and so in a log, whatever else is wrong with the URL.
    if "@" in text.partition("://")[2].partition("/")[0] or ("@" in text and "://" not in text):
        raise UsageError(
            f"--mqtt: expected a URL without user and password; set the environment variables {USER_VARIABLE} and "
            f"{PASSWORD_VARIABLE}, which other users of this machine cannot see"
        )
    shown = printable(text)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"--mqtt {shown}: {EXPECTED} ({error})") from error
    host = parts.hostname or ""
    if parts.scheme not in PORTS or not _is_host(host) or re.search(r"[\s#?]", text):
        raise UsageError(f"--mqtt {shown}: {EXPECTED}")
    if port == 0:
        raise UsageError(f"--mqtt {shown}: expected a port from 1 to 65535, got 0")
    machine = re.sub(r"[^A-Za-z0-9_-]+", "_", socket.gethostname()) or "camera"
    prefix = unquote(parts.path).strip("/") or f"edge-fmnist/{machine}"
    if re.search(r"[+#\ufffd]|//|^\$", prefix) or not prefix.isprintable():
        raise UsageError(
            f"--mqtt {shown}: expected a prefix of topic levels such as house/camera: without +, #, control characters "
            "and empty levels, and not starting with $, which is reserved for the broker"
        )
    if len(prefix.encode()) > MAX_PREFIX_BYTES:
        raise UsageError(f"--mqtt: expected a prefix of at most {MAX_PREFIX_BYTES} bytes, got {len(prefix.encode())}")
    return Broker(host, port or PORTS[parts.scheme], prefix, parts.scheme == "mqtts")


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return re.fullmatch(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?", text) is not None
    return True


def find_credentials(environment: Mapping[str, str] = os.environ) -> tuple[str, str | None] | None:
    """Return user and password from the environment; None if neither is set.

    Raises:
        UsageError: a password without a user, or a value that MQTT cannot carry.
    """
    user, password = environment.get(USER_VARIABLE), environment.get(PASSWORD_VARIABLE)
    if password and not user:
        raise UsageError(f"{PASSWORD_VARIABLE} is set, but {USER_VARIABLE} is not; set both or neither")
    for name, value in ((USER_VARIABLE, user), (PASSWORD_VARIABLE, password)):
        if value and not _is_mqtt_text(value):
            raise UsageError(f"{name}: expected UTF-8 text of at most {MAX_TEXT_BYTES} bytes without a null character")
    return (user, password or None) if user else None


def make_client(broker: Broker, authority: str | Path | None) -> Client:
    """Return a client that is not connected yet, with user and password from the environment.

    Raises:
        UsageError: a password without a user, or an authority that cannot be read.
    """
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    # Without a client ID, the broker assigns a new one to each connection. After a reconnect, it keeps the old session
    # until a timeout, and then publishes the last will of that session. The ID is random, so that two programs do not
    # disconnect each other.
    name = f"edge-fmnist-{secrets.token_hex(5)}"
    client = Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=True)
    client.connect_timeout = CONNECT_TIMEOUT
    if credentials := find_credentials():
        client.username_pw_set(*credentials)
    if broker.tls:
        client.tls_set_context(client_context(authority))
    return client


def rejection(reason: ReasonCode) -> str:
    """Return why a broker refused a connection, with what to do."""
    hint = f"; check {USER_VARIABLE} and {PASSWORD_VARIABLE}"
    return f"{reason}{hint if reason.value in (BAD_USER_OR_PASSWORD, NOT_AUTHORIZED) else ''}"


def _is_mqtt_text(text: str) -> bool:
    try:
        return "\0" not in text and len(text.encode()) <= MAX_TEXT_BYTES
    except UnicodeEncodeError:  # bytes of the environment that are not UTF-8
        return False
