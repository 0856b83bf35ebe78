"""Fixtures that all tests share."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edge_fmnist.cli.app import app
from edge_fmnist.data.dataset import FASHION_MNIST_SHA256, find_data, load
from edge_fmnist.errors import DataNotFoundError

TRAIN_IMAGES, TEST_IMAGES = 60, 40

# Test processes share the cores, and threads that wait for one another keep a core busy: a step of torch with two
# threads takes twenty times as long beside another process. Read when the libraries start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
# SHAP and UMAP would compile for a minute and a half what runs for seconds here.
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")

# Shells start background jobs with SIGINT ignored; tests interrupt themselves and processes that inherit this.
signal.signal(signal.SIGINT, signal.default_int_handler)


# Tests of 20 seconds and more. Started last, one of them would keep a worker busy while the others have nothing to do.
LONGEST = (
    "test_docs.py::test_commands_run",
    "test_notebook.py::test_it_runs",
    "test_training.py::test_the_whole_network",
    "test_bench_callgrind.py::test_valgrind",
    "test_torch_back_end.py",
    "test_packaging.py",
    "test_web_export.py::test_chromium",
    "test_bench_action.py::test_benchmark_step",
    "test_shipped.py::test_accuracy_on_the_test_set",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the longest tests."""
    items.sort(key=lambda item: not any(name in item.nodeid for name in LONGEST))


@pytest.fixture(autouse=True)
def isolated_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in ("EDGE_FMNIST_DATA", "EDGE_FMNIST_INTERPRETER", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("no_proxy", "*")
    # Wide enough for rich not to break the lines that tests look for.
    monkeypatch.setenv("COLUMNS", "250")


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Return a function that fills a folder once for all workers of a test run and returns it; not to be written to."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def once(name: str, make: Callable[[Path], None]) -> Path:
        folder, finished = shared / name, shared / f"{name}.finished"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not finished.exists():
                make(folder)
                finished.touch()
        return folder

    return once


def random_split(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return seeded images and labels in which each of the ten classes is equally frequent."""
    images = np.random.default_rng(seed).integers(0, 256, (count, 28, 28), dtype=np.uint8)
    return images, (np.arange(count) % 10).astype(np.uint8)


def _write_idx(path: Path, array: np.ndarray, gz: bool) -> None:
    header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    content = header + array.astype(np.uint8).tobytes()
    if gz:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content, mtime=0))
    else:
        path.write_bytes(content)


@pytest.fixture
def make_idx(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the four IDX files of a data set and returns their folder."""

    def make(
        folder: str | Path = "data",
        *,
        train_images: np.ndarray | None = None,
        train_labels: np.ndarray | None = None,
        test_images: np.ndarray | None = None,
        test_labels: np.ndarray | None = None,
        gz: bool = True,
    ) -> Path:
        place = tmp_path / folder
        place.mkdir(parents=True, exist_ok=True)
        train, test = random_split(TRAIN_IMAGES, 1), random_split(TEST_IMAGES, 2)
        for name, given, default in (
            ("train-images-idx3-ubyte", train_images, train[0]),
            ("train-labels-idx1-ubyte", train_labels, train[1]),
            ("t10k-images-idx3-ubyte", test_images, test[0]),
            ("t10k-labels-idx1-ubyte", test_labels, test[1]),
        ):
            _write_idx(place / name, default if given is None else given, gz)
        return place

    return make


@pytest.fixture
def small_data(make_idx: Callable[..., Path]) -> Path:
    """Return a folder with a small made data set: 60 train and 40 test images."""
    return make_idx()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of the real Fashion-MNIST."""
    try:
        return find_data()
    except DataNotFoundError as error:
        if os.environ.get("EDGE_FMNIST_REQUIRE_DATA") == "1":
            pytest.fail(f"EDGE_FMNIST_REQUIRE_DATA=1, but {error}")
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def part_of_data(real_data: Path, make_once: Callable[..., Path]) -> Path:
    """Return a folder with a part of the real Fashion-MNIST: what uses all of it takes several times as long."""

    def make(folder: Path) -> None:
        folder.mkdir()
        train, test = load("train", real_data), load("test", real_data)
        for prefix, split, count in (("train", train, 24_000), ("t10k", test, 1000)):
            _write_idx(folder / f"{prefix}-images-idx3-ubyte", split.images[:count], gz=False)
            _write_idx(folder / f"{prefix}-labels-idx1-ubyte", split.targets[:count], gz=False)

    return make_once("part-of-data", make)


@pytest.fixture
def cli() -> Callable[..., Any]:
    """Return a function that runs ``edge-fmnist`` with arguments; its result has stdout and stderr apart."""

    def run(*arguments: object, stdin: bytes | None = None) -> Any:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)

    return run


@pytest.fixture
def start() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a shell line until it has written something, then interrupts it as Ctrl-C does."""

    def run(line: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        running = subprocess.Popen(
            ["bash", "-c", line],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        select.select([pipe for pipe in (running.stdout, running.stderr) if pipe], [], [], 60)
        # A command that wrote why it fails ends by itself; a library may lose one interruption.
        for seconds in (1, 10, 20, 20):
            try:
                out, err = running.communicate(timeout=seconds)
                break
            except subprocess.TimeoutExpired:
                os.killpg(running.pid, signal.SIGINT)
        else:
            os.killpg(running.pid, signal.SIGKILL)
            pytest.fail(f"{line}: does not end when it is interrupted")
        return subprocess.CompletedProcess(line, running.returncode, out, err)

    return run


@pytest.fixture
def no_data_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the folder of Debian's package, so that a search looks in the empty user cache only."""
    monkeypatch.setattr("edge_fmnist.data.dataset.DEBIAN_FOLDER", tmp_path / "debian")


@pytest.fixture
def published(small_data: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Return the files of a small data set, whose hashes are now those of Fashion-MNIST."""
    files = {path.name: path.read_bytes() for path in small_data.iterdir()}
    for name in FASHION_MNIST_SHA256:
        digest = hashlib.sha256(gzip.decompress(files[f"{name}.gz"])).hexdigest()
        monkeypatch.setitem(FASHION_MNIST_SHA256, name, digest)
    return files


@pytest.fixture
def closed_port() -> str:
    """Return a base URL that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Return a function that serves bytes by file name on localhost and returns the base URL; other names give 404."""
    servers: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def start(files: dict[str, bytes], *, cut: int = 0) -> str:
        """Serve ``files``; each body ends ``cut`` bytes before the length that its header promises."""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = files.get(self.path.lstrip("/"))
                if content is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) - cut])

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_address[1]}/"

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def _file_size_limit(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def file_size_limit() -> Callable[[int], AbstractContextManager[None]]:
    """Return a context in which no file grows beyond a number of bytes: writing then fails, as on a full disk.

    A context and not the whole test, since the report of the tests may go to a file that is larger.
    """
    return _file_size_limit
