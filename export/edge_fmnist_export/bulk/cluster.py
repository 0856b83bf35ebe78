"""Connect to a Ray cluster, or start one here: for ``label``, ``search``, ``zoo`` and ``baseline --grid``."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_fmnist import extras
from edge_fmnist.errors import RunError, UsageError

AUTO, LOCAL = "auto", "local"
EXPECTED = "expected HOST:PORT of a cluster's head, auto or local"
PROBE_SECONDS = 5.0
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


@contextlib.contextmanager
def connected(address: str, workers: int | None = None) -> Iterator[Any]:
    """Connect to a Ray cluster, and yield the module ``ray``; a cluster started here is stopped at the end.

    Standard output is kept for results: what Ray prints goes to standard error.

    Args:
        address: ``HOST:PORT``, ``auto`` or ``local``.
        workers: CPUs of a cluster started here; None takes all cores.

    Raises:
        UsageError: not an address, or nothing answers there.
        RunError: Ray cannot connect or start.
        MissingExtraError: Ray is not installed.
    """
    extras.require("ray", "--ray", ("ray",))
    _check(address)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_stdout_kept())
        stack.enter_context(_environment(address))
        settings: dict[str, Any] = {"address": address}
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
        ray = _init(settings)
        stack.callback(ray.shutdown)
        yield ray


def _check(address: str) -> None:
    """Check an address, and that something answers there: Ray itself waits for minutes.

    Raises:
        UsageError: not an address, or nothing answers there.
    """
    if address in (AUTO, LOCAL):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in address:
        hint = "; start with the port of the head, 6379 by default, not with Ray Client's" if "://" in address else ""
        raise UsageError(f"--ray {address}: {EXPECTED}{hint}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), PROBE_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"--ray {address}: nothing answers there ({error}); start a cluster with: ray start --head"
        ) from error


@contextlib.contextmanager
def _environment(address: str) -> Iterator[None]:
    """Set what Ray takes from the environment, and restore it."""
    before = dict(os.environ)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    given = {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    if address == LOCAL and not given:
        # Else Ray writes one into the home folder, which then is asked for by every other cluster.
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    elif "RAY_AUTH_MODE" not in given and (given or (Path.home() / ".ray" / "auth_token").is_file()):
        # `ray start` asks for the token that is there, but a driver with an explicit address would not send it.
        os.environ["RAY_AUTH_MODE"] = "token"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _stdout_kept() -> Iterator[None]:
    """Send to standard error what is written on standard output by anyone but this module's callers."""
    sys.stdout.flush()
    try:
        own = os.dup(1)
        os.dup2(2, 1)
    except OSError:
        yield
        return
    python, is_real = sys.stdout, _is_descriptor_1(sys.stdout)
    if is_real:
        sys.stdout = open(own, "w", encoding=python.encoding, errors=python.errors, closefd=False)  # noqa: SIM115
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(own, 1)
        sys.stdout = python
        os.close(own)


def _is_descriptor_1(stream: Any) -> bool:
    try:
        return bool(stream.fileno() == 1)
    except (AttributeError, OSError, ValueError):
        return False


def _init(settings: dict[str, Any]) -> Any:
    with warnings.catch_warnings():
        # Ray's own, about its future versions.
        warnings.simplefilter("ignore")
        import ray

        try:
            ray.init(**settings, log_to_driver=False, logging_level="ERROR")
        except (OSError, RuntimeError, ValueError) as error:
            ray.shutdown()
            raise RunError(f"--ray {settings['address']}: {str(error).strip().splitlines()[0]}") from error
    return ray
