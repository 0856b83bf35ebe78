"""Instructions that each stage of a frame takes, counted by valgrind's callgrind.

Times depend on the machine and on what else it does; the number of
instructions hardly does, so that a change of a few percent shows on any
machine. It is no time: instructions differ in what they cost, and callgrind
runs a processor without AVX-512 and AMX, so that LiteRT takes its AVX2 kernels.

Method: https://valgrind.org/docs/manual/cl-manual.html, ``--dump-before``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edge_fmnist.errors import CheckError, DataError, SourceError, UsageError
from edge_fmnist.files import write_json
from edge_fmnist_bench import machine
from edge_fmnist_bench.callgrind_target import MARK, STAGES
from edge_fmnist_bench.frame import frame_model
from edge_fmnist_bench.gate import GateRow

SCHEMA = "edge-fmnist-instructions/1"
TOLERANCE = 0.05
FRAMES = 10
SIZE = (640, 480)
# callgrind is about fifty times as slow as the processor.
TIMEOUT = 900.0
TOTALS = re.compile(r"^totals: (\d+)", re.MULTILINE)
# What the counts depend on: of other versions they are other counts.
LIBRARIES = ("ai-edge-litert", "tflite-runtime", "numpy", "opencv-python", "opencv-python-headless")
# One thread, one order of sets.
ENVIRONMENT = {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

Document = dict[str, Any]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True)
class Counted:
    """What was counted.

    Attributes:
        model: the model's name.
        frames: over how many frames.
        instructions: of each stage for one frame, by name, in the order of ``counted.STAGES``.
    """

    model: str
    frames: int
    instructions: dict[str, int]


def count(model: str, *, frames: int = FRAMES, run: Run = subprocess.run) -> Counted:
    """Count the instructions of each stage of a frame.

    Args:
        model: a shipped model's name, or a ``.tflite`` file; frames go to the camera's model where that is shipped.
        frames: how many frames of the drawn scene, at least 1.
        run: starts the process; as :func:`subprocess.run`.

    Raises:
        UsageError: valgrind is not installed, or ``frames`` below 1.
        CheckError: callgrind failed, or did not count what was to be counted.
    """
    if frames < 1:
        raise UsageError(f"expected at least 1 frame, got {frames}")
    if shutil.which("valgrind") is None:
        raise UsageError("counting instructions needs valgrind, which is not installed: sudo apt install valgrind")
    name = frame_model(model)
    with TemporaryDirectory(prefix="edge-fmnist-instructions-") as folder:
        file = Path(folder) / "callgrind"
        _run_callgrind(file, name, frames, run)
        totals = _totals(file)
    return Counted(name, frames, {stage: round(total / frames) for stage, total in zip(STAGES, totals, strict=True)})


def _run_callgrind(file: Path, model: str, frames: int, run: Run) -> None:
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={file}", f"--dump-before={MARK}"]
    program = [sys.executable, "-m", "edge_fmnist_bench.callgrind_target", model, *map(str, (frames, *SIZE))]
    environment = {**os.environ, **ENVIRONMENT}
    try:
        done = run([*command, *program], env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired as error:
        raise CheckError(f"callgrind did not end within {TIMEOUT:g} seconds; is the machine busy?") from error
    if done.returncode:
        last = " ".join(done.stderr.strip().splitlines()[-3:])
        raise CheckError(f"callgrind ended with exit code {done.returncode}: {last}")


def _totals(file: Path) -> list[int]:
    """Return the counts between the marks; the first dump is what came before them, the unnumbered what came after."""
    dumps = [file.with_name(f"{file.name}.{number}") for number in range(2, len(STAGES) + 2)]
    totals: list[int] = []
    for dump in dumps:
        match = TOTALS.search(dump.read_text("utf-8", errors="replace")) if dump.is_file() else None
        if match is None:
            raise CheckError(f"callgrind wrote no counts at {MARK}, call {len(totals) + 2}; its version may differ")
        totals.append(int(match[1]))
    return totals


def document(counted: Counted) -> Document:
    """Return the counts with what they depend on, as plain values for JSON."""
    return {
        "schema": SCHEMA,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "kind": kind(),
        "commit": machine.commit(),
        "model": counted.model,
        "size": list(SIZE),
        "frames": counted.frames,
        "instructions": counted.instructions,
    }


def kind() -> dict[str, str]:
    """Return what the counts depend on besides this project: architecture, Python, libraries."""
    versions = machine.versions()
    python = ".".join(versions["python"].split(".")[:2])
    libraries = {name: versions[name] for name in LIBRARIES if name in versions}
    return {"architecture": machine.describe()["architecture"], "python": python, **libraries}


def write(path: Path, counts: Document) -> None:
    """Write counts to a file.

    Raises:
        OSError: the file cannot be written.
    """
    write_json(path, counts)


def read(path: Path) -> Document:
    """Read counts that :func:`write` wrote.

    Raises:
        SourceError: the file is not there.
        DataError: it holds no such counts.
    """
    if not path.is_file():
        raise SourceError(f"{path}: no such file; write it with --instructions --gate {path} --update-baseline")
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: no counts of `edge-fmnist bench --instructions` ({error})") from error
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA:
        raise DataError(f"{path}: expected counts of schema {SCHEMA!r}, got {schema!r}")
    return dict(found)


def compare(counts: Document, baseline: Document) -> list[GateRow]:
    """Hold counts to a baseline, 5 % up and down: a stage that is suddenly cheap is to be explained as well.

    Counts of other libraries, another Python or another architecture are not compared.
    """
    differences = [
        f"{key} {baseline['kind'].get(key, 'none')} then, {counts['kind'].get(key, 'none')} now"
        for key in sorted({*counts["kind"], *baseline["kind"]})
        if counts["kind"].get(key) != baseline["kind"].get(key)
    ]
    note = f"{'; '.join(differences)}: --update-baseline" if differences else ""
    return [_row(stage, counts["instructions"][stage], baseline["instructions"].get(stage), note) for stage in STAGES]


def _row(stage: str, value: int, before: int | None, note: str) -> GateRow:
    if before is None:
        return GateRow(stage, "missing", "-", f"{value:,}", "the baseline has no such stage: --update-baseline")
    change = value / before - 1
    measured = f"{value:,} ({change:+.2%})"
    limits = f"{before:,}, within {TOLERANCE:.0%}"
    if note:
        return GateRow(stage, "not compared", limits, measured, note)
    return GateRow(stage, "same" if abs(change) <= TOLERANCE else "moved", limits, measured)
