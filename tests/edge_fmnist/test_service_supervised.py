"""A small service manager starts ``edge-fmnist live`` as systemd does, and a camera stops delivering."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import pytest

from edge_fmnist.sources.demo import Scene

# Each starts processes and waits for timeouts of several seconds.
pytestmark = pytest.mark.slow

MAIN = "from edge_fmnist.cli.app import main; main()"
LIMIT = 2.0
# Starting takes seconds on a machine that is busy.
PATIENCE = 60.0


class Camera:
    """A network camera that can be told to hang: the connection stays, no picture comes."""

    def __init__(self) -> None:
        self.hangs = threading.Event()
        self.ended = threading.Event()
        picture = cv2.imencode(".jpg", Scene(160, 120).draw(3))[1].tobytes()
        head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture)
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                try:
                    while not camera.ended.wait(0.05):
                        if not camera.hangs.is_set():
                            self.wfile.write(head + picture + b"\r\n")
                except OSError:
                    # The viewer has left.
                    pass

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"

    def close(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def camera() -> Iterator[Camera]:
    made = Camera()
    yield made
    made.close()


class Manager:
    """Starts the service and receives its notifications."""

    def __init__(self, folder: Path, url: str) -> None:
        self._address, self._url = str(folder / "notify"), url
        self.log = folder / "log"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._listener.bind(self._address)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "NOTIFY_SOCKET": self._address, "WATCHDOG_USEC": str(round(LIMIT * 1e6))}
        words = [sys.executable, "-c", MAIN, "live", "--source", self._url, "--model", "edge", "--log", "journal"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(words, env=environment, stderr=log)
        return self.process

    def hear(self, seconds: float) -> str | None:
        """Return the next message, None when none comes in time."""
        self._listener.settimeout(seconds)
        try:
            return self._listener.recv(4096).decode()
        except TimeoutError:
            return None

    def hear_until(self, wanted: str) -> None:
        end = time.monotonic() + PATIENCE
        while self.hear(PATIENCE) != wanted:
            assert time.monotonic() < end, self.log.read_text()

    def close(self) -> None:
        self._listener.close()
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def manager(tmp_path: Path, camera: Camera) -> Iterator[Manager]:
    made = Manager(tmp_path, camera.url)
    yield made
    made.close()


def lines_of(log: Path, event: str) -> list[str]:
    return [line for line in log.read_text().splitlines() if f"event={event}" in line]


def test_a_camera_that_hangs_is_noticed_and_a_restart_helps(manager: Manager, camera: Camera) -> None:
    process = manager.start()
    manager.hear_until("READY=1")
    manager.hear_until("WATCHDOG=1")
    manager.hear_until("WATCHDOG=1")
    camera.hangs.set()
    hung_at = time.monotonic()
    fed = 0
    while (message := manager.hear(LIMIT)) is not None:
        fed += message == "WATCHDOG=1"
    noticed = time.monotonic() - hung_at
    # One message may have been under way when the camera hung.
    assert fed <= 1
    assert noticed < 2 * LIMIT + 1
    assert process.poll() is None, manager.log.read_text()
    # As systemd does.
    process.send_signal(signal.SIGABRT)
    assert process.wait(PATIENCE) == -signal.SIGABRT
    camera.hangs.clear()
    manager.start()
    manager.hear_until("READY=1")
    manager.hear_until("WATCHDOG=1")


def test_the_end_is_reported(manager: Manager) -> None:
    process = manager.start()
    manager.hear_until("READY=1")
    statuses: list[str] = []
    while not statuses:
        message = manager.hear(PATIENCE)
        assert message is not None
        statuses += [message] if message.startswith("STATUS=") else []
    process.terminate()
    manager.hear_until("STOPPING=1")
    assert process.wait(PATIENCE) == 0
    assert len(lines_of(manager.log, "start")) == len(lines_of(manager.log, "stop")) == 1


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_a_lost_camera_gives_one_line_when_lost_and_one_when_back(manager: Manager, camera: Camera) -> None:
    manager.start()
    manager.hear_until("READY=1")
    until(lambda: lines_of(manager.log, "label"))
    camera.hangs.set()
    until(lambda: lines_of(manager.log, "source-lost"))
    # Reconnecting counts as alive.
    manager.hear_until("WATCHDOG=1")
    camera.hangs.clear()
    until(lambda: lines_of(manager.log, "source-back"))
    assert lines_of(manager.log, "source-lost")[0].startswith("<4>")
    assert len(lines_of(manager.log, "source-lost")) == len(lines_of(manager.log, "source-back")) == 1
