"""The web server, in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future

import uvicorn

from edge_fmnist.pipeline.results import LiveResult
from edge_fmnist.pipeline.stats import LiveStats
from edge_fmnist.sinks.mqtt import Traffic
from edge_fmnist.sinks.web.app import make_app
from edge_fmnist.sinks.web.board import Board
from edge_fmnist.sinks.web.encoding import Encoder
from edge_fmnist.sinks.web.metrics import Metrics
from edge_fmnist.sinks.web.streams import Viewers

# A page holds its events and its pictures, and a browser may keep a connection or two ready.
MAX_CONNECTIONS = 64
GRACE = 0.5
JOIN_TIMEOUT = 5.0


class Server:
    """Serves the page at a listening socket, which it closes in the end."""

    def __init__(
        self,
        listener: socket.socket,
        hosts: frozenset[str] | None,
        stats: Callable[[], LiveStats] | None = None,
        traffic: Callable[[], Traffic] | None = None,
    ) -> None:
        """Start serving.

        Args:
            listener: what to serve at.
            hosts: the names that are answered to; None means any.
            stats: as for :class:`Metrics`.
            traffic: as for :class:`Metrics`.
        """
        self._listener = listener
        self._hosts = hosts
        self._stats = stats
        self._traffic = traffic
        self._metrics: Metrics
        self._uvicorn: uvicorn.Server
        ready: Future[Board] = Future()
        # A daemon, so that a program that ends without closing does not hang.
        self._thread = threading.Thread(target=self._run, args=(ready,), name="web-server", daemon=True)
        self._thread.start()
        self._board = ready.result()

    def put(self, result: LiveResult) -> None:
        """Show a result.

        Raises:
            RuntimeError: the server has ended.
        """
        if not self._thread.is_alive():
            raise RuntimeError("the server has ended")
        self._board.put(result)
        self._metrics.observe(result)

    def _run(self, ready: Future[Board]) -> None:
        try:
            asyncio.run(self._serve(ready))
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)
        finally:
            self._listener.close()

    async def _serve(self, ready: Future[Board]) -> None:
        self._loop = asyncio.get_running_loop()
        board, encoder, viewers = Board(self._loop), Encoder(), Viewers()
        self._metrics = Metrics(board.age, lambda: viewers.count, self._stats, self._traffic)
        config = uvicorn.Config(
            make_app(board, encoder, viewers, self._metrics, self._hosts),
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=3,
        )
        self._uvicorn = uvicorn.Server(config)
        ready.set_result(board)
        try:
            await self._uvicorn.serve(sockets=[self._listener])
        finally:
            encoder.close()

    def close(self) -> None:
        """End all streams, the server and its thread; harmless when it has ended."""
        # Where the event loop is closed already, there is nothing left to stop.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop)
        self._thread.join(JOIN_TIMEOUT)

    def _stop(self) -> None:
        self._board.close()
        self._uvicorn.should_exit = True
        self._loop.call_later(GRACE, self._hang_up)

    def _hang_up(self) -> None:
        """Cut off the viewers that do not read, for whom the server would wait."""
        for connection in list(self._uvicorn.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
