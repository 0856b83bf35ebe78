"""Reasons to doubt a result: a busy or throttled machine, a clock that fell, samples that scatter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edge_fmnist_bench.document import Document
from edge_fmnist_bench.protocol import Doubt


def marks(document: Document, limits: Doubt) -> list[str]:
    """Return the reasons to doubt a result, one sentence each; empty when there are none."""
    machine = document["machine"]
    before, after = machine["state"]["before"], machine["state"]["after"] or {}
    return [
        *_load(before, machine["usable_cores"], limits.load),
        *_clock(before, after, limits.slowdown),
        *_throttling(before, after),
        *_steal(before, after, limits.steal),
        *_spread(document, limits.spread),
    ]


def _load(before: dict[str, Any], cores: int, limit: float) -> Iterator[str]:
    load = before["load"]
    if load is not None and load / cores > limit:
        yield f"busy machine: the load average was {load:g} on {cores} usable cores before the start"


def _clock(before: dict[str, Any], after: dict[str, Any], limit: float) -> Iterator[str]:
    first, last = before.get("megahertz"), after.get("megahertz")
    if first and last and last / first < limit:
        yield f"the clock fell from {first:g} to {last:g} MHz during the run"


def _throttling(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    flags = dict.fromkeys([*(before.get("throttled") or []), *(after.get("throttled") or [])])
    if flags:
        yield f"throttled processor: {', '.join(flags)}"


def _steal(before: dict[str, Any], after: dict[str, Any], limit: float) -> Iterator[str]:
    first, last = before.get("ticks"), after.get("ticks")
    if not first or not last or last["all"] <= first["all"]:
        return
    share = (last["stolen"] - first["stolen"]) / (last["all"] - first["all"])
    if share > limit:
        yield f"the host of this virtual machine took {share:.0%} of its time"


def _spread(document: Document, limit: float) -> Iterator[str]:
    for variant in document["variants"]:
        single = variant["single_stream"]
        if variant["name"] != document["reference"] or not single or not single.get("p90_us"):
            continue
        spread = single["p90_us"] / single["p50_us"]
        if spread > limit:
            yield f"samples scatter: p90 of {variant['name']} is {spread:.2f} times its p50"
