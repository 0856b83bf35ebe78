"""Connections of the web server: how many there are, and how long each may take to send a request."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

from edge_fmnist.sinks.web.address import is_local

# A page uses two connections, for events and images, and a browser may keep one or two more open.
MAX_CONNECTIONS = 64
MAX_PER_ADDRESS = 8
HEADERS_SECONDS = 10.0
FULL = b"Too many connections; try again later.\n"
REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 5\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(FULL), FULL)
)


class LimitedConnection(H11Protocol):
    """A connection that is dropped if its request is not complete after :data:`HEADERS_SECONDS`.

    Beyond the limits on connections, a new one replaces the one that has been without a request for longest. If all
    have one, the new one gets 503. A proxy on this machine connects for all its clients, so that connections from
    localhost are limited only together with all others.
    """

    _waiting_since = 0.0
    _due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection, and start to wait for its request."""
        super().connection_made(transport)
        self._waiting_since = self.loop.time()
        self._watch()
        others = [one for one in self.connections if isinstance(one, LimitedConnection) and one is not self]
        address = self.client[0] if self.client else ""
        same = [] if is_local(address) else [one for one in others if one.client and one.client[0] == address]
        for connections, limit in ((same, MAX_PER_ADDRESS), (others, MAX_CONNECTIONS)):
            if len(connections) >= limit:
                self._make_room(connections)
                return

    def _make_room(self, connections: list[LimitedConnection]) -> None:
        idle = [one for one in connections if one.is_waiting]
        if idle:
            min(idle, key=lambda one: one._waiting_since).drop()
        else:
            self.transport.write(REFUSAL)
            self.transport.close()

    @property
    def is_waiting(self) -> bool:
        """Whether no complete request is in progress."""
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    def data_received(self, data: bytes) -> None:
        """Handle requests; the time for an incomplete one starts with its first bytes."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Note that the connection is idle; the server closes it after some seconds."""
        self._waiting_since = self.loop.time()
        super().on_response_complete()

    def _watch(self) -> None:
        if self._due is not None and not self.is_waiting:
            self._due.cancel()
            self._due = None
        elif self._due is None and self.is_waiting:
            self._due = self.loop.call_later(HEADERS_SECONDS, self.drop)

    def drop(self) -> None:
        """Close the connection at once."""
        self.connections.discard(self)
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._due is not None:
            self._due.cancel()
        super().connection_lost(exc)
