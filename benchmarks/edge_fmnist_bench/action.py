"""Files for github-action-benchmark, which draws figures over commits and warns when one gets worse.

https://github.com/benchmark-action/github-action-benchmark: its tools
``customSmallerIsBetter`` and ``customBiggerIsBetter`` each read a list of
``{name, unit, value, range, extra}``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_fmnist.files import write_json
from edge_fmnist_bench.document import Document

SMALLER, BIGGER = "smaller-is-better.json", "bigger-is-better.json"


def write(folder: Path, document: Document) -> None:
    """Write both files into a folder.

    Raises:
        OSError: the folder cannot be made or written to.
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
        # The reference over the other: int8 over float32 grows when int8 gets slower.
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
            where = f"batch {best['batch']}, {best['threads']} threads"
            name = f"{variant['name']}: offline throughput"
            entries.append({**_entry(name, "images/s", best["images_per_second"]), "extra": where})
    return entries


def _entry(name: str, unit: str, value: float, spread: str | None = None) -> dict[str, Any]:
    entry = {"name": name, "unit": unit, "value": value}
    return {**entry, "range": spread} if spread else entry
