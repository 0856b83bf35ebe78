"""What a result is held to: a file in the repository with each metric, its value and its tolerance."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_fmnist.errors import EdgeFmnistError, SourceError
from edge_fmnist.files import write_json
from edge_fmnist_bench.document import Document
from edge_fmnist_bench.variants.edge import TWIN

SCHEMA = "edge-fmnist-baseline/1"
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


class BaselineError(EdgeFmnistError):
    """A baseline that a result cannot be held to: of another schema or model, or lacking a metric."""


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
            return f"{figure(self.value)}, at most {figure(greatest)}"
        if self.above is None:
            return f"{figure(self.value)}, at least {figure(least)}"
        return f"{figure(self.value)}, {figure(least)} to {figure(greatest)}"


def figure(value: float) -> str:
    """Return a number for people."""
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


def read(path: Path) -> dict[str, Any]:
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
        limits(path, name, metrics[name])
    for kind, entry in speedups.items():
        limits(path, f"{SPEEDUP} of {kind}", entry)


def limits(path: Path, name: str, entry: Any) -> Limits:
    """Return an entry of a baseline, checked.

    Raises:
        BaselineError: it lacks a number, or has another one.
    """
    try:
        found = Limits(**entry)
        found.text()
    except (TypeError, ValueError) as error:
        raise BaselineError(
            f"{path}: {name}: expected numbers for value, below and above (or null) and a relative of true or false, "
            f"got {entry!r}"
        ) from error
    return found


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
        before = read(path)
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
