"""Run ``edge-fmnist live`` for hours under load, and print what it takes: ``python tests/faults/soak.py --hours 1``.

A Motion JPEG camera dies every half minute, 20 viewers watch the page, an MQTT broker (mosquitto, if installed) is
published to, JSON lines and video segments are written. Each line of output: minutes, memory in MiB, descriptors,
threads, viewers (of which the page takes 16), lines, dropped results. Exit code 1 if memory grew by more than 5 % after
the first sixth, or a line was lost.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import cv2

from edge_fmnist.sources.demo import Scene

VIEWERS = 20
FPS = 15
LIFE_SECONDS = 30
PAUSE_SECONDS = 2


class Camera(BaseHTTPRequestHandler):
    """Serves the drawn scene, and breaks off each connection after half a minute."""

    scene = Scene(320, 240)

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        end = time.monotonic() + LIFE_SECONDS
        with suppress(OSError):
            while time.monotonic() < end:
                jpeg = cv2.imencode(".jpg", self.scene.draw(time.monotonic() % 60))[1].tobytes()
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                self.wfile.write(head.encode() + jpeg + b"\r\n")
                time.sleep(1 / FPS)
        time.sleep(PAUSE_SECONDS)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def watch(url: str, ended: threading.Event, slow: bool) -> None:
    """Read a stream of the page, reconnecting; a slow viewer reads a little at a time."""
    while not ended.wait(0.5):
        with suppress(OSError, ValueError), urlopen(url, timeout=5) as stream:
            while not ended.is_set() and stream.read(2000 if slow else 50_000):
                ended.wait(0.05)


def measure(pid: int) -> tuple[float, int, int]:
    """Return resident memory in MiB, open descriptors and threads of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    memory = int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]
    threads = int(re.search(r"Threads:\s+(\d+)", status)[1])  # type: ignore[index]
    return memory, len(list(Path(f"/proc/{pid}/fd").iterdir())), threads


@contextmanager
def started(command: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program during the block."""
    process = subprocess.Popen(command, **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_until_it_serves(process: subprocess.Popen[bytes], page: str) -> None:
    while process.poll() is None:
        with suppress(OSError), urlopen(f"{page}/metrics", timeout=20):
            return
        time.sleep(0.1)


def metric(page: str, name: str) -> int:
    """Return a value of the page's ``/metrics``."""
    with urlopen(f"{page}/metrics", timeout=20) as response:
        found = re.search(rf"^edge_fmnist_{name} (\S+)", response.read().decode(), re.MULTILINE)
    return int(float(found[1])) if found else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=1.0)
    seconds = parser.parse_args().hours * 3600
    ended = threading.Event()
    camera = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    camera.daemon_threads = True
    threading.Thread(target=camera.serve_forever, daemon=True).start()
    port, broker_port = free_port(), free_port()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        lines, page = folder / "out.jsonl", f"http://127.0.0.1:{port}"
        options = ["--source", f"http://127.0.0.1:{camera.server_port}/", "--serve", f"127.0.0.1:{port}", "--quiet"]
        options += ["--jsonl", str(lines), "--save", str(folder / "out.mkv"), "--save-segment", "60"]
        if mosquitto := shutil.which("mosquitto"):
            stack.enter_context(started([mosquitto, "-p", str(broker_port)], stderr=subprocess.DEVNULL))
            options += ["--mqtt", f"mqtt://127.0.0.1:{broker_port}"]
        command = [sys.executable, "-m", "edge_fmnist", "live", *options]
        process = stack.enter_context(started(command, stderr=subprocess.PIPE))
        log: list[str] = []
        threading.Thread(target=lambda: log.extend(map(bytes.decode, process.stderr or ())), daemon=True).start()
        wait_until_it_serves(process, page)
        for number in range(VIEWERS):
            path = ("/stream.mjpg", "/events")[number % 2]
            threading.Thread(target=watch, args=(page + path, ended, number % 4 == 0), daemon=True).start()
        begin, settled, memory = time.monotonic(), None, 0.0
        print("minutes  MiB  descriptors  threads  viewers  lines  dropped", flush=True)
        while process.poll() is None and (elapsed := time.monotonic() - begin) < seconds:
            time.sleep(min(60.0, seconds / 12))
            memory, descriptors, threads = measure(process.pid)
            written = lines.read_bytes().count(b"\n") if lines.exists() else 0
            dropped, viewers = metric(page, "results_not_written_total"), metric(page, "viewers")
            row = f"{elapsed / 60:7.1f} {memory:6.1f} {descriptors:6} {threads:6} {viewers:6} {written:9} {dropped:6}"
            print(row, flush=True)
            settled = settled or (memory if elapsed >= seconds / 6 else None)
        process.send_signal(signal.SIGTERM)
        stopped = time.monotonic()
        code = process.wait(30)
        ended.set()
        found = [json.loads(line) for line in lines.read_text().splitlines()]
        lost = found[-1]["seen"] - found[-1]["dropped"] - len(found)
        growth = memory / settled - 1 if settled else 0.0
        print(f"ended after {time.monotonic() - stopped:.1f} s with code {code}; {lost} of {len(found)} lines lost")
        print(
            f"memory after the first sixth and at the end: {growth:+.1%}; {sum('lost' in x for x in log)} source losses"
        )
        print("".join(line for line in log if "lost" not in line and "reconnected" not in line), end="")
        return int(code != 0 or lost != 0 or growth > 0.05)


if __name__ == "__main__":
    sys.exit(main())
