"""Fixtures that all tests share."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import inspect
import json
import os
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
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


def _write_data(folder: Path, train: Sequence[np.ndarray], test: Sequence[np.ndarray], *, gz: bool = False) -> Path:
    """Write the four IDX files of a data set; a split is its images and its labels."""
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, arrays in (("train", train), ("t10k", test)):
        for kind, array in zip(("images-idx3", "labels-idx1"), arrays, strict=True):
            header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            content = header + array.astype(np.uint8).tobytes()
            path = folder / f"{prefix}-{kind}-ubyte{'.gz' if gz else ''}"
            path.write_bytes(gzip.compress(content, mtime=0) if gz else content)
    return folder


@pytest.fixture(scope="session")
def write_data() -> Callable[..., Path]:
    """Return a function that writes a data set, given images and labels of both splits, and returns its folder."""
    return _write_data


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
        train, test = list(random_split(TRAIN_IMAGES, 1)), list(random_split(TEST_IMAGES, 2))
        for split, given in ((train, (train_images, train_labels)), (test, (test_images, test_labels))):
            split[:] = [default if array is None else array for array, default in zip(given, split, strict=True)]
        return _write_data(tmp_path / folder, train, test, gz=gz)

    return make


@pytest.fixture
def small_data(make_idx: Callable[..., Path]) -> Path:
    """Return a folder with a small made data set: 60 train and 40 test images."""
    return make_idx()


@pytest.fixture(scope="session")
def need() -> Callable[..., str]:
    """Return a function that finds a program; without it the test is skipped, or fails if EDGE_FMNIST_REQUIRE_…=1."""

    def find(program: str, package: str, name: str = "") -> str:
        # Debian has servers in /usr/sbin, where only root looks for programs.
        path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
        if path is None:
            missing, required = f"{program} is not installed: apt install {package}", name or package.upper()
            if os.environ.get(f"EDGE_FMNIST_REQUIRE_{required}") == "1":
                pytest.fail(f"EDGE_FMNIST_REQUIRE_{required}=1, but {missing}")
            pytest.skip(missing)
        return path

    return find


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
        train, test = load("train", real_data), load("test", real_data)
        _write_data(folder, (train.images[:24_000], train.targets[:24_000]), (test.images[:1000], test.targets[:1000]))

    return make_once("part-of-data", make)


@pytest.fixture
def cli() -> Callable[..., Any]:
    """Return a function that runs ``edge-fmnist`` with arguments; its result has stdout and stderr apart."""

    def run(*arguments: object, stdin: bytes | None = None) -> Any:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)

    return run


@pytest.fixture
def run_cli(cli: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that runs ``edge-fmnist``, checks the exit code and that no exception got out."""

    def run(*arguments: object, code: int = 0, stdin: bytes | None = None) -> Any:
        result = cli(*arguments, stdin=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
        assert result.exit_code == code, result.stderr
        assert "Traceback" not in result.stderr
        return result

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
        assert running.stdout is not None
        assert running.stderr is not None
        ready, _, _ = select.select([running.stdout, running.stderr], [], [], 60)
        first = os.read(running.stderr.fileno(), 65536).decode(errors="replace") if running.stderr in ready else ""
        # A command that wrote why it fails ends by itself; a library may lose one interruption.
        for seconds in (5 if "Error" in first else 0.3, 5, 20, 60):
            try:
                out, err = running.communicate(timeout=seconds)
                break
            except subprocess.TimeoutExpired:
                os.killpg(running.pid, signal.SIGINT)
        else:
            os.killpg(running.pid, signal.SIGKILL)
            pytest.fail(f"{line}: does not end when it is interrupted")
        return subprocess.CompletedProcess(line, running.returncode, out, first + err)

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
def closed_port() -> Iterator[str]:
    """Return a base URL that nothing listens at; the port stays taken, so that nobody else does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{probe.getsockname()[1]}/"


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Return a function that serves bytes by file name on localhost and returns the base URL; other names give 404."""
    servers: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def start(files: dict[str, bytes], *, cut: int = 0, drip: bool = False) -> str:
        """Serve ``files``; each body ends ``cut`` bytes before the length in its header, or comes byte by byte."""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = files.get(self.path.lstrip("/"))
                if content is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                content = content[: len(content) - cut]
                with suppress(ConnectionError):
                    for start in range(0, len(content), 1 if drip else len(content)):
                        self.wfile.write(content[start : start + (1 if drip else len(content))])
                        time.sleep(0.02 * drip)

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


@pytest.fixture(scope="session")
def subprocess_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment without this project's settings, without a data set and without a GPU."""
    if find_spec("tensorflow") is None or find_spec("tf_keras") is None:
        pytest.skip("the extra [export] is not installed")
    ours = ("EDGE_FMNIST_", "KERAS_BACKEND", "TF_", "FORCE_COLOR")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {
        **kept,
        "EDGE_FMNIST_DATA": str(tmp_path_factory.mktemp("nothing") / "no-data"),
        "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")),
        "CUDA_VISIBLE_DEVICES": "-1",
        "COLUMNS": "250",
    }


@pytest.fixture(scope="session")
def spawn_calls(subprocess_environment: dict[str, str]) -> Callable[..., list[Any]]:
    """Return a function that runs other functions in a subprocess, for example with another Keras back end.

    It takes calls, each a function with its arguments, and more environment by keyword, and returns the JSON that each
    call printed.
    """

    def run(*calls: tuple[Any, ...], **environment: str) -> list[Any]:
        script = ["from __future__ import annotations"]
        for function, *arguments in calls:
            script += [textwrap.dedent(inspect.getsource(function)), f"{function.__name__}(*{arguments!r})"]
        command = [sys.executable, "-c", "\n".join(script)]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**subprocess_environment, **environment}, check=False
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


@pytest.fixture(scope="session")
def model_path(make_once: Callable[..., Path]) -> Callable[[str], Path]:
    """Return a function from the name of a model in make_models.py to its file."""
    if find_spec("tensorflow") is None:
        pytest.skip("making small models needs TensorFlow")

    def make(folder: Path) -> None:
        folder.mkdir()
        script = Path(__file__).parent / "edge_fmnist" / "make_models.py"
        made = subprocess.run([sys.executable, str(script), str(folder)], capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr

    folder = make_once("models", make)
    return lambda name: folder / f"{name}.tflite"
