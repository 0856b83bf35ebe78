"""``edge-fmnist bench --instructions``: count, show, hold to a baseline."""

from __future__ import annotations

from pathlib import Path

from edge_fmnist.cli import console
from edge_fmnist_bench import gate as gates
from edge_fmnist_bench import instructions, tables
from edge_fmnist_bench.instructions import Document


def run(model: str, *, gate: Path | None, update: bool, output: Path | None, json: bool) -> int:
    """Count the instructions of each stage and return the exit code.

    Args:
        model: as for :func:`instructions.count`.
        gate: counts to hold these to.
        update: write them into ``gate`` instead.
        output: write them to this file too.
        json: print them on standard output.

    Raises:
        UsageError: valgrind is not installed.
        CheckError: callgrind failed.
        SourceError: there is no baseline.
        DataError: the baseline is none.
    """
    # Before a minute is spent.
    baseline = instructions.read(gate) if gate is not None and not update else None
    console.say("bench: counting instructions below valgrind, which takes a minute")
    counts = instructions.document(instructions.count(model))
    for path in (output, gate if update else None):
        if path is not None:
            instructions.write(path, counts)
            console.say(f"Wrote {path}")
    rows = [] if baseline is None else instructions.compare(counts, baseline)
    if json:
        console.emit_json(counts)
    else:
        _show(counts)
    if rows:
        table = tables.gate(rows)
        console.show_table(table.title, table.columns, table.rows, numbers_from=table.text_columns)
    return 0 if all(row.passed for row in rows) else gates.EXIT_CODE


def _show(counts: Document) -> None:
    found = counts["instructions"]
    rows = [(stage, f"{count:,}", f"{count / found['frame']:.1%}") for stage, count in found.items()]
    width, height = counts["size"]
    title = f"Instructions for one frame of {width} x {height}, model {counts['model']}"
    console.show_table(title, ["stage", "instructions", "share"], rows)
