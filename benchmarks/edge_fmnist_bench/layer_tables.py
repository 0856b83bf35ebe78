"""A profile as a table of layers, for the terminal and in Markdown."""

from __future__ import annotations

from edge_fmnist.cli import console
from edge_fmnist_bench.layers import METHOD, Layer, Profile

# Of the table in Markdown, and of that in a terminal of 80 columns.
COLUMNS = (
    "",
    "operator",
    "output",
    "MACs",
    "weights",
    "activations",
    "MACs/byte",
    "µs",
    "share",
    "limit µs",
    "bound",
    "of limit",
)
TEXT_COLUMNS = 3
BRIEF_COLUMNS = ("operator", "output", "kMACs", "kB", "MACs/B", "µs", "limit", "%")
UNKNOWN = "-"


def rows(profile: Profile) -> list[tuple[str, ...]]:
    """Return the cells of the table of layers; the headings are ``COLUMNS``."""
    total = sum(layer.time_us or 0.0 for layer in profile.layers) or 1.0
    return [
        (
            str(layer.index),
            layer.operator,
            _shape(layer),
            f"{layer.macs:,}",
            f"{layer.weight_bytes:,}",
            f"{layer.activation_bytes:,}",
            f"{layer.intensity:.1f}",
            _cell(layer.time_us, ".1f"),
            _cell(layer.time_us and layer.time_us / total, ".0%"),
            _cell(layer.limit_us, ".2f"),
            layer.bound or UNKNOWN,
            _cell(layer.of_limit, ".0%"),
        )
        for layer in profile.layers
    ]


def brief_rows(profile: Profile) -> list[tuple[str, ...]]:
    """Return the cells of the table for a terminal; the headings are ``BRIEF_COLUMNS``."""
    return [
        (
            f"{layer.index} {layer.operator}",
            _shape(layer),
            f"{layer.macs / 1000:,.0f}",
            f"{(layer.weight_bytes + layer.activation_bytes) / 1000:.1f}",
            f"{layer.intensity:.1f}",
            _cell(layer.time_us, ".1f"),
            _cell(layer.limit_us, ".2f"),
            _cell(layer.of_limit and layer.of_limit * 100, ".0f"),
        )
        for layer in profile.layers
    ]


def _shape(layer: Layer) -> str:
    return "x".join(map(str, layer.output))


def _cell(value: float | None, form: str) -> str:
    return UNKNOWN if value is None else format(value, form)


def notes(profile: Profile) -> list[str]:
    """Return what must be known to read the table, a sentence each."""
    peak = profile.peak
    float_layers = any(layer.limit_us is None for layer in profile.layers)
    return [
        METHOD,
        *(["The peak is one of int8, so operators on floats have no limit here."] if float_layers else []),
        f"Whole model: {profile.whole_us:.1f} µs; the operators together: {profile.sum_us:.1f} µs; "
        f"an empty model: {profile.empty_us:.2f} µs.",
        f"Peak: {peak.macs_per_second / 1e9:,.0f} billion int8 MACs a second ({peak.operator}); "
        f"copying {peak.copy_bytes / 1024:,.0f} KiB, as much as the network touches: "
        f"{peak.bytes_per_second / 1e9:,.1f} GB/s; copying in main memory: "
        f"{peak.memory_bytes_per_second / 1e9:,.1f} GB/s (bytes read and written).",
    ]


def show(profile: Profile) -> None:
    """Print a profile for people."""
    threads = "1 thread" if profile.threads == 1 else f"{profile.threads} threads"
    title = (
        f"{profile.model} by layer, {profile.interpreter}, {threads}; limit: µs at the machine's peak, and % of that"
    )
    console.show_table(title, BRIEF_COLUMNS, brief_rows(profile), numbers_from=2)
    for note in notes(profile):
        console.say(note)


def markdown(profile: Profile) -> str:
    """Return a profile as Markdown."""
    from edge_fmnist_export.report.markdown import table

    written = table(COLUMNS, rows(profile), TEXT_COLUMNS)
    return "\n".join([written, "", *(f"{note}  " for note in notes(profile))]) + "\n"
