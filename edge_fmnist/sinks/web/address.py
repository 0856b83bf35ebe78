"""Where the browser page is served: reading HOST:PORT, listening there, and the URL that leads there."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
from typing import NamedTuple

from edge_fmnist.errors import SinkError, UsageError

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8000
EXPECTED = "expected HOST:PORT, HOST, :PORT or PORT, such as 127.0.0.1:8000, 0.0.0.0:8000 or [::1]:8000"
# What a viewer has not read stays in this buffer, so a larger one would only show a slow viewer older frames.
SEND_BUFFER_BYTES = 128 << 10
# A viewer that has taken nothing for so long is gone: a phone that left the network says no goodbye.
UNREAD_MILLISECONDS = 10_000

_ADDRESS = re.compile(r"(?:\[(?P<six>[^\[\]\s]+)\]|(?P<host>[A-Za-z0-9._-]*))(?::(?P<port>[0-9]{1,5}))?")


class Address(NamedTuple):
    """A host, by name or number without brackets, and a TCP port; port 0 means any free one."""

    host: str
    port: int


def parse_address(text: str) -> Address:
    """Read the argument of ``--serve``; the parts left out are those of 127.0.0.1:8000.

    Raises:
        UsageError: it is not HOST:PORT, HOST, :PORT or PORT.
    """
    if re.fullmatch("[0-9]{1,5}", text):
        text = f":{text}"
    match = _ADDRESS.fullmatch(text)
    if match is None:
        hint = "; an IPv6 address needs brackets" if text.count(":") > 1 else ""
        raise UsageError(f"--serve {text}: {EXPECTED}{hint}")
    port = DEFAULT_PORT if match["port"] is None else int(match["port"])
    if port > 65535:
        raise UsageError(f"--serve {text}: expected a port from 0 to 65535, got {port}")
    if match["six"] and _ip(match["six"]) is None:
        raise UsageError(f"--serve {text}: expected an IPv6 address in the brackets, got {match['six']!r}")
    return Address(match["six"] or match["host"] or DEFAULT_HOST, port)


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_local(host: str) -> bool:
    """Return whether only this machine can reach what is served at ``host``."""
    address = _ip(host)
    return address.is_loopback if address else host.lower() == "localhost"


def listen(address: Address) -> socket.socket:
    """Return a socket that listens at the address.

    Raises:
        SinkError: the port is in use or not allowed, or the host is not this machine's; says what to do.
    """
    host, port = address
    try:
        family, _, _, _, resolved = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        both = host == "::" and socket.has_dualstack_ipv6()
        listener = socket.create_server(resolved, family=family, backlog=64, dualstack_ipv6=both)
    except (OSError, UnicodeError) as error:
        raise SinkError(f"cannot serve the page at {_joined(host, port)}: {_advice(error, address)}") from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MILLISECONDS)
    return listener


def _advice(error: OSError | UnicodeError, address: Address) -> str:
    number = getattr(error, "errno", None)
    host, port = address
    if number == errno.EADDRINUSE:
        another = _joined(host, port + 1 if port < 65535 else port - 1)
        return f"port {port} is in use; stop what uses it, or choose another port: --serve {another}"
    if number == errno.EACCES:
        return f"port {port} needs the rights of an administrator; choose one above 1023"
    if number == errno.EADDRNOTAVAIL or isinstance(error, (socket.gaierror, UnicodeError)):
        return f"{host} is no address of this machine; 127.0.0.1 serves this machine alone, 0.0.0.0 every network"
    return str(getattr(error, "strerror", None) or error)


def url_of(listener: socket.socket, host: str) -> str:
    """Return the URL at which a browser finds what listens; for all networks, this machine's address in its own."""
    address = _ip(host)
    reachable = _own_address() if address is not None and address.is_unspecified else host
    return f"http://{_joined(reachable, listener.getsockname()[1])}/"


def _own_address() -> str:
    """Return this machine's IPv4 address in its network, or its name where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket sends nothing; it only picks the route, and with it the address.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
