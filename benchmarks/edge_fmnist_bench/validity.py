"""Validity checks of a result: a busy or throttled machine, a falling clock, steal time, scattered samples."""

from __future__ import annotations

from edge_fmnist_bench.document import Document
from edge_fmnist_bench.protocol import Validity


def marks(document: Document, limits: Validity) -> list[str]:
    """Return the failed validity checks of a result, one sentence each; what is unknown passes."""
    cores = document["machine"]["usable_cores"]
    before, after = document["machine"]["state"]["before"], document["machine"]["state"]["after"] or {}
    found = []
    if (load := before["load"]) is not None and load / cores > limits.load:
        found.append(f"busy machine: the load average was {load:g} on {cores} usable cores before the start")
    first, last = before.get("megahertz"), after.get("megahertz")
    if first and last and last / first < limits.slowdown:
        found.append(f"the clock fell from {first:g} to {last:g} MHz during the run")
    if flags := dict.fromkeys([*(before.get("throttled") or []), *(after.get("throttled") or [])]):
        found.append(f"throttled processor: {', '.join(flags)}")
    begun, ended = before.get("ticks"), after.get("ticks")
    if begun and ended and ended["all"] > begun["all"]:
        share = (ended["stolen"] - begun["stolen"]) / (ended["all"] - begun["all"])
        if share > limits.steal:
            found.append(f"the host of this virtual machine took {share:.0%} of its time")
    for variant in document["variants"]:
        single = variant["single_stream"]
        if variant["name"] == document["reference"] and single and single.get("p90_us"):
            spread = single["p90_us"] / single["p50_us"]
            if spread > limits.spread:
                found.append(f"scattered samples: p90 of {variant['name']} is {spread:.2f} times its p50")
    return found
