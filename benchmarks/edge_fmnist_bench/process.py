"""Memory and start-up time: each variant once more in a separate process."""

from __future__ import annotations

import json
import pickle
import subprocess
import time
from typing import Any

from edge_fmnist.subprocesses import module_command
from edge_fmnist_bench.protocol import SeparateProcess
from edge_fmnist_bench.variants.base import BenchmarkVariant, VariantError

TIMEOUT = 300.0


def measure(variant: BenchmarkVariant, settings: SeparateProcess) -> dict[str, Any]:
    """Return peak memory and the times from process start to the first label, as plain values.

    Raises:
        VariantError: the process failed, or the variant cannot be pickled.
    """
    try:
        content = pickle.dumps(variant)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise VariantError(f"cannot run in a separate process ({error})") from error
    peaks, times = [], []
    started = time.perf_counter()
    for _ in range(settings.repeats):
        milliseconds, peak = _once(content)
        times.append(round(milliseconds, 1))
        peaks.append(peak)
        if time.perf_counter() - started > settings.budget_seconds:
            break
    return {"peak_bytes": max(peaks), "first_label_ms": times}


def _once(content: bytes) -> tuple[float, int]:
    """Return the milliseconds to the first label and the peak memory in bytes of one process."""
    started = time.perf_counter()
    with subprocess.Popen(  # noqa: S603 - the same Python and a module of ours
        module_command("edge_fmnist_bench.first_label"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        assert child.stdin is not None  # noqa: S101 - for the type checker
        assert child.stdout is not None  # noqa: S101
        try:
            child.stdin.write(content)
            child.stdin.close()
            label = child.stdout.readline()
            milliseconds = (time.perf_counter() - started) * 1000
            rest = child.stdout.read()
            child.wait(TIMEOUT)
        except BrokenPipeError:
            label, rest, milliseconds = b"", b"", 0.0
        finally:
            if child.poll() is None:
                child.kill()
    if not label or child.returncode:
        raise VariantError(f"a separate process ended with exit code {child.returncode} and no label")
    return milliseconds, int(json.loads(rest)["peak_bytes"])
