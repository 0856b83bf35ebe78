"""Profile a model by operator with LiteRT's own profiler: time, multiply-accumulates and share of each."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from edge_fmnist.errors import InterpreterError
from edge_fmnist.model import interpreter as interpreters
from edge_fmnist.model.registry import read_model
from edge_fmnist.model.tflite_graph import Operator, read_graph
from edge_fmnist.subprocesses import last_line, module_command
from edge_fmnist_bench.timing import time_calls
from edge_fmnist_bench.variants.edge import bare_loop

NAME = "ai-edge-litert"
WARM_UP, CALLS = 40, 400
TIMEOUT = 120.0
SECONDS = 0.2
METHOD = f"LiteRT's own profiler, mean of {CALLS} calls on zeros, in steps of 1 µs; operators as XNNPACK names them."
# Words in XNNPACK's names of operators that have weights.
WEIGHTED = ("Convolution", "Fully Connected", "Deconvolution", "Batch Matrix Multiply")


def measure(model: str) -> dict[str, Any]:
    """Return the profile of a shipped model or a file as plain values.

    ``{model, interpreter, threads, method, whole_us, sum_us, layers: [{index, operator, macs, time_us}]}``. ``macs`` is
    None where XNNPACK's operators cannot be assigned to those of the file.

    Raises:
        ModelNotFoundError: neither a shipped model nor a file.
        ModelError: not a model, or a damaged one.
        InterpreterError: LiteRT is not installed, or its profiler cannot be used.
    """
    read = read_model(model)
    version = interpreters.installed().get(NAME)
    if version is None:
        raise InterpreterError(f"--profile needs {NAME}, which is not installed")
    graph = read_graph(read.content, read.source)
    run = bare_loop(read, NAME, threads=1, batch=1)
    image = np.zeros((1, 28, 28), np.uint8)
    times: list[int] = []
    time_calls(lambda: run(image), times, calls=1, seconds=SECONDS, limit=SECONDS)
    with TemporaryDirectory(prefix="edge-fmnist-profile-") as folder:
        # A file without metadata: LiteRT's C interface takes a path.
        path = Path(folder) / "model.tflite"
        path.write_bytes(read.content)
        found = _events(path, version)
    macs = _macs(found, graph.operators)
    layers = [
        {"index": index, "operator": event["operator"], "macs": count, "time_us": round(event["time_us"], 3)}
        for index, (event, count) in enumerate(zip(found, macs, strict=True))
    ]
    return {
        "model": model,
        "interpreter": f"{NAME} {version}",
        "threads": 1,
        "method": METHOD,
        "whole_us": round(float(np.median(times)) / 1000, 2),
        "sum_us": round(sum(event["time_us"] for event in found), 2),
        "layers": layers,
    }


def _events(path: Path, version: str) -> list[dict[str, Any]]:
    """Return the operators that LiteRT ran, in order, without those that only start a delegate."""
    command = module_command("edge_fmnist_bench.litert_profiler", str(path), str(WARM_UP), str(CALLS))
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=True)  # noqa: S603
        events: list[dict[str, Any]] = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        reason = last_line(getattr(error, "stderr", None) or str(error))
        raise InterpreterError(
            f"{NAME} {version}: its profiler cannot be used ({reason}); --profile was tested with 2.3"
        ) from error
    return [event for event in events if event["delegate"] or "Delegate" not in event["operator"]]


def _macs(events: list[dict[str, Any]], operators: tuple[Operator, ...]) -> list[int | None]:
    """Return the multiply-accumulates of each event; None for all where they cannot be assigned.

    XNNPACK fuses and splits operators, but runs those with weights in the order of the file.
    """
    weighted = [operator.macs for operator in operators if operator.macs]
    macs = [0 for _ in events]
    for position, event in enumerate(events):
        own = operators[event["index"]].macs if not event["delegate"] and event["index"] < len(operators) else 0
        if own or (event["delegate"] and any(word in event["operator"] for word in WEIGHTED)):
            if not weighted:
                return [None] * len(events)
            macs[position] = weighted.pop(0)
    return [None] * len(events) if weighted else [*macs]
