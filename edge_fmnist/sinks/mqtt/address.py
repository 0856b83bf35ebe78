"""Which broker, and how to speak with it: reading ``mqtt://HOST[:PORT][/PREFIX]``, user, password, TLS."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from edge_fmnist.errors import UsageError

# The scheme, and the port that belongs to it: 1883 and 8883 are registered with IANA for MQTT and MQTT over TLS.
PORTS = {"mqtt": 1883, "mqtts": 8883}
USER_VARIABLE = "EDGE_FMNIST_MQTT_USER"
PASSWORD_VARIABLE = "EDGE_FMNIST_MQTT_PASSWORD"  # noqa: S105 - the name of a variable, not a password
EXPECTED = "expected mqtt://HOST[:PORT][/PREFIX] or mqtts://…, such as mqtt://homeassistant.local/house/camera"
# Of the 65,535 bytes that a topic may have; what follows the prefix takes a few.
MAX_PREFIX_BYTES = 1024


@dataclass(frozen=True)
class Broker:
    """Where results are published.

    Attributes:
        host: a name or number, without brackets.
        port: TCP port.
        prefix: the first levels of every topic.
        tls: whether the connection is encrypted and the broker's certificate checked.
    """

    host: str
    port: int
    prefix: str
    tls: bool = False

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole address, as ``--mqtt`` takes it."""
        return f"mqtt{'s' if self.tls else ''}://{self.name}/{self.prefix}"


@dataclass(frozen=True)
class Credentials:
    """Who connects; the password is in no message, nor in the ``repr``."""

    user: str
    password: str | None = field(default=None, repr=False)


def parse_broker(text: str) -> Broker:
    """Read the argument of ``--mqtt``; without a prefix it is ``edge-fmnist/`` and the name of this machine.

    Raises:
        UsageError: it is not such a URL, or holds a user or password, which belong in the environment.
    """
    # A password must not show in an error, and so in a log, however odd the rest is.
    if "@" in text.partition("://")[2].partition("/")[0] or ("@" in text and "://" not in text):
        raise UsageError(
            f"--mqtt: a URL without user and password is expected; put them into the environment variables "
            f"{USER_VARIABLE} and {PASSWORD_VARIABLE}, where other users of this machine do not see them"
        )
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"--mqtt {text}: {EXPECTED} ({error})") from error
    host = parts.hostname or ""
    if parts.scheme not in PORTS or not _is_host(host) or re.search(r"[\s#?]", text):
        raise UsageError(f"--mqtt {text}: {EXPECTED}")
    if port == 0:
        raise UsageError(f"--mqtt {text}: expected a port from 1 to 65535, got 0")
    return Broker(host, port or PORTS[parts.scheme], _prefix(parts, text), parts.scheme == "mqtts")


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return re.fullmatch("[a-z0-9._-]+", text) is not None
    return True


def _prefix(parts: SplitResult, text: str) -> str:
    prefix = unquote(parts.path).strip("/")
    if not prefix:
        return f"edge-fmnist/{re.sub(r'[^A-Za-z0-9_-]+', '_', socket.gethostname()) or 'camera'}"
    if re.search(r"[+#\x00-\x1f\x7f]", prefix) or "//" in prefix or prefix.startswith("$") or "\ufffd" in prefix:
        raise UsageError(
            f"--mqtt {text}: expected a prefix of topic levels such as house/camera: without +, # and control "
            "characters, without an empty level, and not starting with $, which is the broker's own"
        )
    if len(prefix.encode(errors="replace")) > MAX_PREFIX_BYTES:
        raise UsageError(f"--mqtt: expected a prefix of at most {MAX_PREFIX_BYTES} bytes, got {len(prefix.encode())}")
    return prefix


def find_credentials(environment: Mapping[str, str] = os.environ) -> Credentials | None:
    """Return user and password from the environment; None where there are none.

    Raises:
        UsageError: a password without a user, which MQTT 3.1.1 does not allow.
    """
    user, password = environment.get(USER_VARIABLE), environment.get(PASSWORD_VARIABLE)
    if not user:
        if password:
            raise UsageError(f"{PASSWORD_VARIABLE} is set, but {USER_VARIABLE} is not; set both or none")
        return None
    return Credentials(user, password or None)


def tls_context(authority: str | Path | None = None) -> ssl.SSLContext:
    """Return what checks the broker's certificate and host name.

    Args:
        authority: PEM file of the certificate authority; None takes the system's authorities.

    Raises:
        UsageError: the file cannot be read, or holds no certificate.
    """
    try:
        return ssl.create_default_context(cafile=None if authority is None else str(authority))
    except ssl.SSLError as error:
        raise UsageError(f"--mqtt-ca {authority}: expected certificates in PEM format ({error})") from error
    except OSError as error:
        raise UsageError(f"--mqtt-ca {authority}: cannot be read ({error.strerror or error})") from error
