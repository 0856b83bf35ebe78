"""The baseline of the gate: a file in the repository with the value and the tolerance of each metric."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_fmnist.data.files import write_json
from edge_fmnist.errors import EdgeFmnistError
from edge_fmnist_bench.document import Document, read_schema
from edge_fmnist_bench.variants.edge import CLASSIFIER, FLOAT32

SCHEMA = "edge-fmnist-baseline/1"
UPDATE = "measure it again with --update-baseline"
CORRECT = "correct it, or delete it and create one with --update-baseline"

# How far a number may be below and above its baseline; None is no limit. Fractions of the baseline where relative.
TOLERANCES: dict[str, dict[str, Any]] = {
    "top1": {"below": 0.001, "above": None, "relative": False},
    "drop_points": {"below": None, "above": 0.1, "relative": False},
    "bytes": {"below": None, "above": 0.02, "relative": True},
}
# Must be equal: names, as in a result.
EXACT = {"operators": list, "dtypes": dict}
METRICS = (*TOLERANCES, *EXACT)
# Metrics with one value per kind of machine, or per architecture and interpreter version.
SPEEDUP, INSTRUCTIONS = "speedup", "instructions"
KIND_TOLERANCES: dict[str, dict[str, Any]] = {
    SPEEDUP: {"below": 0.25, "above": 0.35, "relative": True},
    INSTRUCTIONS: {"below": 0.05, "above": 0.05, "relative": True},
}


class BaselineError(EdgeFmnistError):
    """A baseline that cannot be used: another schema, model or data set, or an unusable number."""


@dataclass(frozen=True)
class Limits:
    """Baseline value and tolerance of a number."""

    value: float
    below: float | None
    above: float | None
    relative: bool

    def __post_init__(self) -> None:
        numbers = [self.value, *(number for number in (self.below, self.above) if number is not None)]
        if any(isinstance(number, bool) or not math.isfinite(number) for number in numbers):
            raise ValueError("not finite numbers")
        if min(numbers[1:], default=0) < 0:
            raise ValueError("a tolerance is negative")
        if not isinstance(self.relative, bool):
            raise TypeError("relative is not true or false")

    def bounds(self) -> tuple[float, float]:
        """Return the lowest and the highest value that passes."""
        unit = abs(self.value) if self.relative else 1.0
        lowest = -math.inf if self.below is None else self.value - self.below * unit
        highest = math.inf if self.above is None else self.value + self.above * unit
        return lowest, highest

    def text(self) -> str:
        """Return the baseline and its limits as human-readable text."""
        lowest, highest = self.bounds()
        if self.below is None:
            return f"{figure(self.value)}, at most {figure(highest)}"
        if self.above is None:
            return f"{figure(self.value)}, at least {figure(lowest)}"
        return f"{figure(self.value)}, {figure(lowest)} to {figure(highest)}"


def figure(value: float) -> str:
    """Return a number as human-readable text."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def machine_kind(document: Document) -> str:
    """Return what the speed-up depends on: architecture, best instruction set extension, interpreter."""
    machine = document["machine"]
    return f"{machine['architecture']} {machine['feature'] or 'unknown'} {_interpreter(document)}"


def instructions_kind(document: Document) -> str:
    """Return what instruction counts depend on: architecture, interpreter and its version."""
    versions = document["versions"]
    version = next((versions[name] for name in ("ai-edge-litert", "tflite-runtime") if name in versions), "unknown")
    return f"{document['machine']['architecture']} {_interpreter(document)} {version}"


def _interpreter(document: Document) -> str:
    return str(document["reference"]).rpartition("-")[0]


def accuracy_variant(model: dict[str, Any], reference: str) -> str:
    """Return the name of the variant that has a model's accuracy: the bare loop leaves out flip averaging."""
    return CLASSIFIER if model.get("flip_tta") else reference


def accuracy(document: Document) -> float | None:
    """Return the top-1 accuracy of the model; None if it was not measured."""
    name = accuracy_variant(document["model"], document["reference"])
    found = next((variant["accuracy"] for variant in document["variants"] if variant["name"] == name), None)
    return found["top1"] if found else None


def measured(document: Document) -> dict[str, Any]:
    """Return the metrics of a result; None for those that do not apply or were not measured."""
    model, top1 = document["model"], accuracy(document)
    float_top1 = model["float_top1"]
    return {
        "top1": top1,
        "drop_points": round((float_top1 - top1) * 100, 4) if top1 is not None and float_top1 is not None else None,
        **{name: model[name] for name in ("bytes", "operators", "dtypes")},
    }


def speedup(document: Document) -> tuple[float, float, float] | None:
    """Return the speed-up over the float32 reference and its interval; None if not measured."""
    reference = float32_name(document["reference"])
    for ratio in document["ratios"]:
        if ratio["of"] == reference:
            return ratio["ratio"], ratio["low"], ratio["high"]
    return None


def has_float32(document: Document) -> bool:
    """Return whether a result has a float32 reference to compare with: int8 models have one."""
    name = float32_name(document["reference"])
    return name != document["reference"] and any(variant["name"] == name for variant in document["variants"])


def float32_name(reference: str) -> str:
    """Return the name of the float32 variant in the interpreter of another variant."""
    return f"{reference.rpartition('-')[0]}-{FLOAT32}"


def read(path: Path) -> dict[str, Any]:
    """Read a baseline.

    Raises:
        SourceError: the file does not exist.
        BaselineError: not a baseline, another schema, or an unusable number.
    """
    missing = "no such baseline; create one with --update-baseline"
    baseline = read_schema(path, SCHEMA, ("a baseline", "not a baseline"), missing, BaselineError)
    baseline.setdefault(INSTRUCTIONS, {})
    parts = [baseline.get(key) for key in ("metrics", SPEEDUP, INSTRUCTIONS)]
    if not all(isinstance(part, dict) for part in parts) or "model" not in baseline:
        raise BaselineError(f"{path}: expected the keys model, metrics and {SPEEDUP}; {CORRECT}")
    for name, entry in baseline["metrics"].items():
        if name not in METRICS or not isinstance(entry, dict) or "value" not in entry:
            raise BaselineError(f"{path}: metric {name!r}: expected {', '.join(METRICS)}, with a value; {CORRECT}")
        if name in TOLERANCES:
            limits(path, name, entry)
        elif not _is_names(entry["value"], of=EXACT[name]):
            raise BaselineError(f"{path}: {name}: expected names, got {entry['value']!r}; {CORRECT}")
    for metric in KIND_TOLERANCES:
        for kind, entry in baseline[metric].items():
            if limits(path, f"{metric} of {kind}", entry).value <= 0:
                raise BaselineError(f"{path}: {metric} of {kind}: expected a value above zero, got {entry!r}")
    return baseline


def limits(path: Path, name: str, entry: Any) -> Limits:
    """Return an entry of a baseline, checked.

    Raises:
        BaselineError: a missing, additional or non-finite number.
    """
    try:
        return Limits(**entry)
    except (TypeError, ValueError, OverflowError) as error:
        raise BaselineError(
            f"{path}: {name}: expected finite numbers for value, below and above (or null), and true or false for "
            f"relative, got {entry!r}"
        ) from error


def check_subject(model: dict[str, Any], data: dict[str, Any] | None, baseline: dict[str, Any], path: Path) -> None:
    """Check that a baseline, read from ``path``, is of this model and data set, both as in a result.

    A file without a name in its metadata passes as the model.

    Raises:
        BaselineError: it is not.
    """
    if baseline.get("data") != data:
        if data is None and (reason := model.get("no_accuracy")):
            raise BaselineError(f"{path}: has an accuracy, which cannot be measured ({reason}); {UPDATE}")
        raise BaselineError(f"{path}: was measured on another data set than the one found here; {UPDATE}")
    if model["described"] and model["name"] != baseline["model"]:
        raise BaselineError(
            f"{path}: is the baseline of the model {baseline['model']!r}, not of {model['name']!r}; "
            f"pass its own baseline to --gate, or {UPDATE}"
        )


def update(document: Document, path: Path, instructions: int | None = None) -> None:
    """Write the baseline that a complete result makes, without the metrics that do not apply to the model.

    Keeps the tolerances of an existing baseline and, for a byte-identical model, its other kinds of machines.

    Raises:
        BaselineError: a metric that applies was not measured, or the file is not a baseline, or damaged: its tolerances
            would be lost.
        OSError: the file cannot be written.
    """
    found, ratio = measured(document), speedup(document)
    applies = {
        "top1": document["data"] is not None,
        "drop_points": document["data"] is not None and document["model"]["float_top1"] is not None,
        SPEEDUP: has_float32(document),
    }
    values = {**found, SPEEDUP: None if ratio is None else ratio[0]}
    if missing := [name for name, value in values.items() if _unusable(value) and applies.get(name)]:
        raise BaselineError(f"{path}: not changed, since this run did not measure {', '.join(missing)}")
    before = read(path) if path.exists() else {"metrics": {}, SPEEDUP: {}, INSTRUCTIONS: {}}
    sha256 = document["model"]["sha256"]
    made: dict[str, Any] = {
        "schema": SCHEMA,
        "model": document["model"]["name"],
        "sha256": sha256,
        "data": document["data"],
        "versions": document["versions"],
        "commit": document["commit"],
        "metrics": {
            name: {**TOLERANCES.get(name, {}), **before["metrics"].get(name, {}), "value": value}
            for name, value in found.items()
            if value is not None
        },
    }
    by_kind = (
        (SPEEDUP, machine_kind(document), None if ratio is None else round(ratio[0], 3)),
        (INSTRUCTIONS, instructions_kind(document), instructions),
    )
    for metric, kind, value in by_kind:
        made[metric] = dict(before[metric]) if before.get("sha256") == sha256 else {}
        if value is not None:
            made[metric][kind] = {**before[metric].get(kind, KIND_TOLERANCES[metric]), "value": value}
    write_json(path, made)


def _is_names(value: Any, of: type) -> bool:
    """Return whether a value is a list of names, or a mapping ``of`` keys to names or lists of them."""
    parts = value.values() if isinstance(value, dict) else [value]
    return isinstance(value, of) and all(
        isinstance(name, str) for part in parts for name in (part if isinstance(part, list) else [part])
    )


def _unusable(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))
