"""What this machine has: interpreter, delegate, OpenCV, data, extras."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version
from typing import Any

from edge_fmnist.data.dataset import find_data
from edge_fmnist.errors import EdgeFmnistError
from edge_fmnist.extras import EXTRAS, missing
from edge_fmnist.model import interpreter
from edge_fmnist.model.registry import DEFAULT_MODEL, read_model, shipped_models


def report() -> dict[str, Any]:
    """Return what was found, as plain values, with a list ``problems`` that is empty when all is well.

    Looks, but changes and downloads nothing.
    """
    problems: list[str] = []
    facts: dict[str, Any] = {
        "edge_fmnist": version("edge-fmnist"),
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "numpy": version("numpy"),
        "interpreter": _interpreter(problems),
        "interpreters_installed": interpreter.installed(),
        "opencv": _opencv(problems),
        "data": _data(),
        "models": _models(problems),
        "extras": {extra: not missing(modules) for extra, modules in EXTRAS.items()},
    }
    return {**facts, "problems": problems}


def _interpreter(problems: list[str]) -> dict[str, Any] | None:
    from edge_fmnist.model.classifier import Classifier

    threads = os.cpu_count() or 1
    try:
        info = Classifier(read_model(DEFAULT_MODEL), threads=threads).info
    except EdgeFmnistError as error:
        problems.append(f"interpreter: {error}")
        return None
    return {
        "name": info.name,
        "version": info.version,
        "xnnpack": info.delegate == "XNNPACK",
        "threads_available": threads,
    }


def _opencv(problems: list[str]) -> dict[str, Any] | None:
    try:
        import cv2
    except ImportError as error:
        problems.append(f"OpenCV: cannot be imported ({error})")
        return None
    backends = [cv2.videoio_registry.getBackendName(backend) for backend in cv2.videoio_registry.getBackends()]
    return {"version": cv2.__version__, "video_backends": backends}


def _data() -> dict[str, Any]:
    try:
        return {"found": True, "folder": str(find_data())}
    except EdgeFmnistError as error:
        return {"found": False, "why": str(error)}


def _models(problems: list[str]) -> dict[str, bool]:
    result = {}
    try:
        names = list(shipped_models())
    except EdgeFmnistError as error:
        problems.append(f"models: {error}")
        return {}
    for name in names:
        try:
            read_model(name)
            result[name] = True
        except EdgeFmnistError as error:
            problems.append(f"model {name}: {error}")
            result[name] = False
    return result
