"""The gate: compare a result with a baseline from the repository.

Accuracy, drop, size, operators and types are properties of the file. Latency
depends on the machine: compared is the speed-up over the float32 reference,
measured in turns, and only with a baseline from the same kind of machine.
Without one, the number of instructions of an inference is compared where
valgrind is installed. Too fast fails as well: such a measurement needs an
explanation. NaN never passes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edge_fmnist_bench import baseline as baselines
from edge_fmnist_bench.baseline import EXACT, INSTRUCTIONS, METRICS, SPEEDUP, Limits, figure
from edge_fmnist_bench.document import Document

EXIT_CODE = 4
ADD = "not in the baseline; --update-baseline adds it"

Status = Literal["same", "moved", "missing", "not compared"]


@dataclass(frozen=True)
class GateRow:
    """One metric next to its baseline.

    Attributes:
        metric: its name.
        status: ``same`` within the tolerance, ``moved`` outside of it, ``missing`` if either side has no value,
            ``not compared`` if the baseline has no value for this kind of machine.
        baseline: baseline value and limits, human-readable.
        measured: measured value, human-readable.
        note: explanation, human-readable.
    """

    metric: str
    status: Status
    baseline: str
    measured: str
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether this metric passes."""
        return self.status in ("same", "not compared")


def compare(document: Document, path: Path, count: Callable[[], int | None] | None = None) -> list[GateRow]:
    """Compare a result with a baseline.

    The result has single-stream times of the model and its float32 reference, and accuracy if it applies. ``count``
    counts the instructions of an inference, or returns None; it is called only if speed cannot be compared.

    Raises:
        SourceError: the baseline does not exist.
        BaselineError: not a baseline, or of another schema, model or data set.
    """
    baseline = baselines.read(path)
    baselines.check_subject(document["model"], document["data"], baseline, path)
    found, entries = baselines.measured(document), baseline["metrics"]
    rows = []
    for name in METRICS:
        value, entry = found[name], entries.get(name)
        if entry is None:
            rows += [] if value is None else [GateRow(name, "missing", "-", _plain(value), ADD)]
        elif name in EXACT:
            rows.append(_exact(name, entry["value"], value))
        else:
            rows.append(_number(name, baselines.limits(path, name, entry), value))
    rows.append(_speedup(document, baseline, path))
    counts = baseline[INSTRUCTIONS].get(baselines.instructions_kind(document))
    if rows[-1].status == "not compared" and counts is not None and count is not None and (now := count()) is not None:
        rows.append(_number(INSTRUCTIONS, baselines.limits(path, INSTRUCTIONS, counts), now))
    return rows


def _number(name: str, limits: Limits, value: float | None) -> GateRow:
    if value is None:
        return GateRow(name, "missing", limits.text(), "not measured", "the model or its metadata has no such value")
    lowest, highest = limits.bounds()
    # A margin for decimal fractions that have no exact binary form.
    if lowest - 1e-9 <= value <= highest + 1e-9:
        return GateRow(name, "same", limits.text(), figure(value))
    note = f"{'below' if value < lowest else 'above'} the limit by {figure(max(lowest - value, value - highest))}"
    return GateRow(name, "moved", limits.text(), figure(value), note)


def _exact(name: str, baseline: Any, value: Any) -> GateRow:
    if value is None:
        return GateRow(name, "missing", _plain(baseline), "not measured", "no installed library reads the file format")
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
        if baseline[SPEEDUP] or baselines.has_float32(document):
            errors = [variant["error"] for variant in document["variants"] if variant["error"]]
            note = errors[0] if errors else "the model is not int8, so it has no float32 reference"
            return GateRow(SPEEDUP, "missing", known, "not measured", note)
        return GateRow(SPEEDUP, "not compared", known, "-", "only an int8 model has a float32 reference")
    value, low, high = ratio
    text = f"{value:.3f} [{low:.3f}, {high:.3f}]"
    if entry is None:
        return GateRow(
            SPEEDUP, "not compared", "-", text, f"no baseline for this kind of machine ({kind}): --update-baseline"
        )
    limits = baselines.limits(path, SPEEDUP, entry)
    lowest, highest = limits.bounds()
    # Fails only if the whole interval is outside; the comparisons are false for NaN.
    if low <= value <= high and high >= lowest and low <= highest:
        return GateRow(SPEEDUP, "same", limits.text(), text)
    slower = high < lowest
    note = "slower relative to float32" if slower else "unexpectedly fast: find out why, then --update-baseline"
    return GateRow(SPEEDUP, "moved", limits.text(), text, note)


def verdict(rows: list[GateRow]) -> str:
    """Return the result of the gate as one line."""
    failed = sum(not row.passed for row in rows)
    return f"Gate FAILED: {failed} of {len(rows)} metrics moved or missing" if failed else "Gate passed"


def warnings(rows: list[GateRow]) -> list[str]:
    """Return a line for what the gate could not compare; empty when it compared everything."""
    skipped = {row.metric: row.note for row in rows if row.status == "not compared"}
    if not skipped:
        return []
    if SPEEDUP not in skipped:
        return [f"the gate did NOT compare {', '.join(skipped)}: {next(iter(skipped.values()))}"]
    instead = any(row.metric == INSTRUCTIONS for row in rows)
    rest = "; it compared the instruction count instead" if instead else ""
    return [f"the gate did NOT compare speed: {skipped[SPEEDUP]}{rest}"]


def as_dict(rows: list[GateRow], path: Path) -> dict[str, Any]:
    """Return the comparison as plain values for JSON."""
    return {"baseline": str(path), "passed": all(row.passed for row in rows), "rows": [asdict(row) for row in rows]}
