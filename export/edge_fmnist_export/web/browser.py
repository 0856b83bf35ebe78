"""Run a model in headless Chromium, where there is one: for ``bench`` and the tests."""

from __future__ import annotations

import functools
import json
import queue
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from edge_fmnist.errors import InterpreterError
from edge_fmnist_export.web.build import page_settings, write_page
from edge_fmnist_export.web.server import PageHandler

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
MEASURE = files("edge_fmnist_export.web").joinpath("measure")
TIMEOUT_SECONDS = 300


@dataclass(frozen=True, eq=False)
class BrowserMeasurement:
    """Outputs of a model in a browser, and its times.

    Attributes:
        outputs: the raw output tensors, uint8 or float32, shape (N, outputs).
        milliseconds: time of each call, from the image to the output tensor, float64, shape (N,).
    """

    outputs: np.ndarray
    milliseconds: np.ndarray


def find_browser() -> str:
    """Return the path of Chromium or Chrome.

    Raises:
        InterpreterError: none is installed.
    """
    found = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if found is None:
        raise InterpreterError(f"no browser found: install one of {', '.join(BROWSERS)}")
    return found


def measure(model: str | Path, images: np.ndarray) -> BrowserMeasurement:
    """Run a model in headless Chromium, image by image.

    Args:
        model: a shipped model's name, or a ``.tflite`` file that this package wrote.
        images: uint8, shape (N, 28, 28), garments bright on black.

    Raises:
        InterpreterError: no browser is installed, or it failed.
        EdgeFmnistError: as for :func:`edge_fmnist_export.web.build.write_page`.
    """
    find_browser()
    with tempfile.TemporaryDirectory(prefix="edge-fmnist-") as folder:
        write_site(model, Path(folder), images)
        results = run(Path(folder), "measure.html")
    kind = page_settings(model)["model"]["output"]["type"]
    outputs = np.frombuffer(results["outputs"], kind).reshape(len(images), -1)
    return BrowserMeasurement(outputs, np.frombuffer(results["milliseconds"]))


def write_site(model: str | Path, folder: Path, images: np.ndarray) -> None:
    """Write what :func:`run` serves: the page of a model in ``page/``, the measuring page and the images."""
    write_page(model, folder / "page")
    for file in MEASURE.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "images.bin").write_bytes(images.tobytes())


def run(
    site: Path, page: str, arguments: tuple[str, ...] = (), on_report: Callable[[str, Server], None] | None = None
) -> dict[str, bytes]:
    """Open a page in headless Chromium and return the reports that it sends, by name, until the one named "done".

    Args:
        site: the folder that is served.
        page: the page in it. It gets the address for reports after the "#", and posts each to its name there; "done"
            is JSON with a list ``errors``.
        arguments: further arguments of Chromium.
        on_report: called with the name of each report and the server of the site, before the page goes on.

    Raises:
        InterpreterError: no browser is installed, or the page reported an error, or nothing in time.
    """
    browser = find_browser()
    results: dict[str, bytes] = {}
    done: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def received(name: str, body: bytes) -> None:
        results[name] = body
        if on_report:
            on_report(name, pages)
        if name == "done":
            done.put(body)

    pages = Server(functools.partial(IsolatedHandler, directory=str(site)))
    reports = Server(functools.partial(ReportHandler, received))
    # No sandbox: Chromium refuses it in containers, and the page is our own.
    flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", *arguments)
    with tempfile.TemporaryDirectory(prefix="edge-fmnist-", ignore_cleanup_errors=True) as profile:
        command = [browser, *flags, f"--user-data-dir={profile}", f"{pages.url}/{page}#{reports.url}"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:  # noqa: S603
            try:
                errors = json.loads(done.get(timeout=TIMEOUT_SECONDS))["errors"]
            except queue.Empty:
                errors = [f"no result within {TIMEOUT_SECONDS} s"]
            finally:
                process.terminate()
                process.wait()
                pages.stop()
                reports.stop()
    if errors:
        raise InterpreterError(f"{browser}: {'; '.join(errors)}")
    return results


class IsolatedHandler(PageHandler):
    """Serves pages with cross-origin isolation, which lets browsers measure in steps of 5 instead of 100 µs."""

    def end_headers(self) -> None:
        """Send the headers of cross-origin isolation too."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()


class ReportHandler(SimpleHTTPRequestHandler):
    """Receives reports."""

    def __init__(self, received: Callable[[str, bytes], None], *args: Any) -> None:
        self._received = received
        super().__init__(*args)

    def do_POST(self) -> None:
        """Pass on a report."""
        self._received(self.path.strip("/"), self.rfile.read(int(self.headers.get("Content-Length", 0))))
        self.send_response(204)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing."""


class Server:
    """A web server on localhost in its own thread.

    Attributes:
        url: its address.
    """

    def __init__(self, handler: Any) -> None:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://localhost:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the port; does nothing the second time."""
        if self._thread.is_alive():
            self._http.shutdown()
            self._http.server_close()
            self._thread.join()
