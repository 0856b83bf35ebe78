"""A result document as tables, for the terminal and for Markdown alike."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from edge_fmnist_bench.document import Document
from edge_fmnist_bench.gate import GateRow

NOTHING = "-"


class Table(NamedTuple):
    """A table of text; the first ``text_columns`` columns are words, the others numbers."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    text_columns: int = 1


def tables(document: Document) -> list[Table]:
    """Return the tables of a result that have rows."""
    made = [summary(document), latency(document), ratios(document), throughput(document), frame(document)]
    return [_without_empty_columns(table) for table in made if table.rows]


def _without_empty_columns(table: Table) -> Table:
    """Return a table without the columns of figures that nothing was measured for."""
    kept = [
        index
        for index in range(len(table.columns))
        if index < table.text_columns or any(row[index] != NOTHING for row in table.rows)
    ]
    rows = [[row[index] for index in kept] for row in table.rows]
    return table._replace(columns=[table.columns[index] for index in kept], rows=rows)


def summary(document: Document) -> Table:
    """Return what each variant is: file, accuracy, memory, start-up, and why it failed."""
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
    return Table("Variants; memory and first label are those of a process of its own", columns, rows, text_columns=2)


def _process(process: dict[str, Any] | None) -> tuple[str, str]:
    if process is None:
        return NOTHING, NOTHING
    return f"{process['peak_bytes'] / 1e6:,.0f}", f"{statistics.median(process['first_label_ms']):,.0f}"


def latency(document: Document) -> Table:
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
    return Table(title, ["variant", *headings], rows)


def ratios(document: Document) -> Table:
    """Return the time of each variant to that of the reference."""
    titles = {variant["name"]: variant["title"] for variant in document["variants"]}
    rows = [
        [titles[ratio["of"]], _times(ratio["ratio"]), f"{_times(ratio['low'])} to {_times(ratio['high'])}"]
        for ratio in document["ratios"]
    ]
    confidence = document["protocol"]["bootstrap"]["confidence"]
    reference = titles.get(document["reference"], NOTHING)
    return Table(f"Time to that of {reference}, measured in turns", ["variant", "ratio", f"{confidence:.0%}"], rows)


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.1f}" if ratio >= 10 else f"{ratio:.2f}"


def throughput(document: Document) -> Table:
    """Return images a second for each batch size and number of threads."""
    batches = sorted({point["batch"] for variant in document["variants"] for point in _points(variant)})
    threads = sorted({point["threads"] for variant in document["variants"] for point in _points(variant)})
    rows = [
        [variant["title"], str(count), *(_rate(variant, count, batch) for batch in batches)]
        for variant in document["variants"]
        for count in threads
        if any(point["threads"] == count for point in _points(variant))
    ]
    return Table("Images a second", ["variant", "threads", *(f"batch {batch}" for batch in batches)], rows)


def _points(variant: dict[str, Any]) -> list[dict[str, Any]]:
    return variant["offline"]["points"] if variant["offline"] else []


def _rate(variant: dict[str, Any], threads: int, batch: int) -> str:
    for point in _points(variant):
        if (point["threads"], point["batch"]) == (threads, batch):
            return f"{point['images_per_second']:,.0f}"
    return NOTHING


def frame(document: Document) -> Table:
    """Return the time of each stage from a frame to a label."""
    found = document["frame"]
    ways = {"following": "following the frame before", "alone": "each frame alone"}
    rows = [
        [title, *(f"{found[way][stage]['p50_us'] / 1000:.2f}" for stage in ("preprocess", "classify", "smooth"))]
        + [f"{found[way]['total'][key] / 1000:.2f}" for key in ("p50_us", "max_us")]
        for way, title in ways.items()
        if found and found[way]
    ]
    title = f"A frame of {found['size'][0]} x {found['size'][1]} to a label ({found['model']})" if found else ""
    return Table(title, ["", "preprocess ms", "classify ms", "smooth ms", "total ms", "max ms"], rows)


def gate(rows: Sequence[GateRow]) -> Table:
    """Return what the gate compared, and what moved."""
    moved = sum(not row.passed for row in rows)
    title = f"Gate: closed, {moved} of {len(rows)} moved or missing" if moved else "Gate: open"
    cells = [[row.metric, row.status, row.baseline, row.measured, row.note] for row in rows]
    return Table(title, ["metric", "", "baseline", "measured", "note"], cells, text_columns=5)


def headline(document: Document) -> str:
    """Return one line that says what was measured where."""
    model, machine = document["model"], document["machine"]
    macs = f", {model['macs'] / 1e6:.1f} M MACs" if model["macs"] else ""
    parameters = f", {model['parameters']:,} parameters" if model["parameters"] else ""
    clock = f", {machine['governor']}" if machine["governor"] else ""
    return (
        f"{model['name']} ({model['bytes']:,} bytes{parameters}{macs}, SHA-256 {model['sha256'][:12]}) on "
        f"{machine['board'] or machine['cpu']}, {machine['usable_cores']} cores, {machine['feature']}{clock}"
    )


def details(document: Document) -> str:
    """Return one line of when, with what and in what state of the machine."""
    state = document["machine"]["state"]["before"]
    told = {
        "load": state["load"],
        "MHz": state["megahertz"],
        "°C": state["celsius"],
        "throttled": ", ".join(state["throttled"]) or "no" if state["throttled"] is not None else None,
    }
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    states = ", ".join(f"{name} {value}" for name, value in told.items() if value is not None)
    revision, dirty, _ = (document["commit"] or "unknown").partition("-dirty")
    return f"{document['created']}, {versions}, commit {revision[:12]}{dirty}; {states}"


def notes(document: Document) -> list[str]:
    """Return what a reader must know besides the figures: interruption, missing data, doubts."""
    lines = []
    if not document["complete"]:
        lines.append("Incomplete: interrupted; what is here was measured before.")
    if document["data"] is None:
        lines.append("Latency only: no data set was found, so accuracy is not measured (see `edge-fmnist data`).")
    elif not document["data"]["fashion_mnist"]:
        lines.append("Accuracy is that on another data set than Fashion-MNIST.")
    return [*lines, *(f"In doubt: {mark}." for mark in document["marks"])]


def _microseconds(measured: dict[str, Any] | None, key: str) -> str:
    if not measured or key not in measured:
        return NOTHING
    return f"{measured[key]:,.1f}" if measured[key] < 100 else f"{measured[key]:,.0f}"


def markdown_table(table: Table) -> str:
    """Return a table in GitHub's Markdown."""
    from edge_fmnist_export.report.markdown import table as written

    return written(table.columns, table.rows, table.text_columns)


def markdown(document: Document) -> str:
    """Return a result as Markdown: what was measured where, the tables, the doubts."""
    parts = [f"## edge-fmnist bench\n\n{headline(document)}\n\n{details(document)}"]
    parts += [f"### {table.title}\n\n{markdown_table(table)}" for table in tables(document)]
    if lines := notes(document):
        parts.append("\n".join(f"- {line}" for line in lines))
    return "\n\n".join(parts) + "\n"
