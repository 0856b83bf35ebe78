"""Address of the browser page."""

from __future__ import annotations

import socket

import pytest

from edge_fmnist.errors import SinkError, UsageError
from edge_fmnist.sinks.web import Address, is_local, parse_address
from edge_fmnist.sinks.web.address import listen, url_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        (":8080", ("127.0.0.1", 8080)),
        ("0", ("127.0.0.1", 0)),
        ("", ("127.0.0.1", 8000)),
        ("raspberrypi.local", ("raspberrypi.local", 8000)),
        ("[::1]:9000", ("::1", 9000)),
        ("[::]", ("::", 8000)),
    ],
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http://localhost:8000", "expected HOST:PORT"),
        ("localhost:", "expected HOST:PORT"),
        ("two words:80", "expected HOST:PORT"),
        ("localhost:٨٠", "expected HOST:PORT"),
        ("::1:8000", "an IPv6 address needs brackets"),
        ("[nonsense]:80", "expected an IPv6 address in the brackets, got 'nonsense'"),
        ("99999", "expected a port from 0 to 65535, got 99999"),
        (":-1", "expected HOST:PORT"),
        ("host\x1b[31m", r"--serve host\\x1b\[31m: expected HOST:PORT"),
    ],
)
def test_bad_addresses(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_address(text)


def test_local_hosts() -> None:
    # The last of each is an address of IPv4 on a socket of both.
    assert all(map(is_local, ("127.0.0.1", "127.0.0.2", "LOCALHOST", "::1", "::ffff:127.0.0.1")))
    assert not any(map(is_local, ("0.0.0.0", "::", "192.168.1.5", "raspberrypi.local", "::ffff:192.168.1.5")))


def test_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        another = port + 1 if port < 65535 else port - 1
        with pytest.raises(SinkError, match=rf"port {port} is in use; .* --serve 127\.0\.0\.1:{another}"):
            listen(Address("127.0.0.1", port))


@pytest.mark.parametrize("host", ["192.0.2.1", "a" * 70])
def test_host_of_another_machine(host: str) -> None:
    with pytest.raises(SinkError, match=f"cannot serve the page at {host}:0: {host} is not an address of this machine"):
        listen(Address(host, 0))


def test_privileged_port(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> socket.socket:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(SinkError, match="port 80 requires root privileges; choose a port above 1023"):
        listen(Address("127.0.0.1", 80))


def test_url_has_the_port_that_was_free() -> None:
    with listen(Address("localhost", 0)) as listener:
        port = listener.getsockname()[1]
        assert url_of(listener, "localhost") == f"http://localhost:{port}/"
        assert url_of(listener, "::1") == f"http://[::1]:{port}/"


def test_url_for_all_networks_can_be_opened_elsewhere() -> None:
    with listen(Address("0.0.0.0", 0)) as listener:
        url = url_of(listener, "0.0.0.0")
        assert url.endswith(f":{listener.getsockname()[1]}/")
        assert "//0.0.0.0" not in url


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no sockets of both protocols")
def test_all_networks_of_both_protocols() -> None:
    with listen(Address("::", 0)) as listener:
        socket.create_connection(("127.0.0.1", listener.getsockname()[1]), timeout=10).close()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="an option of Linux")
def test_a_viewer_that_has_left_the_network_is_dropped_after_10_seconds() -> None:
    with (
        listen(Address("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
