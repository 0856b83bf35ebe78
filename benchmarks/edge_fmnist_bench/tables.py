"""A result document as tables, for the terminal and for Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from edge_fmnist.cli import console
from edge_fmnist.errors import printable
from edge_fmnist_bench import baseline as baselines
from edge_fmnist_bench import gate as gates
from edge_fmnist_bench.document import Document
from edge_fmnist_bench.frame import STAGES
from edge_fmnist_bench.gate import GateRow

NOTHING = "-"


class ResultTable(NamedTuple):
    """A table of text; the first ``text_columns`` columns are words, the others numbers."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    text_columns: int = 1


def show(table: ResultTable, *, on_stderr: bool = False) -> None:
    """Print a table on standard output, or on standard error."""
    console.show_table(table.title, table.columns, table.rows, numbers_from=table.text_columns, stderr=on_stderr)


def tables(document: Document) -> list[ResultTable]:
    """Return the tables of a result that have rows."""
    makers = (summary, latency, ratios, throughput, frame, live, profile)
    return [_without_empty_columns(table) for table in (make(document) for make in makers) if table.rows]


def _without_empty_columns(table: ResultTable) -> ResultTable:
    """Return a table without the number columns that have no value."""
    kept = [
        index
        for index in range(len(table.columns))
        if index < table.text_columns or any(row[index] != NOTHING for row in table.rows)
    ]
    rows = [[row[index] for index in kept] for row in table.rows]
    return table._replace(columns=[table.columns[index] for index in kept], rows=rows)


def summary(document: Document) -> ResultTable:
    """Return file size, accuracy, memory, start-up time or error of each variant."""
    rows = [
        [
            variant["title"] if variant["error"] is None else f"{variant['title']}: {variant['error']}",
            variant["device"],
            f"{variant['file_bytes']:,}" if variant["file_bytes"] is not None else NOTHING,
            f"{variant['accuracy']['top1']:.2%}" if variant["accuracy"] else NOTHING,
            *_process(variant["process"]),
        ]
        for variant in document["variants"]
    ]
    columns = ["variant", "device", "file bytes", "top-1", "peak MB", "first label ms"]
    return ResultTable("Variants; memory and first label in a separate process", columns, rows, text_columns=2)


def _process(process: dict[str, Any] | None) -> tuple[str, str]:
    if process is None:
        return NOTHING, NOTHING
    return f"{process['peak_bytes'] / 1e6:,.0f}", f"{statistics.median(process['first_label_ms']):,.0f}"


def latency(document: Document) -> ResultTable:
    """Return the time of one image for each variant."""
    protocol = document["protocol"]
    keys = [f"p{percentile:g}_us" for percentile in protocol["percentiles"]]
    rows = [
        [
            variant["title"],
            *(_microseconds(variant["single_stream"], key) for key in ("first_us", *keys, "max_us")),
            _microseconds(variant["paced"], "p50_us"),
        ]
        for variant in document["variants"]
        if variant["single_stream"] or variant["paced"]
    ]
    headings = ["first", *(key.removesuffix("_us") for key in keys), "max", f"p50 at {protocol['paced']['hertz']:g} Hz"]
    title = f"One image at a time, {protocol['single_stream']['threads']} thread, microseconds"
    return ResultTable(title, ["variant", *headings], rows)


def _microseconds(measured: dict[str, Any] | None, key: str) -> str:
    if not measured or key not in measured:
        return NOTHING
    return f"{measured[key]:,.1f}" if measured[key] < 100 else f"{measured[key]:,.0f}"


def ratios(document: Document) -> ResultTable:
    """Return the time of each variant relative to the reference."""
    titles = {variant["name"]: variant["title"] for variant in document["variants"]}
    rows = [
        [titles[ratio["of"]], _times(ratio["ratio"]), f"{_times(ratio['low'])} to {_times(ratio['high'])}"]
        for ratio in document["ratios"]
    ]
    confidence = document["protocol"]["bootstrap"]["confidence"]
    reference = titles.get(document["reference"], NOTHING)
    return ResultTable(
        f"Time relative to {reference}, measured in turns", ["variant", "ratio", f"{confidence:.0%}"], rows
    )


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.1f}" if ratio >= 10 else f"{ratio:.2f}"


def throughput(document: Document) -> ResultTable:
    """Return images per second for each batch size and number of threads."""
    found = {
        (variant["title"], point["threads"], point["batch"]): f"{point['images_per_second']:,.0f}"
        for variant in document["variants"]
        if variant["offline"]
        for point in variant["offline"]["points"]
    }
    batches = sorted({batch for _, _, batch in found})
    lines = dict.fromkeys((title, threads) for title, threads, _ in found)
    rows = [
        [title, str(threads), *(found.get((title, threads, batch), NOTHING) for batch in batches)]
        for title, threads in lines
    ]
    return ResultTable("Images per second", ["variant", "threads", *(f"batch {batch}" for batch in batches)], rows)


def frame(document: Document) -> ResultTable:
    """Return the time of each stage from a frame to a label."""
    found = document["frame"]
    ways = {"following": "tracking the frame before", "alone": "each frame alone"}
    rows = [
        [title, *(f"{found[way][stage]['p50_us'] / 1000:.2f}" for stage in STAGES)]
        + [f"{found[way]['total'][key] / 1000:.2f}" for key in ("p50_us", "max_us")]
        for way, title in ways.items()
        if found and found[way]
    ]
    title = f"A frame of {found['size'][0]} x {found['size'][1]} to a label ({found['model']})" if found else ""
    return ResultTable(title, ["", "preprocess ms", "classify ms", "smooth ms", "total ms", "max ms"], rows)


def live(document: Document) -> ResultTable:
    """Return the frames per second of the live loop for each output."""
    found = document.get("live") or {"rates": []}
    rows = [
        [
            rate["output"],
            NOTHING if rate["frames_per_second"] is None else f"{rate['frames_per_second']:,.1f}",
            rate.get("problem") or str(rate["not_written"] or NOTHING),
        ]
        for rate in found["rates"]
    ]
    title = f"Live loop, frames of {found['size'][0]} x {found['size'][1]} ({found['model']})" if rows else ""
    return ResultTable(title, ["output", "frames per second", "not written, or problem"], rows)


def profile(document: Document) -> ResultTable:
    """Return time, multiply-accumulates and share of each operator."""
    found = document.get("profile") or {"layers": []}
    total = sum(layer["time_us"] or 0.0 for layer in found["layers"]) or 1.0
    rows = [
        [
            str(layer["index"]),
            layer["operator"],
            f"{layer['macs']:,}" if layer["macs"] is not None else NOTHING,
            f"{layer['time_us']:.1f}" if layer["time_us"] is not None else NOTHING,
            f"{(layer['time_us'] or 0.0) / total:.0%}",
        ]
        for layer in found["layers"]
    ]
    title = f"Profile by operator, {found['interpreter']}, {found['threads']} thread" if rows else ""
    return ResultTable(title, ["", "operator", "MACs", "µs", "share"], rows, text_columns=2)


def gate(rows: Sequence[GateRow]) -> ResultTable:
    """Return what the gate compared."""
    cells = [[row.metric, row.status, row.baseline, row.measured, row.note] for row in rows]
    return ResultTable(gates.verdict(list(rows)), ["metric", "", "baseline", "measured", "note"], cells, text_columns=5)


def instructions(counts: Document) -> ResultTable:
    """Return the instruction counts of the stages of a frame."""
    found = counts["instructions"]
    rows = [[stage, f"{count:,}", f"{count / found['frame']:.1%}"] for stage, count in found.items()]
    width, height = counts["size"]
    title = f"Instructions for a frame of {width} x {height}, model {counts['model']}"
    return ResultTable(title, ["stage", "instructions", "share"], rows)


def headline(document: Document) -> str:
    """Return one line on model and machine."""
    model, machine = document["model"], document["machine"]
    macs = f", {model['macs'] / 1e6:.1f} M MACs" if model["macs"] else ""
    parameters = f", {model['parameters']:,} parameters" if model["parameters"] else ""
    clock = f", {machine['governor']}" if machine["governor"] else ""
    return (
        f"{printable(model['name'])} ({model['bytes']:,} bytes{parameters}{macs}, SHA-256 {model['sha256'][:12]}) on "
        f"{machine['board'] or machine['cpu']}, {machine['usable_cores']} cores, {machine['feature']}{clock}"
    )


def details(document: Document) -> str:
    """Return one line on date, versions, commit and state of the machine."""
    state = document["machine"]["state"]["before"]
    throttled = None if state["throttled"] is None else ", ".join(state["throttled"]) or "no"
    shown = {"load": state["load"], "MHz": state["megahertz"], "°C": state["celsius"], "throttled": throttled}
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    states = ", ".join(f"{name} {value}" for name, value in shown.items() if value is not None)
    revision, dirty, _ = (document["commit"] or "unknown").partition("-dirty")
    return f"{document['created']}, {versions}, commit {revision[:12]}{dirty}; {states}"


def notes(document: Document) -> list[str]:
    """Return what a reader needs to know about the figures: interruption, missing data, failed validity checks."""
    lines = []
    if not document["complete"]:
        lines.append("Incomplete: interrupted; the result holds what was measured before.")
    if (found := document["frame"]) and not (found["following"] or found["alone"]):
        width, height = found["size"]
        lines.append(
            f"Frame to label was not measured: no garment was found in {found['frames']} frames of {width} x {height}."
        )
    if document["data"] is None:
        reason = document["model"].get("no_accuracy") or "no data set was found (see `edge-fmnist data`)"
        lines.append(f"Accuracy was not measured: {reason}.")
    elif not document["data"]["fashion_mnist"]:
        lines.append("Accuracy was measured on a data set other than Fashion-MNIST.")
    if found := document.get("litert_benchmark"):
        lines.append(
            f"LiteRT's own benchmark tool: p50 {found['p50_us']:,} µs, min {found['min_us']:,} µs, "
            f"{found['threads']} thread, in its own process, in steps of 10 µs."
        )
    if found := document.get("profile"):
        lines.append(f"Profile: {found['method']}")
        lines.append(
            f"Profile: whole model {found['whole_us']:.1f} µs without profiling, operators {found['sum_us']:.1f} µs."
        )
    return [*lines, *(f"Warning: {mark}." for mark in document["marks"])]


def sentence(document: Document) -> str:
    """Return the result in one sentence: model, p50, ratio to float32, top-1, size."""
    figures = figures_of(document)
    texts = {
        "p50_us": "p50 {:,.1f} µs",
        "speedup": "{:.2f} times as fast as float32",
        "top1": "top-1 {:.2%}",
        "bytes": "{:,} bytes",
    }
    parts = [text.format(figures[name]) for name, text in texts.items() if figures[name] is not None]
    return f"{printable(document['model']['name'])}: {', '.join(parts)}."


def figures_of(document: Document) -> dict[str, Any]:
    """Return p50_us, speedup over float32, top1, bytes and peak_bytes; None for what was not measured."""
    variants = {variant["name"]: variant for variant in document["variants"]}
    reference = variants.get(document["reference"], {})
    single, process = (reference.get(key) for key in ("single_stream", "process"))
    ratio = baselines.speedup(document)
    return {
        "p50_us": single["p50_us"] if single else None,
        "speedup": ratio[0] if ratio else None,
        "top1": baselines.accuracy(document),
        "bytes": document["model"]["bytes"],
        "peak_bytes": process["peak_bytes"] if process else None,
    }


def markdown_table(table: ResultTable) -> str:
    """Return a table in GitHub's Markdown."""
    # Not needed to measure.
    from edge_fmnist_export.report import markdown

    return markdown.table(table.columns, table.rows, text_columns=table.text_columns)


def markdown(document: Document, rows: Sequence[GateRow] = ()) -> str:
    """Return a result as Markdown: model and machine, tables, the gate's rows, notes, and the result in a sentence."""
    parts = [f"## edge-fmnist bench\n\n{headline(document)}\n\n{details(document)}"]
    found = [*tables(document), *([gate(rows)] if rows else [])]
    parts += [f"### {table.title}\n\n{markdown_table(table)}" for table in found]
    if lines := [*notes(document), *(f"Warning: {line}." for line in gates.warnings(list(rows)))]:
        parts.append("\n".join(f"- {line}" for line in lines))
    return "\n\n".join([*parts, sentence(document)]) + "\n"
