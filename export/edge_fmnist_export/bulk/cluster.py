"""Connect to a Ray cluster, or start one here: for ``label``, ``search``, ``zoo`` and ``baseline --grid``."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import shutil
import socket
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_fmnist import extras
from edge_fmnist.errors import EdgeFmnistError, RunError, UsageError

PACKAGE = "edge-fmnist"
AUTO, LOCAL = "auto", "local"
PROBE_SECONDS = 5.0
WAIT_SECONDS = 1.0
# The object store holds the models and a few lists of paths; Ray's default is a third of the memory.
OBJECT_STORE_BYTES = 80 << 20

Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        help="Run on a Ray cluster: HOST:PORT of its head, auto for the one on this machine, or local to start one.",
        show_default=False,
    ),
]


def check(address: str) -> None:
    """Check that Ray is installed, and that something answers at an address: Ray itself waits for minutes.

    Raises:
        UsageError: not an address, or nothing answers there.
        MissingExtraError: Ray is not installed.
    """
    extras.require("ray", "--ray", ("ray",))
    if address in (AUTO, LOCAL):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in address:
        hint = "; start with the port of the head, 6379 by default, not with Ray Client's" if "://" in address else ""
        raise UsageError(f"--ray {address}: expected HOST:PORT of a cluster's head, auto or local{hint}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), PROBE_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"--ray {address}: nothing answers there ({error}); start a cluster with: ray start --head"
        ) from error


@contextlib.contextmanager
def connected(address: str, workers: int | None = None) -> Iterator[Any]:
    """Connect to a Ray cluster, and yield the module ``ray``; a cluster started here is stopped at the end.

    Standard output is kept for results: what Ray prints goes to standard error.

    Args:
        address: ``HOST:PORT``, ``auto`` or ``local``, see :func:`check`.
        workers: CPUs of a cluster started here; None takes all cores.

    Raises:
        RunError: Ray cannot connect or start.
    """
    settings: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": "ERROR"}
    with contextlib.ExitStack() as stack:
        stack.enter_context(_stdout_kept())
        stack.enter_context(_environment(address))
        if address == LOCAL:
            # A short path: those of sockets have at most 107 bytes.
            folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            settings |= {
                "num_cpus": workers or len(os.sched_getaffinity(0)),
                "include_dashboard": False,
                "object_store_memory": OBJECT_STORE_BYTES,
                "_temp_dir": folder,
            }
        with warnings.catch_warnings():
            # Deprecation warnings of Ray itself.
            warnings.simplefilter("ignore")
            import ray

            stack.callback(_shut_down, ray)
            try:
                ray.init(**settings)
            except Exception as error:
                # Ray raises errors of no common class, among them a bare Exception where a node starts too slowly.
                raise RunError(f"--ray {address}: {str(error).strip().splitlines()[0]}") from error
        yield ray


def _shut_down(ray: Any) -> None:
    # It prints messages that were held back as repeated ones.
    with contextlib.redirect_stdout(sys.stderr):
        ray.shutdown()


def run_on_nodes(ray: Any, function: Callable[..., Any], calls: list[tuple[Any, ...]], *shared: Any) -> Iterator[Any]:
    """Call a function on the nodes of a cluster, each call with all CPUs of a node; what it trains uses all of them.

    Args:
        ray: the module, connected.
        function: importable on the nodes, where this package has to be installed with the same extras.
        calls: first arguments of each call.
        *shared: further arguments, the same for all calls and sent once to each node.

    Yields:
        None about once a second, and the result of each call when it ends.

    Raises:
        EdgeFmnistError: one that a call raised.
        RunError: another error, or a node was lost four times.
    """
    cpus = min((count for node in ray.nodes() if node["Alive"] and (count := node["Resources"].get("CPU"))), default=1)
    remote = ray.remote(
        num_cpus=cpus,
        scheduling_strategy="SPREAD",
        # A worker process keeps what an earlier task left in memory: each gets one of its own.
        max_calls=1,
        # Conversion to TFLite needs the TensorFlow back end.
        runtime_env={"env_vars": {"KERAS_BACKEND": "tensorflow"}},
    )(_run_on_node)
    sent = [ray.put(each) for each in shared]
    left = [remote.remote(version(PACKAGE), function, *call, *sent) for call in calls]
    while left:
        ready, left = ray.wait(left, timeout=WAIT_SECONDS)
        if not ready:
            yield None
        for reference in ready:
            try:
                yield result_of(ray, reference.future())
            except ray.exceptions.RayError as error:
                raise RunError(f"on the cluster: {str(error).strip().splitlines()[0]}") from error


def _run_on_node(wanted: str, function: Callable[..., Any], *arguments: Any) -> Any:
    check_version(wanted)
    return function(*arguments)


def check_version(wanted: str) -> None:
    """Raise :class:`RunError` if this node has another version of this package than the driver."""
    if (installed := version(PACKAGE)) != wanted:
        node = socket.gethostname()
        raise RunError(f"node {node} has {PACKAGE} {installed}, expected {wanted}: install the same version")


def result_of(ray: Any, future: Future[Any]) -> Any:
    """Return the result of a task, or raise its error; a RayError says that its worker or its node was lost."""
    try:
        return future.result()
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, EdgeFmnistError):
            raise error.cause from error
        cause = str(error).strip().splitlines()[-1]
        raise RunError(f"on the cluster: {cause}; is {PACKAGE} {version(PACKAGE)} installed on every node?") from error


@contextlib.contextmanager
def _environment(address: str) -> Iterator[None]:
    """Set what Ray takes from the environment, and restore it."""
    before = dict(os.environ)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    given = {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    if address == LOCAL and not given:
        # Otherwise Ray writes a token into the home folder, which every other cluster then requires.
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    elif "RAY_AUTH_MODE" not in given and (given or (Path.home() / ".ray" / "auth_token").is_file()):
        # `ray start` requires the token in the home folder, but a driver with an explicit address would not send it.
        os.environ["RAY_AUTH_MODE"] = "token"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class _MainThreadStdout(io.TextIOBase):
    """Writes what the main thread prints to standard output, and what Ray's threads print to standard error."""

    def __init__(self, stdout: Any) -> None:
        self._stdout = stdout

    def write(self, text: str) -> int:
        main = threading.current_thread() is threading.main_thread()
        written: int = (self._stdout if main else sys.stderr).write(text)
        return written

    def flush(self) -> None:
        self._stdout.flush()


@contextlib.contextmanager
def _stdout_kept() -> Iterator[None]:
    """Redirect what Ray's threads and processes write to standard output to standard error."""
    stdout: Any = sys.stdout
    stdout.flush()
    with contextlib.ExitStack() as stack:
        own = os.dup(1)
        stack.callback(os.close, own)
        os.dup2(2, 1)
        stack.callback(os.dup2, own, 1)
        # In tests, it is another file.
        if sys.stdout is sys.__stdout__:
            stdout = os.fdopen(own, "w", encoding=stdout.encoding, errors=stdout.errors, closefd=False)
            stack.callback(stdout.flush)
        stack.enter_context(contextlib.redirect_stdout(_MainThreadStdout(stdout)))
        yield
