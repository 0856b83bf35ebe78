"""Connections of the browser page: silent, slow and many ones, TLS, and a proxy before it."""

from __future__ import annotations

import http.client
import os
import re
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from edge_fmnist.errors import UsageError
from edge_fmnist.sinks.web import Access, WebPage, connections, streams

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
BODY = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000\r\n\r\n"


def connect(page: Any, source: str = "127.0.0.1") -> socket.socket:
    """Return a connection from an address of this machine; all of 127.0.0.0/8 are."""
    port = urlsplit(page.url).port or 0
    return socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0))


def seconds_for_health(page: Any) -> float:
    started = time.perf_counter()
    with urllib.request.urlopen(f"{page.url}healthz", timeout=10) as answer:
        assert answer.status == 200
    return time.perf_counter() - started


def is_dropped(connection: socket.socket) -> bool:
    """Return whether the other side has closed a connection that it sent nothing on; waits for it."""
    with suppress(ConnectionResetError):
        return connection.recv(1) == b""
    return True


def test_silent_connections_lock_nobody_out(page: Any) -> None:
    with ExitStack() as stack:
        silent = [stack.enter_context(connect(page)) for _ in range(200)]
        assert seconds_for_health(page) < 1
        assert is_dropped(silent[0])
        # The newest ones are left.
        silent[-1].sendall(REQUEST + b"\r\n")
        assert silent[-1].recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\n", REQUEST + b"\r\n", BODY])
def test_an_incomplete_request_is_dropped(page: Any, start: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEADERS_SECONDS", 0.3)
    with connect(page) as connection:
        connection.sendall(start)
        if start.startswith(REQUEST):
            # A second request in the same connection.
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            connection.sendall(REQUEST)
        ended = threading.Event()

        def drip() -> None:
            with suppress(OSError):
                while not ended.wait(0.05):
                    connection.sendall(b"a")

        dripping = threading.Thread(target=drip)
        dripping.start()
        started = time.monotonic()
        with suppress(ConnectionResetError):
            while connection.recv(65536):
                pass
        ended.set()
        dripping.join()
        assert time.monotonic() - started < 3


def test_a_request_in_progress_is_not_dropped(page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEADERS_SECONDS", 0.2)
    monkeypatch.setattr(streams, "HEARTBEAT", 0.1)
    with connect(page) as connection:
        connection.sendall(REQUEST.replace(b"healthz", b"events") + b"\r\n")
        received = b""
        while received.count(b"heartbeat") < 4:
            chunk = connection.recv(65536)
            assert chunk
            received += chunk


def test_an_address_has_eight_connections(page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Addresses of this machine have no limit of their own: a proxy connects from there for all its clients.
    monkeypatch.setattr(connections, "is_local", lambda address: address == "127.0.0.1")
    with ExitStack() as stack:
        watching = [stack.enter_context(connect(page, "127.0.0.9")) for _ in range(connections.MAX_PER_ADDRESS)]
        for connection in watching[1:]:
            connection.sendall(REQUEST.replace(b"healthz", b"frame.jpg?after=0") + b"\r\n")
        silent = watching[0]
        replacing = stack.enter_context(connect(page, "127.0.0.9"))
        assert is_dropped(silent)
        replacing.sendall(REQUEST.replace(b"healthz", b"frame.jpg?after=0") + b"\r\n")
        # Let the server read it.
        assert seconds_for_health(page) < 1
        refused = stack.enter_context(connect(page, "127.0.0.9"))
        assert refused.recv(65536).startswith(b"HTTP/1.1 503")
        another = stack.enter_context(connect(page, "127.0.0.10"))
        another.sendall(REQUEST + b"\r\n")
        assert another.recv(12) == b"HTTP/1.1 200"


def test_https(certificate: Path) -> None:
    context = ssl.create_default_context(cafile=str(certificate))
    with closing(WebPage("localhost", 0, certificate=certificate)) as page:
        assert page.url.startswith("https://localhost:")
        with urllib.request.urlopen(f"{page.url}healthz", timeout=10, context=context) as answer:
            assert answer.status == 200
        with connect(page) as plain:
            plain.sendall(REQUEST + b"\r\n")
            assert not plain.recv(65536).startswith(b"HTTP")


def test_a_handshake_that_is_not_made_is_dropped(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEADERS_SECONDS", 0.2)
    with closing(WebPage("localhost", 0, certificate=certificate)) as page, connect(page) as silent:
        assert is_dropped(silent)


def test_certificates_that_cannot_be_used(certificate: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.pem: cannot be read \(No such file"):
        WebPage(port=0, certificate=tmp_path / "absent.pem")
    (tmp_path / "text.pem").write_text("text")
    with pytest.raises(UsageError, match=r"text\.pem: expected a certificate and its private key in PEM format"):
        WebPage(port=0, certificate=tmp_path / "text.pem")
    alone = tmp_path / "alone.pem"
    alone.write_text("-----BEGIN CERT" + certificate.read_text().partition("-----BEGIN CERT")[2])
    with pytest.raises(UsageError, match=r"alone\.pem: expected a certificate and its private key"):
        WebPage(port=0, certificate=alone)


LIVE_PAGE = Path(__file__).parents[2] / "docs" / "live.md"
Connect = Callable[[], http.client.HTTPConnection]


def documented(pattern: str, port: int) -> str:
    """Return a proxy's configuration from the documentation, for another port of the page."""
    found = re.search(pattern, LIVE_PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found[1].replace("127.0.0.1:8000", f"127.0.0.1:{port}")


def nginx(port: int, own_port: int, certificate: Path, folder: Path) -> list[str]:
    """Write the configuration of an nginx reverse proxy with TLS for a port; return the command."""
    location = documented(r"# nginx\n(location /camera/ .*?\n})\n", port)
    server = f"listen 127.0.0.1:{own_port} ssl; ssl_certificate {certificate}; ssl_certificate_key {certificate};"
    folders = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"daemon off; master_process off; pid {folder}/pid; events {{}}\n"
        f"http {{ access_log off; {folders}\nserver {{ {server}\n{location}\n}} }}\n"
    )
    return ["nginx", "-c", str(configuration), "-e", str(folder / "error.log")]


def caddy(port: int, own_port: int, certificate: Path, folder: Path) -> list[str]:
    """Return the command that starts Caddy as an HTTPS proxy for a port, with certificates from its own CA."""
    site = documented(r"# Caddyfile\n(camera\.example\.org {.*?\n})\n", port)
    options = f"admin off\nlocal_certs\nskip_install_trust\nauto_https disable_redirects\nhttps_port {own_port}"
    configuration = folder / "Caddyfile"
    configuration.write_text(f"{{\n{options}\n}}\n{site}\n")
    return ["caddy", "run", "--config", str(configuration), "--adapter", "caddyfile"]


@contextmanager
def proxy(name: str, port: int, certificate: Path, folder: Path) -> Iterator[Connect]:
    """Run nginx or Caddy with TLS and the configuration of the documentation in front of a port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        own_port = probe.getsockname()[1]
    command = {"nginx": nginx, "caddy": caddy}[name](port, own_port, certificate, folder)
    places = {"PATH": f"{os.environ['PATH']}:/usr/sbin", "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    log = folder / "output"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env={**os.environ, **places}, stdout=output, stderr=output)
    context = ssl._create_unverified_context()

    def connected() -> http.client.HTTPConnection:
        client = http.client.HTTPConnection("camera.example.org")
        plain = socket.create_connection(("127.0.0.1", own_port), timeout=10)
        client.sock = context.wrap_socket(plain, server_hostname="camera.example.org")
        return client

    try:
        end = time.monotonic() + 30
        # Caddy listens before it has made its certificate.
        while process.poll() is None and time.monotonic() < end:
            with suppress(OSError), closing(connected()):
                break
            time.sleep(0.02)
        assert process.poll() is None, log.read_text()
        yield connected
    finally:
        process.terminate()
        process.wait(30)


# A foreign Host: nginx passes it on, and the page refuses it; Caddy has no such site.
@pytest.mark.parametrize(
    ("name", "path", "foreign"), [("nginx", "/camera", (400, b"This page do")), ("caddy", "", (200, b""))]
)
def test_behind_a_proxy(
    need: Callable[..., str], name: str, path: str, foreign: Any, certificate: Path, tmp_path: Path
) -> None:
    need(name, name)
    with ExitStack() as stack:
        page = stack.enter_context(closing(WebPage(port=0, access=Access.of("127.0.0.1", "camera.example.org"))))
        connect_to_proxy = stack.enter_context(proxy(name, urlsplit(page.url).port or 0, certificate, tmp_path))

        @contextmanager
        def ask(page_path: str, **headers: str) -> Iterator[http.client.HTTPResponse]:
            with closing(connect_to_proxy()) as client:
                client.request("GET", path + page_path, headers={"Host": "camera.example.org", **headers})
                with client.getresponse() as response:
                    yield response

        with ask("/result.json") as refused:
            assert refused.status == 401
        with ask("/healthz", Host="other.example.org") as other:
            assert (other.status, other.read(12)) == foreign
        with ask(f"/?token={page.access.token}") as login:
            assert (login.status, login.headers["Location"]) == (303, "./")
            cookie, *attributes = login.headers["Set-Cookie"].split("; ")
            assert "Secure" in attributes
        with ask("/events", Cookie=cookie) as events:
            assert events.readline() == b"event: heartbeat\n"


def test_a_proxy_on_this_machine_has_more_than_eight_connections(page: Any) -> None:
    with ExitStack() as stack:
        watching = [stack.enter_context(connect(page)) for _ in range(connections.MAX_PER_ADDRESS + 2)]
        for connection in watching:
            connection.sendall(REQUEST.replace(b"healthz", b"frame.jpg?after=0") + b"\r\n")
        # Let the server read them.
        assert seconds_for_health(page) < 1
        for connection in watching:
            connection.settimeout(0.01)
            # Neither dropped nor refused.
            with pytest.raises(TimeoutError):
                connection.recv(1)
