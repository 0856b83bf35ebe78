"""The gate: a result held to a baseline that lies in the repository.

Accuracy, drop, size, operators and types are properties of the file and are
compared hard. Latency depends on the machine: what is compared is how many
times as fast the int8 file is as its float32 twin, measured in turns, and only
with a baseline from the same kind of machine. Too fast fails as well: it is a
measurement to be explained.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edge_fmnist.errors import EdgeFmnistError, SourceError
from edge_fmnist.files import write_json
from edge_fmnist_bench.document import Document
from edge_fmnist_bench.variants.edge import TWIN

SCHEMA = "edge-fmnist-baseline/1"
EXIT_CODE = 4
UPDATE = "measure it anew with --update-baseline"

# How far a number may lie below and above its baseline; None is no limit. Shares of the baseline where relative.
TOLERANCES: dict[str, dict[str, Any]] = {
    "top1": {"below": 0.001, "above": None, "relative": False},
    "drop_points": {"below": None, "above": 0.1, "relative": False},
    "bytes": {"below": None, "above": 0.02, "relative": True},
}
SPEEDUP_TOLERANCE = {"below": 0.25, "above": 0.35, "relative": True}
EXACT = ("operators", "dtypes")
METRICS = (*TOLERANCES, *EXACT)
SPEEDUP = "speedup"

Status = Literal["same", "moved", "missing", "not compared"]


class BaselineError(EdgeFmnistError):
    """A baseline that a result cannot be held to: of another schema or model, or lacking a metric."""


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


@dataclass(frozen=True)
class Limits:
    """A number's baseline and tolerance."""

    value: float
    below: float | None
    above: float | None
    relative: bool

    def bounds(self) -> tuple[float, float]:
        """Return the least and the greatest value that passes."""
        unit = abs(self.value) if self.relative else 1.0
        least = float("-inf") if self.below is None else self.value - self.below * unit
        greatest = float("inf") if self.above is None else self.value + self.above * unit
        return least, greatest

    def text(self) -> str:
        """Return the baseline and its limits for people."""
        least, greatest = self.bounds()
        if self.below is None:
            return f"{_figure(self.value)}, at most {_figure(greatest)}"
        if self.above is None:
            return f"{_figure(self.value)}, at least {_figure(least)}"
        return f"{_figure(self.value)}, {_figure(least)} to {_figure(greatest)}"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def machine_kind(document: Document) -> str:
    """Return what latency ratios depend on: architecture, the best instructions it has, and the interpreter."""
    machine = document["machine"]
    interpreter = str(document["reference"]).rpartition("-")[0]
    return f"{machine['architecture']} {machine['feature'] or 'unknown'} {interpreter}"


def measured(document: Document) -> dict[str, Any]:
    """Return a result's metrics; None for those that could not be measured."""
    model = document["model"]
    reference = _variant(document, document["reference"])
    top1 = reference["accuracy"]["top1"] if reference and reference["accuracy"] else None
    float_top1 = model["float_top1"]
    drop = round((float_top1 - top1) * 100, 4) if top1 is not None and float_top1 is not None else None
    return {
        "top1": top1,
        "drop_points": drop,
        "bytes": model["bytes"],
        "operators": model["operators"],
        "dtypes": model["dtypes"],
    }


def speedup(document: Document) -> tuple[float, float, float] | None:
    """Return how many times as fast the model is as its float32 twin, and the interval; None where not measured."""
    twin = twin_of(document["reference"])
    for ratio in document["ratios"]:
        if ratio["of"] == twin:
            return ratio["ratio"], ratio["low"], ratio["high"]
    return None


def twin_of(reference: str) -> str:
    """Return the name of the variant that runs float32 in the same interpreter."""
    return f"{reference.rpartition('-')[0]}-{TWIN}"


def _variant(document: Document, name: str) -> dict[str, Any] | None:
    return next((variant for variant in document["variants"] if variant["name"] == name), None)


def read_baseline(path: Path) -> dict[str, Any]:
    """Read a baseline.

    Raises:
        SourceError: the file is not there.
        BaselineError: it is no baseline, of another schema, or lacks a metric.
    """
    if not path.is_file():
        raise SourceError(f"{path}: no such baseline; make one with --update-baseline")
    try:
        baseline = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BaselineError(f"{path}: not a baseline ({error})") from error
    schema = baseline.get("schema") if isinstance(baseline, dict) else None
    if schema != SCHEMA:
        raise BaselineError(f"{path}: expected a baseline of schema {SCHEMA!r}, got {schema!r}; {UPDATE}")
    _check_metrics(path, baseline)
    return dict(baseline)


def _check_metrics(path: Path, baseline: dict[str, Any]) -> None:
    metrics, speedups = baseline.get("metrics"), baseline.get(SPEEDUP)
    if not isinstance(metrics, dict) or not isinstance(speedups, dict) or "model" not in baseline:
        raise BaselineError(f"{path}: expected the keys model, metrics and {SPEEDUP}; {UPDATE}")
    for name in METRICS:
        if not isinstance(metrics.get(name), dict) or "value" not in metrics[name]:
            raise BaselineError(f"{path}: lacks the metric {name!r}; {UPDATE}")
    for name in TOLERANCES:
        _limits(path, name, metrics[name])
    for kind, entry in speedups.items():
        _limits(path, f"{SPEEDUP} of {kind}", entry)


def _limits(path: Path, name: str, entry: Any) -> Limits:
    try:
        limits = Limits(**entry)
        limits.bounds()
        limits.text()
    except (TypeError, ValueError) as error:
        raise BaselineError(
            f"{path}: {name}: expected numbers for value, below and above (or null) and a relative of true or false, "
            f"got {entry!r}"
        ) from error
    return limits


def compare(document: Document, path: Path) -> list[GateRow]:
    """Hold a result to a baseline.

    Args:
        document: a result with single-stream times of the model and its float32 twin, and accuracy.
        path: the baseline.

    Raises:
        SourceError: the baseline is not there.
        BaselineError: it is no baseline, of another schema, model or data set, or lacks a metric.
    """
    baseline = read_baseline(path)
    check_subject(document["model"], document["data"], baseline, path)
    found = measured(document)
    entries = baseline["metrics"]
    rows = [_number(name, _limits(path, name, entries[name]), found[name]) for name in TOLERANCES]
    rows += [_exact(name, entries[name]["value"], found[name]) for name in EXACT]
    return [*rows, _speedup(document, baseline, path)]


def check_subject(model: dict[str, Any], data: dict[str, Any] | None, baseline: dict[str, Any], path: Path) -> None:
    """Check that a baseline is of this model and data set; a file that does not say its name is taken for the model.

    Args:
        model: as in a result.
        data: as in a result.
        baseline: what ``path`` holds.
        path: for messages.

    Raises:
        BaselineError: it is of another one.
    """
    if baseline.get("data") != data:
        raise BaselineError(f"{path}: was measured on another data set than the one found here; {UPDATE}")
    if model["described"] and model["name"] != baseline["model"]:
        raise BaselineError(
            f"{path}: is the baseline of the model {baseline['model']!r}, not of {model['name']!r}; "
            f"name its own with --gate, or {UPDATE}"
        )


def _number(name: str, limits: Limits, value: float | None) -> GateRow:
    if value is None:
        return GateRow(name, "missing", limits.text(), "not measured", "the model or its metadata does not tell")
    least, greatest = limits.bounds()
    # A hair's breadth, for decimal fractions that binary ones only come near.
    if least - 1e-9 <= value <= greatest + 1e-9:
        return GateRow(name, "same", limits.text(), _figure(value))
    note = f"{'below' if value < least else 'above'} the limit by {_figure(max(least - value, value - greatest))}"
    return GateRow(name, "moved", limits.text(), _figure(value), note)


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
    kind, ratio = machine_kind(document), speedup(document)
    entry = baseline[SPEEDUP].get(kind)
    if ratio is None:
        known = _limits(path, SPEEDUP, entry).text() if entry else "-"
        return GateRow(SPEEDUP, "missing", known, "not measured", _why_no_speedup(document))
    value, low, high = ratio
    text = f"{value:.3f} [{low:.3f}, {high:.3f}]"
    if entry is None:
        note = f"no baseline for this kind of machine ({kind}); --update-baseline adds one"
        return GateRow(SPEEDUP, "not compared", "-", text, note)
    limits = _limits(path, SPEEDUP, entry)
    least, greatest = limits.bounds()
    if high < least:
        return GateRow(SPEEDUP, "moved", limits.text(), text, "slower beside float32 than it was")
    if low > greatest:
        return GateRow(SPEEDUP, "moved", limits.text(), text, "unexpectedly fast: a measurement to be explained")
    return GateRow(SPEEDUP, "same", limits.text(), text)


def _why_no_speedup(document: Document) -> str:
    errors = [variant["error"] for variant in document["variants"] if variant["error"]]
    return errors[0] if errors else "the model is not int8, so it has no float32 twin to be timed against"


def updated(document: Document, path: Path) -> dict[str, Any]:
    """Return the baseline that a result makes.

    Tolerances of the baseline that is there are kept, and so are other kinds
    of machines where the model is the same to the byte.

    Raises:
        BaselineError: the result lacks a metric.
    """
    found, ratio = measured(document), speedup(document)
    if lacking := [name for name, value in {**found, SPEEDUP: ratio}.items() if value is None]:
        raise BaselineError(f"{path}: left as it was, since this run did not measure {', '.join(lacking)}")
    assert ratio is not None  # noqa: S101 - for the type checker
    try:
        before = read_baseline(path)
    except (SourceError, BaselineError):
        before = {"metrics": {}, SPEEDUP: {}}
    kind, sha256 = machine_kind(document), document["model"]["sha256"]
    speedups = before[SPEEDUP] if before.get("sha256") == sha256 else {}
    kept = before[SPEEDUP].get(kind, SPEEDUP_TOLERANCE)
    return {
        "schema": SCHEMA,
        "model": document["model"]["name"],
        "sha256": sha256,
        "data": document["data"],
        "versions": document["versions"],
        "commit": document["commit"],
        "metrics": {
            name: {**TOLERANCES.get(name, {}), **before["metrics"].get(name, {}), "value": found[name]}
            for name in METRICS
        },
        SPEEDUP: {**speedups, kind: {**kept, "value": round(ratio[0], 3)}},
    }


def update(document: Document, path: Path) -> None:
    """Write the baseline that a result makes.

    Raises:
        BaselineError: the result lacks a metric.
        OSError: the file cannot be written.
    """
    write_json(path, updated(document, path))


def as_dict(rows: list[GateRow], path: Path) -> dict[str, Any]:
    """Return the comparison as plain values for JSON."""
    return {"baseline": str(path), "passed": all(row.passed for row in rows), "rows": [asdict(row) for row in rows]}
