"""Browser page sink: the web server in its own thread."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from edge_fmnist.errors import SinkError
from edge_fmnist.extras import require
from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.sinks.base import Sink
from edge_fmnist.sinks.web.access import Access
from edge_fmnist.sinks.web.address import DEFAULT_HOST, DEFAULT_PORT, Address, listen, url_of
from edge_fmnist.sources.tls import check_server_certificate

if TYPE_CHECKING:
    import uvicorn

    from edge_fmnist.pipeline.stats import LiveStats
    from edge_fmnist.sinks.mqtt import Traffic
    from edge_fmnist.sinks.web.collect import CollectPage
    from edge_fmnist.sinks.web.latest import LatestResult
    from edge_fmnist.sinks.web.metrics import PrometheusMetrics

GRACE_SECONDS = 0.5
JOIN_TIMEOUT = 5.0


class WebPage(Sink):
    """Serves the browser page until it is closed.

    Images are encoded in the server's threads, on demand and once for all viewers; a slow viewer misses frames and
    delays nobody.

    Attributes:
        url: the URL of the page.
        access: who may use it.
    """

    name = "the browser page"

    def __init__(
        self,
        host: str = DEFAULT_HOST,
        port: int = DEFAULT_PORT,
        *,
        stats: Callable[[], LiveStats] | None = None,
        traffic: Callable[[], Traffic] | None = None,
        access: Access | None = None,
        certificate: str | Path | None = None,
        key: str | Path | None = None,
        collect: CollectPage | None = None,
    ) -> None:
        """Start serving.

        Args:
            host: address or name to listen at: 127.0.0.1 for this machine only; 0.0.0.0 for all networks.
            port: TCP port; 0 selects any free port.
            stats: returns the statistics of the loop, for ``/metrics``; called in the server's thread.
            traffic: returns the statistics of the MQTT connection, likewise.
            access: who may use the page; None: :meth:`Access.of` the host, which asks for a token if the page can be
                reached from other machines.
            certificate: PEM file of the certificate for ``https://``; None serves ``http://``.
            key: PEM file of its private key; None: in the same file.
            collect: lets viewers store frames and teach; None does not.

        Raises:
            MissingExtraError: the extra ``web`` is not installed.
            SinkError: the port is in use or not permitted, or the host is not an address of this machine.
            UsageError: a certificate that cannot be used.
        """
        require("web", "The browser page")
        self.access = access or Access.of(host)
        if certificate is not None:
            check_server_certificate(certificate, key)
        self._certificate, self._key = certificate, key
        self._listener = listen(Address(host, port))
        self.url = url_of(self._listener, host, "http" if certificate is None else "https")
        self._stats = stats
        self._traffic = traffic
        self._collect = collect
        self._uvicorn: uvicorn.Server
        ready: Future[tuple[LatestResult, PrometheusMetrics]] = Future()
        # A daemon thread, so that a program that ends without closing does not hang.
        self._thread = threading.Thread(target=self._run, args=(ready,), name="web-server", daemon=True)
        self._thread.start()
        self._latest, self._metrics = ready.result()

    @property
    def login_url(self) -> str:
        """The URL with the token, if one is asked for."""
        return f"{self.url}?token={self.access.token}" if self.access.token else self.url

    def write(self, result: LiveResult) -> None:
        """Publish a result; takes microseconds.

        Raises:
            SinkError: the server has stopped.
        """
        try:
            self._latest.put(result)
        except RuntimeError as error:
            raise SinkError(f"the browser page at {self.url} has stopped") from error
        self._metrics.observe(result)

    def close(self) -> None:
        """Stop serving; all streams end, including those of viewers that do not read."""
        if self._collect is not None:
            self._collect.close()
        # A closed event loop has nothing left to stop.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop)
        self._thread.join(JOIN_TIMEOUT)

    def _run(self, ready: Future[tuple[LatestResult, PrometheusMetrics]]) -> None:
        try:
            asyncio.run(self._serve(ready))
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)
        finally:
            self._listener.close()

    async def _serve(self, ready: Future[tuple[LatestResult, PrometheusMetrics]]) -> None:
        import uvicorn

        from edge_fmnist.sinks.web.app import make_app
        from edge_fmnist.sinks.web.connections import HEADERS_SECONDS, LimitedConnection
        from edge_fmnist.sinks.web.encoding import ImageEncoder
        from edge_fmnist.sinks.web.latest import LatestResult
        from edge_fmnist.sinks.web.metrics import PrometheusMetrics
        from edge_fmnist.sinks.web.streams import Viewers

        self._loop = asyncio.get_running_loop()
        latest, encoder, viewers = LatestResult(self._loop), ImageEncoder(), Viewers()
        metrics = PrometheusMetrics(latest.age, lambda: viewers.count, self._stats, self._traffic)
        cookie = f"edge_fmnist_{self._listener.getsockname()[1]}"
        config = uvicorn.Config(
            make_app(latest, encoder, viewers, metrics, self.access, cookie, self._collect),
            http=LimitedConnection,
            ssl_certfile=self._certificate,
            ssl_keyfile=self._key,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=3,
        )
        if self._certificate is not None:
            # Uvicorn does not pass on a limit to the time that a handshake may take; the default is a minute.
            limited = functools.partial(self._loop.create_server, ssl_handshake_timeout=HEADERS_SECONDS)
            self._loop.create_server = limited  # type: ignore[method-assign]
        self._uvicorn = uvicorn.Server(config)
        ready.set_result((latest, metrics))
        try:
            await self._uvicorn.serve(sockets=[self._listener])
        finally:
            encoder.close()

    def _stop(self) -> None:
        self._latest.close()
        self._uvicorn.should_exit = True
        self._loop.call_later(GRACE_SECONDS, self._abort_connections)

    def _abort_connections(self) -> None:
        """Disconnect viewers that do not read, which the server would wait for."""
        for connection in list(self._uvicorn.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
