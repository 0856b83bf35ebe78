"""``edge-fmnist doctor``: report interpreter, delegate, OpenCV, data, models and extras of this machine."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any, TypeVar

import typer

from edge_fmnist import __version__
from edge_fmnist.cli import console, options
from edge_fmnist.errors import DataNotFoundError
from edge_fmnist.extras import EXTRAS, OPENCV_HINT, missing
from edge_fmnist.model.registry import DEFAULT_MODEL, read_model, shipped_models

Fact = TypeVar("Fact")


def doctor(json: options.Json = False) -> None:
    """Check the installation.

    Reports Python, platform, interpreter, XNNPACK, OpenCV, data, models and extras. Exit code 1 if there is a problem.
    """
    with console.quiet_native_log():
        facts = report()
    with console.reader_may_leave():
        if json:
            console.emit_json(facts)
        else:
            _show(facts)
    if facts["problems"]:
        raise typer.Exit(1)


def report() -> dict[str, Any]:
    """Return what was found, as plain values, with a list ``problems`` that is empty if there are none.

    Changes and downloads nothing, and never fails: what raises an error is a problem.
    """
    from edge_fmnist.model import interpreter

    # By message, because a damaged shipped model is reported twice: by the interpreter check and by the model check.
    problems: dict[str, str] = {}

    def attempt(name: str, find: Callable[[], Fact]) -> Fact | None:
        try:
            return find()
        except Exception as error:
            problems.setdefault(str(error), name)
            return None

    names = attempt("models", lambda: list(shipped_models())) or []
    models = {name: attempt(f"model {name}", partial(read_model, name)) is not None for name in names}
    facts: dict[str, Any] = {
        "edge_fmnist": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "numpy": version("numpy"),
        "interpreter": attempt("interpreter", _interpreter),
        "interpreters_installed": interpreter.installed(),
        "opencv": attempt("OpenCV", _opencv),
        "data": attempt("data", _data) or {"found": False, "why": "it cannot be used"},
        "models": models,
        "extras": {extra: not missing(modules) for extra, modules in EXTRAS.items()},
    }
    return {**facts, "problems": [f"{name}: {message}" for message, name in problems.items()]}


def _interpreter() -> dict[str, Any]:
    from edge_fmnist.model.classifier import MAX_THREADS, Classifier

    threads = min(os.cpu_count() or 1, MAX_THREADS)
    info = Classifier(DEFAULT_MODEL, threads=threads).info
    return {
        "name": info.name,
        "version": info.version,
        "xnnpack": info.delegate == "XNNPACK",
        "threads_available": threads,
    }


def _opencv() -> dict[str, Any]:
    try:
        import cv2
    except ImportError as error:
        raise ImportError(f"cannot be imported ({error}); {OPENCV_HINT}") from error
    registry = cv2.videoio_registry
    # Some have several entries: for cameras, for files, for writing.
    backends = list(dict.fromkeys(map(registry.getBackendName, registry.getBackends())))
    return {"version": cv2.__version__, "video_backends": backends}


def _data() -> dict[str, Any]:
    """Return where the data set is; none is no problem.

    Raises:
        DataError: its test images are damaged.
        DataNotFoundError: the folder in the environment variable has no data set.
    """
    from edge_fmnist.data import dataset

    try:
        folder = dataset.find_data()
    except DataNotFoundError as error:
        if dataset.named_folder() is not None:
            raise
        return {"found": False, "why": str(error)}
    dataset.load("test")
    return {"found": True, "folder": str(folder)}


def _show(facts: dict[str, Any]) -> None:
    running, opencv, data = facts["interpreter"], facts["opencv"], facts["data"]
    installed = facts["interpreters_installed"].items()
    others = [f"{name} {number}" for name, number in installed if not running or name != running["name"]]
    rows = [
        ("edge-fmnist", facts["edge_fmnist"]),
        ("Python", f"{facts['python']} ({facts['executable']})"),
        ("platform", f"{facts['platform']}, {facts['cores']} cores"),
        ("NumPy", facts["numpy"]),
        ("interpreter", f"{running['name']} {running['version']}" if running else "none"),
        ("XNNPACK", "in use" if running and running["xnnpack"] else "not in use"),
        ("threads", running["threads_available"] if running else "-"),
        ("also installed", ", ".join(others) or "no other interpreter"),
        ("OpenCV", f"{opencv['version']} ({', '.join(opencv['video_backends'])})" if opencv else "none"),
        ("data", data["folder"] if data["found"] else f"not found: {data['why']}"),
        ("models", ", ".join(f"{n} {'ok' if ok else 'BROKEN'}" for n, ok in facts["models"].items()) or "none"),
        ("extras", ", ".join(f"{n} {'present' if ok else 'absent'}" for n, ok in facts["extras"].items())),
    ]
    console.show_table("edge-fmnist doctor", ["", ""], rows, numbers_from=2)
    for problem in facts["problems"]:
        console.say(f"Problem: {problem}")
