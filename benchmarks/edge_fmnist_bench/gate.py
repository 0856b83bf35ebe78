"""The gate: a result held to a baseline that lies in the repository.

Accuracy, drop, size, operators and types are properties of the file and are
compared hard. Latency depends on the machine: what is compared is how many
times as fast the int8 file is as its float32 twin, measured in turns, and only
with a baseline from the same kind of machine. Too fast fails as well: it is a
measurement to be explained.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edge_fmnist_bench import baseline as baselines
from edge_fmnist_bench.baseline import EXACT, SPEEDUP, TOLERANCES, Limits, figure
from edge_fmnist_bench.document import Document

EXIT_CODE = 4

Status = Literal["same", "moved", "missing", "not compared"]


@dataclass(frozen=True)
class GateRow:
    """One metric beside its baseline.

    Attributes:
        metric: its name.
        status: ``same`` within the tolerance, ``moved`` out of it, ``missing`` where it could not be measured,
            ``not compared`` where the baseline knows no such machine.
        baseline: what the baseline says, and the limits.
        measured: what was measured.
        note: what it means, for people.
    """

    metric: str
    status: Status
    baseline: str
    measured: str
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether this metric lets the gate open."""
        return self.status in ("same", "not compared")


def compare(document: Document, path: Path) -> list[GateRow]:
    """Hold a result to a baseline.

    Args:
        document: a result with single-stream times of the model and its float32 twin, and accuracy.
        path: the baseline.

    Raises:
        SourceError: the baseline is not there.
        BaselineError: it is no baseline, of another schema, model or data set, or lacks a metric.
    """
    baseline = baselines.read(path)
    baselines.check_subject(document["model"], document["data"], baseline, path)
    found = baselines.measured(document)
    entries = baseline["metrics"]
    rows = [_number(name, baselines.limits(path, name, entries[name]), found[name]) for name in TOLERANCES]
    rows += [_exact(name, entries[name]["value"], found[name]) for name in EXACT]
    return [*rows, _speedup(document, baseline, path)]


def _number(name: str, limits: Limits, value: float | None) -> GateRow:
    if value is None:
        return GateRow(name, "missing", limits.text(), "not measured", "the model or its metadata does not tell")
    least, greatest = limits.bounds()
    # A hair's breadth, for decimal fractions that binary ones only come near.
    if least - 1e-9 <= value <= greatest + 1e-9:
        return GateRow(name, "same", limits.text(), figure(value))
    note = f"{'below' if value < least else 'above'} the limit by {figure(max(least - value, value - greatest))}"
    return GateRow(name, "moved", limits.text(), figure(value), note)


def _exact(name: str, baseline: Any, value: Any) -> GateRow:
    if value is None:
        return GateRow(name, "missing", _plain(baseline), "not measured", "no interpreter here can read the file")
    if value == baseline:
        return GateRow(name, "same", _plain(baseline), _plain(value))
    return GateRow(name, "moved", _plain(baseline), _plain(value), "must be equal")


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} {_plain(item)}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _speedup(document: Document, baseline: dict[str, Any], path: Path) -> GateRow:
    kind, ratio = baselines.machine_kind(document), baselines.speedup(document)
    entry = baseline[SPEEDUP].get(kind)
    if ratio is None:
        known = baselines.limits(path, SPEEDUP, entry).text() if entry else "-"
        return GateRow(SPEEDUP, "missing", known, "not measured", _why_no_speedup(document))
    value, low, high = ratio
    text = f"{value:.3f} [{low:.3f}, {high:.3f}]"
    if entry is None:
        note = f"no baseline for this kind of machine ({kind}); --update-baseline adds one"
        return GateRow(SPEEDUP, "not compared", "-", text, note)
    limits = baselines.limits(path, SPEEDUP, entry)
    least, greatest = limits.bounds()
    if high < least:
        return GateRow(SPEEDUP, "moved", limits.text(), text, "slower beside float32 than it was")
    if low > greatest:
        return GateRow(SPEEDUP, "moved", limits.text(), text, "unexpectedly fast: a measurement to be explained")
    return GateRow(SPEEDUP, "same", limits.text(), text)


def _why_no_speedup(document: Document) -> str:
    errors = [variant["error"] for variant in document["variants"] if variant["error"]]
    return errors[0] if errors else "the model is not int8, so it has no float32 twin to be timed against"


def as_dict(rows: list[GateRow], path: Path) -> dict[str, Any]:
    """Return the comparison as plain values for JSON."""
    return {"baseline": str(path), "passed": all(row.passed for row in rows), "rows": [asdict(row) for row in rows]}
