"""Files for GitHub Actions: step summary, outputs, and the input of github-action-benchmark.

https://github.com/benchmark-action/github-action-benchmark draws figures over commits and warns when one gets worse:
its tools ``customSmallerIsBetter`` and ``customBiggerIsBetter`` read a list of ``{name, unit, value, range, extra}``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_fmnist.cli import console
from edge_fmnist.data.files import advice, as_utf8, write_json
from edge_fmnist.errors import UsageError
from edge_fmnist_bench import tables
from edge_fmnist_bench.document import Document
from edge_fmnist_bench.gate import GateRow

SMALLER, BIGGER = "smaller-is-better.json", "bigger-is-better.json"
SUMMARY_VARIABLE, OUTPUT_VARIABLE = "GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"


def report(document: Document, rows: Sequence[GateRow]) -> None:
    """Append the result to the step summary and the figures to the step outputs, if this is a step of GitHub Actions.

    Outputs: ``p50-us``, ``speedup``, ``top1``, ``bytes``, ``peak-bytes`` (empty if not measured), and ``gate``:
    ``passed``, ``failed`` or empty. A file that cannot be written is a warning: the measurement is not lost for it.
    """
    gate = ("passed" if all(row.passed for row in rows) else "failed") if rows else None
    outputs = {**tables.figures_of(document), "gate": gate}
    lines = [f"{name.replace('_', '-')}={'' if value is None else value}\n" for name, value in outputs.items()]
    for variable, text in ((SUMMARY_VARIABLE, tables.markdown(document, rows)), (OUTPUT_VARIABLE, "".join(lines))):
        if path := os.environ.get(variable):
            try:
                with Path(path).open("a", encoding="utf-8") as stream:
                    stream.write(as_utf8(text))
            except OSError as error:
                console.warn(f"{variable}: {path}: {advice(error, Path(path))}")


def check_replaceable(folder: Path) -> None:
    """Check that the files of :func:`write` replace none but earlier ones: lists of entries.

    Raises:
        UsageError: a file of somebody else has one of the names.
    """
    for path in (folder / SMALLER, folder / BIGGER):
        try:
            entries = json.loads(path.read_text("utf-8"))
            if not all(isinstance(entry, dict) and "value" in entry for entry in entries):
                raise TypeError
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, RecursionError, TypeError, ValueError) as error:
            raise UsageError(
                f"{path}: holds something else than results; choose another folder", setting="--action-benchmark"
            ) from error


def write(folder: Path, document: Document) -> None:
    """Write the files of github-action-benchmark into a folder.

    Raises:
        OSError: a file cannot be written.
    """
    write_json(folder / SMALLER, smaller_is_better(document))
    write_json(folder / BIGGER, bigger_is_better(document))


def smaller_is_better(document: Document) -> list[dict[str, Any]]:
    """Return latency, ratios, size and memory."""
    entries = [_entry("size of the model file", "bytes", document["model"]["bytes"])]
    for variant in document["variants"]:
        if single := variant["single_stream"]:
            spread = f"p90 {single['p90_us']:g}" if "p90_us" in single else None
            entries.append(_entry(f"{variant['name']}: single-stream p50", "µs", single["p50_us"], spread))
        if alone := variant["process"]:
            entries.append(_entry(f"{variant['name']}: peak memory", "bytes", alone["peak_bytes"]))
    for ratio in document["ratios"]:
        # The inverse: int8 over float32 grows when int8 gets slower.
        interval = f"{1 / ratio['high']:.3f} to {1 / ratio['low']:.3f}"
        name = f"time of {ratio['to']} to {ratio['of']}"
        entries.append(_entry(name, "ratio", round(1 / ratio["ratio"], 4), interval))
    if (frame := document["frame"]) and frame["following"]:
        entries.append(_entry("frame to label: p50", "µs", frame["following"]["total"]["p50_us"]))
    return entries


def bigger_is_better(document: Document) -> list[dict[str, Any]]:
    """Return accuracy and throughput."""
    entries = []
    for variant in document["variants"]:
        if variant["accuracy"]:
            entries.append(_entry(f"{variant['name']}: top-1", "%", round(variant["accuracy"]["top1"] * 100, 3)))
        if variant["offline"]:
            best = variant["offline"]["best"]
            entry = _entry(f"{variant['name']}: offline throughput", "images/s", best["images_per_second"])
            entries.append({**entry, "extra": f"batch {best['batch']}, {best['threads']} threads"})
    return entries


def _entry(name: str, unit: str, value: float, spread: str | None = None) -> dict[str, Any]:
    entry = {"name": name, "unit": unit, "value": value}
    return {**entry, "range": spread} if spread else entry
