"""``edge-fmnist web``: serve the page that runs a model in the browser; ``edge-fmnist export --web`` writes it."""

from __future__ import annotations

import functools
import tempfile
import threading
import webbrowser
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_fmnist.cli import console, options
from edge_fmnist.cli.signals import stopped_by_signals
from edge_fmnist.errors import SinkError
from edge_fmnist.model.registry import CAMERA_MODEL
from edge_fmnist_export.web.server import PageHandler

DEFAULT_PORT = 8100


def web(
    model: Annotated[
        str | None, typer.Argument(help=f"A shipped model or a .tflite file. Default: {CAMERA_MODEL}.")
    ] = None,
    same: options.SameModel = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port; 0: any free one.")] = DEFAULT_PORT,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
) -> None:
    """Run a model in the browser: serve its page on localhost, until Ctrl-C.

    The page classifies camera frames and pictures in the browser itself; nothing is sent to the server. To put it on
    a web server, so that phones can use it, write it with `edge-fmnist export MODEL --web DIR`.
    """
    with tempfile.TemporaryDirectory(prefix="edge-fmnist-") as folder:
        write_page(options.one_model(model, same, CAMERA_MODEL), Path(folder), quiet=True)
        try:
            server = ThreadingHTTPServer(("127.0.0.1", port), functools.partial(PageHandler, directory=folder))
        except OSError as error:
            raise SinkError(f"port {port}: {error.strerror or error}; choose another one with --port") from error
        with server:
            url = f"http://localhost:{server.server_port}/"
            print(url, flush=True)
            if browser:
                # A browser in the terminal returns when it is closed.
                threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
            # It waits for serve_forever, which runs in this thread.
            with stopped_by_signals(lambda: threading.Thread(target=server.shutdown).start()):
                server.serve_forever()


def write_page(model: str, folder: Path, *, quiet: bool) -> dict[str, Any]:
    """Write the page for a model to a folder, and return plain values for JSON.

    Raises:
        EdgeFmnistError: as for :func:`edge_fmnist_export.web.build.write_page`.
    """
    from edge_fmnist_export.web.build import write_page as write

    with console.status("writing the page"), console.quiet_native_log():
        written = write(model, folder)
    if not quiet:
        size = sum(path.stat().st_size for path in written)
        console.say(f"web page: {folder} ({len(written)} files, {size / 1e6:.1f} MB)")
    return {"web": str(folder)}
