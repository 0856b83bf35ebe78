"""Where the browser page is served."""

from __future__ import annotations

import socket

import pytest

from edge_fmnist.errors import SinkError, UsageError
from edge_fmnist.sinks.web import Address, is_local, parse_address
from edge_fmnist.sinks.web.address import listen, url_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8000", ("127.0.0.1", 8000)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        (":8080", ("127.0.0.1", 8080)),
        ("8080", ("127.0.0.1", 8080)),
        ("", ("127.0.0.1", 8000)),
        ("0", ("127.0.0.1", 0)),
        ("192.168.1.5", ("192.168.1.5", 8000)),
        ("raspberrypi.local", ("raspberrypi.local", 8000)),
        ("[::1]:8000", ("::1", 8000)),
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
        ("localhost:http", "expected HOST:PORT"),
        (":", "expected HOST:PORT"),
        ("two words:80", "expected HOST:PORT"),
        ("localhost:٨٠", "expected HOST:PORT"),
        ("::1", "an IPv6 address needs brackets"),
        ("::1:8000", "an IPv6 address needs brackets"),
        ("[]:80", "expected HOST:PORT"),
        ("[nonsense]:80", "expected an IPv6 address in the brackets, got 'nonsense'"),
        (":65536", "expected a port from 0 to 65535, got 65536"),
        ("99999", "expected a port from 0 to 65535, got 99999"),
        (":-1", "expected HOST:PORT"),
    ],
)
def test_bad_addresses(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_address(text)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.0.0.2", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("raspberrypi.local", False),
    ],
)
def test_local_hosts(host: str, local: bool) -> None:
    assert is_local(host) is local


def test_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        another = port + 1 if port < 65535 else port - 1
        with pytest.raises(SinkError, match=rf"port {port} is in use; .* --serve 127\.0\.0\.1:{another}"):
            listen(Address("127.0.0.1", port))


@pytest.mark.parametrize("host", ["192.0.2.1", "a" * 70])
def test_host_of_another_machine(host: str) -> None:
    with pytest.raises(SinkError, match=f"cannot serve the page at {host}:0: {host} is no address of this machine"):
        listen(Address(host, 0))


def test_host_that_no_name_server_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(SinkError, match=r"no-such-host is no address of this machine; 127\.0\.0\.1 serves"):
        listen(Address("no-such-host", 0))


def test_port_without_the_right_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> socket.socket:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(SinkError, match="port 80 needs the rights of an administrator; choose one above 1023"):
        listen(Address("127.0.0.1", 80))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_url_names_the_port_that_was_free(host: str) -> None:
    with listen(Address(host, 0)) as listener:
        assert url_of(listener, host) == f"http://{host}:{listener.getsockname()[1]}/"


def test_url_for_every_network_can_be_opened_elsewhere() -> None:
    with listen(Address("0.0.0.0", 0)) as listener:
        url = url_of(listener, "0.0.0.0")
        assert url.endswith(f":{listener.getsockname()[1]}/")
        assert "//0.0.0.0" not in url


def test_url_brackets_ipv6() -> None:
    with listen(Address("127.0.0.1", 0)) as listener:
        assert url_of(listener, "::1") == f"http://[::1]:{listener.getsockname()[1]}/"
