"""The browser page as a sink."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edge_fmnist.errors import SinkError
from edge_fmnist.extras import require
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.base import Sink
from edge_fmnist.sinks.web.address import DEFAULT_HOST, DEFAULT_PORT, Address, is_local, listen, url_of

if TYPE_CHECKING:
    from edge_fmnist.pipeline.stats import LiveStats
    from edge_fmnist.sinks.mqtt import Traffic


class WebPage(Sink):
    """Serves the browser page until it is closed.

    Pictures are encoded in the server's threads, when a viewer asks and once for
    all viewers; a viewer that is slow misses frames and delays nobody.

    Attributes:
        url: where a browser finds the page.
    """

    def __init__(
        self,
        host: str = DEFAULT_HOST,
        port: int = DEFAULT_PORT,
        *,
        stats: Callable[[], LiveStats] | None = None,
        traffic: Callable[[], Traffic] | None = None,
    ) -> None:
        """Start serving.

        Args:
            host: the address or name to listen at: 127.0.0.1 for this machine
                alone, 0.0.0.0 for every network, where whoever reaches the
                port sees the picture.
            port: TCP port; 0 takes any free one.
            stats: what the loop has done, for ``/metrics``; asked in the server's thread.
            traffic: what the connection to an MQTT broker has done, likewise.

        Raises:
            MissingExtraError: the extra ``web`` is not installed.
            SinkError: the port is in use or not allowed, or the host is not this machine's.
        """
        require("web", "The browser page")
        from edge_fmnist.sinks.web.guard import LOCAL_HOSTS
        from edge_fmnist.sinks.web.server import Server

        listener = listen(Address(host, port))
        self.url = url_of(listener, host)
        self._closed = False
        self._server = Server(listener, LOCAL_HOSTS | {host.lower()} if is_local(host) else None, stats, traffic)

    def write(self, result: LiveResult) -> None:
        """Show a result; takes microseconds.

        Raises:
            SinkError: the server has ended.
        """
        try:
            self._server.put(result)
        except RuntimeError as error:
            raise SinkError(f"the browser page at {self.url} is no longer served") from error

    def close(self) -> None:
        """Stop serving: all streams end, also those of viewers that do not read."""
        if not self._closed:
            self._closed = True
            self._server.close()
