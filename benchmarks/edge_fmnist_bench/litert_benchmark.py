"""LiteRT's own benchmark tool, ``litert-benchmark``, as a check on the clock of this one.

The tool is in the wheel of ai-edge-litert 2.3. It times each run of a ``CompiledModel``, another interface of
LiteRT than the interpreter that this project uses, with the same kernels; filling the input is not timed.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edge_fmnist.errors import InterpreterError
from edge_fmnist.model.registry import read_model
from edge_fmnist.subprocesses import last_line, module_command

MODULE = "ai_edge_litert.tools.benchmark_litert_model"
TIMEOUT = 120.0
# The tool's names of the figures.
TIMES = {"p50": "median", "min": "min", "max": "max"}


def measure(model: str, calls: int, warm_up: int, threads: int) -> dict[str, Any]:
    """Return the times of the tool as plain values: ``{calls, threads, p50_us, min_us, max_us}``, in steps of 10 µs.

    Raises:
        ModelNotFoundError: neither a shipped model nor a file.
        InterpreterError: the tool is not installed or failed.
    """
    with TemporaryDirectory(prefix="edge-fmnist-litert-") as folder:
        path, result = Path(folder) / "model.tflite", Path(folder) / "result.json"
        path.write_bytes(read_model(model).content)
        command = module_command(MODULE, f"--model={path}", f"--num_runs={calls}", f"--warmup_runs={warm_up}")
        command += [f"--num_threads={threads}", f"--result_json={result}"]
        try:
            subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=True)  # noqa: S603
            found = json.loads(result.read_text("utf-8"))["latency"]
            times = {f"{ours}_us": round(found[f"{theirs}_ms"] * 1000) for ours, theirs in TIMES.items()}
        except (subprocess.SubprocessError, OSError, ValueError, KeyError) as error:
            reason = last_line(getattr(error, "stderr", None) or str(error))
            raise InterpreterError(
                f"litert-benchmark cannot be used ({reason}); it was tested with ai-edge-litert 2.3"
            ) from error
    return {"calls": calls, "threads": threads, **times}
