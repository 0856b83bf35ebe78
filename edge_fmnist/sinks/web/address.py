"""Address of the browser page: parsing HOST:PORT, opening the listening socket, and the URL to print."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
from typing import NamedTuple

from edge_fmnist.errors import SinkError, UsageError
from edge_fmnist.sinks.formatting import printable

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8000
EXPECTED = "expected HOST:PORT, HOST, :PORT or PORT, such as 127.0.0.1:8000, 0.0.0.0:8000 or [::1]:8000"
# Unread data of a slow viewer stays in this buffer; a larger one would only make its frames older.
SEND_BUFFER_BYTES = 128 << 10
# Close connections that accept no data for this long, such as a phone that has left the network.
UNREAD_MILLISECONDS = 10_000

_ADDRESS = re.compile(r"(?:\[(?P<six>[^\[\]\s]+)\]|(?P<host>[A-Za-z0-9._-]*))(?::(?P<port>[0-9]{1,5}))?")


class Address(NamedTuple):
    """A host name or IP address (without brackets) and a TCP port; port 0 selects any free port."""

    host: str
    port: int


def parse_address(text: str) -> Address:
    """Parse the argument of ``--serve``; the default is 127.0.0.1:8000, for each part.

    Raises:
        UsageError: it is not HOST:PORT, HOST, :PORT or PORT.
    """
    if re.fullmatch("[0-9]{1,5}", text):
        text = f":{text}"
    match = _ADDRESS.fullmatch(text)
    if match is None:
        hint = "; an IPv6 address needs brackets" if text.count(":") > 1 else ""
        raise UsageError(f"--serve {printable(text)}: {EXPECTED}{hint}")
    port = DEFAULT_PORT if match["port"] is None else int(match["port"])
    if port > 65535:
        raise UsageError(f"--serve {text}: expected a port from 0 to 65535, got {port}")
    if match["six"] and ip_of(match["six"]) is None:
        raise UsageError(f"--serve {text}: expected an IPv6 address in the brackets, got {match['six']!r}")
    return Address(match["six"] or match["host"] or DEFAULT_HOST, port)


def ip_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the IP address that ``host`` is; None if it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_local(host: str) -> bool:
    """Return whether ``host`` can be reached from this machine only."""
    address = ip_of(host)
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    return address.is_loopback if address else host.lower() == "localhost"


def listen(address: Address) -> socket.socket:
    """Return a listening socket.

    Raises:
        SinkError: the port is in use or not permitted, or the host is not an address of this machine.
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
        return f"port {port} is in use; stop the program that uses it, or choose another port: --serve {another}"
    if number == errno.EACCES:
        return f"port {port} requires root privileges; choose a port above 1023"
    if number == errno.EADDRNOTAVAIL or isinstance(error, (socket.gaierror, UnicodeError)):
        return f"{host} is not an address of this machine; use 127.0.0.1 (this machine only) or 0.0.0.0 (all networks)"
    return str(getattr(error, "strerror", None) or error)


def url_of(listener: socket.socket, host: str, scheme: str = "http") -> str:
    """Return the URL for a browser; for a socket on all networks, with this machine's address in its network."""
    address = ip_of(host)
    reachable = _own_address() if address is not None and address.is_unspecified else host
    return f"{scheme}://{_joined(reachable, listener.getsockname()[1])}/"


def _own_address() -> str:
    """Return this machine's IPv4 address in its network; its host name if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a UDP socket sends nothing; it only selects the route, and with it the address.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
