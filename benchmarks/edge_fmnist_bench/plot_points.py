"""What is drawn of each variant of a result."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_fmnist_bench.document import Document

VERSION = re.compile(r" \d+(\.\d+)+[^\s,]*")


@dataclass(frozen=True, eq=False)
class Point:
    """What is drawn of a variant.

    Attributes:
        label: its title without versions.
        precision: a key of ``COLOURS``.
        family: a key of ``MARKERS``.
        top1: accuracy in percent; None where it was not measured.
        size: of the file, in bytes; None for a model in memory.
        samples: times of single inferences in microseconds, float64; empty where none was taken.
    """

    label: str
    precision: str
    family: str
    top1: float | None
    size: int | None
    samples: np.ndarray

    def percentile(self, share: float) -> float:
        """Return a percentile of the samples in microseconds."""
        return float(np.percentile(self.samples, share))


def points_of(document: Document) -> list[Point]:
    """Return what is drawn of a result, the model that is measured first."""
    variants = sorted(document["variants"], key=lambda variant: bool(variant["name"] != document["reference"]))
    return [point for point in map(point_of, variants) if point is not None]


def point_of(variant: dict[str, Any]) -> Point | None:
    """Return what is drawn of a variant; None for one that failed before anything was measured."""
    single, accuracy = variant.get("single_stream"), variant.get("accuracy")
    if not single and not accuracy:
        return None
    name = str(variant["name"])
    device = "" if variant["device"] == "CPU" else f", {variant['device']}"
    return Point(
        label=VERSION.sub("", f"{variant['title']}{device}"),
        precision=_precision(name, variant["title"]),
        family=next((family for family in ("keras", "onnx") if name.startswith(family)), "tflite"),
        top1=accuracy["top1"] * 100 if accuracy else None,
        size=variant.get("file_bytes"),
        samples=np.array(single["samples_us"] if single else [], np.float64),
    )


def _precision(name: str, title: str) -> str:
    words = f"{name} {title}"
    if "int8" in words:
        return "int8"
    return "reduced" if "float16" in words or "dynamic" in words or "mixed" in words else "float32"
