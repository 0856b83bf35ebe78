"""Instruction counts by valgrind's callgrind, of each stage of a frame or of one inference.

Times depend on the machine and its load; the number of instructions hardly
does, so a change of a few percent shows on any machine. It is not a time:
instructions differ in cost, and callgrind emulates a processor without
AVX-512 and AMX, so that LiteRT runs its AVX2 kernels.

Method: https://valgrind.org/docs/manual/cl-manual.html, ``--dump-before``.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edge_fmnist.cli import console
from edge_fmnist.data.files import write_json
from edge_fmnist.errors import CheckError, DataError, UsageError
from edge_fmnist.model.registry import read_model
from edge_fmnist.subprocesses import last_line, module_command
from edge_fmnist_bench import gate as gates
from edge_fmnist_bench import machine, tables
from edge_fmnist_bench.callgrind_target import MARK, PARTS
from edge_fmnist_bench.document import Document, read_schema
from edge_fmnist_bench.frame import frame_model
from edge_fmnist_bench.gate import GateRow

SCHEMA = "edge-fmnist-instructions/1"
STAGES = PARTS["frame"]
TOLERANCE = 0.05
# Of the frame: builds of one Python version differ by 6 % in `smooth`, which is 0.2 % of a frame.
NEGLIGIBLE = 0.001
# Largest usable count.
MOST = 2**63
FRAMES, CALLS = 10, 20
SIZE = (640, 480)
# callgrind is about fifty times slower than the processor.
TIMEOUT = 900.0
TOTALS = re.compile(r"^totals: (\d+)", re.MULTILINE)
# Counts of other versions are not comparable.
LIBRARIES = ("ai-edge-litert", "tflite-runtime", "numpy", "opencv-python", "opencv-python-headless")
# One thread, one order of sets.
ENVIRONMENT = {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def available() -> bool:
    """Return whether valgrind is installed."""
    return shutil.which("valgrind") is not None


def count_inference(model: str) -> int:
    """Return the number of instructions of one inference of a shipped model or file in the bare interpreter loop.

    Raises:
        UsageError: valgrind is not installed.
        CheckError: callgrind failed.
    """
    return _count("inference", model, CALLS)["inference"]


def count_frame(model: str) -> dict[str, int]:
    """Return the number of instructions of each stage of a frame, by the names in ``STAGES``.

    Raises:
        UsageError, CheckError: as :func:`count_inference`.
    """
    return _count("frame", model, FRAMES, *SIZE)


def _count(mode: str, model: str, calls: int, *more: int) -> dict[str, int]:
    if not available():
        raise UsageError("counting instructions needs valgrind, which is not installed: sudo apt install valgrind")
    parts = PARTS[mode]
    with TemporaryDirectory(prefix="edge-fmnist-callgrind-") as folder:
        file = Path(folder) / "callgrind"
        # Without pipes for a debugger, which would stay behind when it is killed.
        command = ["valgrind", "--vgdb=no", "--tool=callgrind", f"--callgrind-out-file={file}", f"--dump-before={MARK}"]
        program = module_command("edge_fmnist_bench.callgrind_target", mode, model, *map(str, (calls, *more)))
        try:
            done = subprocess.run(  # noqa: S603
                [*command, *program],
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
                check=False,
                env={**os.environ, **ENVIRONMENT},
            )
        except subprocess.TimeoutExpired as error:
            raise CheckError(f"callgrind did not finish within {TIMEOUT:.0f} seconds") from error
        if done.returncode:
            raise CheckError(f"callgrind ended with exit code {done.returncode}: {last_line(done.stderr)}")
        # The first dump is the start of the program, before the first mark.
        return {part: round(_total(file, number) / calls) for number, part in enumerate(parts, start=2)}


def _total(file: Path, number: int) -> int:
    dump = file.with_name(f"{file.name}.{number}")
    match = TOTALS.search(dump.read_text("utf-8", errors="replace")) if dump.is_file() else None
    if match is None:
        raise CheckError(f"callgrind wrote no counts at call {number} of {MARK}")
    return int(match[1])


def document(model: str, instructions: dict[str, int]) -> Document:
    """Return the counts of a frame as plain values, with all that they depend on."""
    return {
        "schema": SCHEMA,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "kind": kind(),
        "commit": machine.commit(),
        "model": model,
        "size": list(SIZE),
        "frames": FRAMES,
        "instructions": instructions,
    }


def kind() -> dict[str, str]:
    """Return what the counts depend on besides this project: architecture, Python, libraries."""
    versions = machine.versions()
    python = ".".join(versions["python"].split(".")[:2])
    libraries = {name: versions[name] for name in LIBRARIES if name in versions}
    return {"architecture": machine.describe()["architecture"], "python": python, **libraries}


def read(path: Path) -> Document:
    """Read the counts of a frame.

    Raises:
        SourceError: the file does not exist.
        DataError: it does not contain usable counts.
    """
    missing = f"no such file; write it with --instructions --gate {path} --update-baseline"
    found = read_schema(path, SCHEMA, ("counts", "no counts of `edge-fmnist bench --instructions`"), missing)
    counts = found.get("instructions")
    usable = isinstance(counts, dict) and all(type(count) is int and 0 < count < MOST for count in counts.values())
    if not usable or not isinstance(found.get("kind"), dict):
        raise DataError(f"{path}: expected kind and instructions, with positive integers, got {counts!r}")
    return found


def compare(counts: Document, baseline: Document) -> list[GateRow]:
    """Compare counts with a baseline: within 5 % in both directions, since a sudden gain needs an explanation too.

    A change of at most 0.1 % of the frame is always within the limits. Counts of other libraries, another Python,
    another architecture or other frames are not compared.
    """
    here, there = (
        {**found["kind"], "size": found.get("size"), "frames": found.get("frames")} for found in (counts, baseline)
    )
    differences = [
        f"{key} {there.get(key, 'none')} in the baseline, {here.get(key, 'none')} here"
        for key in sorted({*here, *there})
        if here.get(key) != there.get(key)
    ]
    note = f"{'; '.join(differences)}: --update-baseline" if differences else ""
    negligible = NEGLIGIBLE * counts["instructions"]["frame"]
    before = baseline["instructions"]
    return [_row(stage, counts["instructions"][stage], before.get(stage), negligible, note) for stage in STAGES]


def _row(stage: str, value: int, before: int | None, negligible: float, note: str) -> GateRow:
    if before is None:
        return GateRow(stage, "missing", "-", f"{value:,}", "not in the baseline: --update-baseline")
    change, limit = value / before - 1, max(TOLERANCE, negligible / before)
    measured = f"{value:,} ({change:+.2%})"
    limits = f"{before:,}, within {limit:.0%}"
    if note:
        return GateRow(stage, "not compared", limits, measured, note)
    return GateRow(stage, "same" if abs(change) <= limit else "moved", limits, measured)


def _show(counts: dict[str, Any], rows: list[GateRow], *, json: bool) -> None:
    if json:
        console.emit_json(counts)
    else:
        tables.show(tables.instructions(counts))
    if rows:
        tables.show(tables.gate(rows), on_stderr=json)
    width, height = SIZE
    total = counts["instructions"]["frame"]
    line = f"{counts['model']}: {total:,} instructions for a frame of {width} x {height}."
    (console.say if json else functools.partial(print, flush=True))(line)


def command(model: str, *, gate: Path | None, update: bool, output: Path | None, json: bool) -> int:
    """Run ``edge-fmnist bench --instructions`` and return the exit code.

    Frames use the camera model instead of the default. ``update`` writes the counts to ``gate`` instead of comparing
    them.

    Raises:
        UsageError: valgrind is not installed.
        CheckError: callgrind failed.
        SourceError: the model or the baseline does not exist.
        DataError: the baseline is not usable.
    """
    # Before a minute is spent.
    read_model(model)
    # Also before an update, which replaces only a baseline.
    baseline = read(gate) if gate is not None and (not update or gate.exists()) else None
    name = frame_model(model)
    if baseline is not None and not update:
        before = str(baseline.get("model"))
        if Path(before).name != Path(name).name:
            raise DataError(
                f"{gate}: is the baseline of the model {before!r}, not of {name!r}; pass its own baseline to --gate"
            )
    console.say("bench: counting instructions with valgrind, which takes a minute")
    counts = document(name, count_frame(name))
    for path in (output, gate if update else None):
        if path is not None:
            write_json(path, counts)
            console.say(f"Wrote {path}")
    rows = [] if baseline is None or update else compare(counts, baseline)
    for line in gates.warnings(rows):
        console.warn(line)
    with console.reader_may_leave():
        _show(counts, rows, json=json)
    return 0 if all(row.passed for row in rows) else gates.EXIT_CODE
