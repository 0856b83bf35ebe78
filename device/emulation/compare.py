"""Compare results of run_commands.sh on two machines: ``python compare.py NATIVE EMULATED [--output FILE]``.

The same model file must predict the same labels on both, except for ties within
one quantization step, where rounding decides, and photographs must become the
same images. Exit code 1 if a check fails.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_fmnist.cli import console
from edge_fmnist.data.files import write_json

SAME_LABELS = 0.998
ACCURACY_POINTS = 0.2
# Limits by architecture. None for 32-bit ARM, where Debian's OpenCV loads many more libraries.
PEAK_MEGABYTES = {"aarch64": 200, "x86_64": 200}
# Debian's packages for 32-bit ARM are of other versions, which may decode and filter pictures differently.
OTHER_LIBRARIES = ("armv7l",)
LIVE_FRAMES = 100
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Check:
    """Result of one comparison.

    Attributes:
        name: what was compared.
        passed: whether the result is within the limit.
        expected: the limit, human-readable.
        found: the result, human-readable.
    """

    name: str
    passed: bool
    expected: str
    found: str


def margins(native: np.ndarray, emulated: np.ndarray) -> np.ndarray:
    """Return the native margin between the two predicted labels of each image whose labels differ.

    Args:
        native: raw int8 outputs, shape (N, classes).
        emulated: raw int8 outputs of the other machine, same shape.

    Returns:
        int64, one value per image with different labels, in quantization steps; 0 is a tie.
    """
    ours, theirs = native.argmax(axis=1), emulated.argmax(axis=1)
    rows = np.flatnonzero(ours != theirs)
    values = native.astype(np.int64)
    result: np.ndarray = values[rows, ours[rows]] - values[rows, theirs[rows]]
    return result


def compare(native: Path, emulated: Path) -> Iterator[Check]:
    """Yield the comparisons of two result folders.

    Raises:
        OSError: a file is missing.
        ValueError: a file is damaged.
    """
    doctor = _json(emulated / "doctor.json")
    yield from _health(doctor, _json(emulated / "verify.json"))
    yield _samples(_lines(native / "classify.jsonl"), _lines(emulated / "classify.jsonl"))
    yield from _labels(*(np.load(folder / "outputs.npy") for folder in (native, emulated)))
    yield _accuracy(_json(native / "evaluate.json")[0], _json(emulated / "evaluate.json")[0])
    if doctor["machine"] not in OTHER_LIBRARIES:
        yield _photographs(*(np.load(folder / "photographs.npz") for folder in (native, emulated)))
    limit = PEAK_MEGABYTES.get(doctor["machine"])
    yield from _live(_lines(emulated / "live.jsonl"), _json(emulated / "memory.json")["peak_bytes"], limit)


def _health(doctor: dict[str, Any], models: list[dict[str, Any]]) -> Iterator[Check]:
    yield Check("doctor", not doctor["problems"], "no problems", "; ".join(doctor["problems"]) or "none")
    broken = [model["name"] for model in models if not model["ok"]]
    found = ", ".join(broken) or f"{len(models)} valid"
    yield Check("models verify", bool(models) and not broken, "all valid", found)


def _samples(native: list[dict[str, Any]], emulated: list[dict[str, Any]]) -> Check:
    ours, theirs = ([result["label"] for result in results] for results in (native, emulated))
    return Check("classify", bool(theirs) and ours == theirs, ", ".join(map(str, ours)), ", ".join(map(str, theirs)))


def _labels(native: np.ndarray, emulated: np.ndarray) -> Iterator[Check]:
    same = float((native.argmax(axis=1) == emulated.argmax(axis=1)).mean())
    found = f"{same:.2%} of {len(native):,}; {(native == emulated).mean():.2%} of outputs identical"
    yield Check("labels", same >= SAME_LABELS, f"at least {SAME_LABELS:.1%}", found)
    differing = margins(native, emulated)
    largest = int(differing.max(initial=0))
    found = f"{len(differing)}, margin at most {largest} steps"
    yield Check("different labels", largest <= 1, "ties within 1 step", found)


def _accuracy(native: dict[str, Any], emulated: dict[str, Any]) -> Check:
    points = (emulated["top1"] - native["top1"]) * 100
    found = f"{native['top1']:.2%} native, {emulated['top1']:.2%} emulated, on {emulated['images']:,} images"
    # The tolerance covers floating-point rounding of the difference.
    passed = abs(points) <= ACCURACY_POINTS + 1e-9 and native["images"] == emulated["images"]
    return Check("accuracy", passed, f"within {ACCURACY_POINTS} points", found)


def _photographs(native: Mapping[str, np.ndarray], emulated: Mapping[str, np.ndarray]) -> Check:
    """Compare images and confidences bit for bit, JPEG decoding included."""
    same = (native["images"] == emulated["images"]).all(axis=(1, 2)) & (
        native["confidences"] == emulated["confidences"]
    )
    return Check("photographs", bool(same.all()), "all images identical", f"{same.sum():,} of {len(same):,}")


def _live(results: list[dict[str, Any]], peak: int, limit: int | None) -> Iterator[Check]:
    labelled = sum(result["label"] is not None for result in results)
    passed = len(results) == LIVE_FRAMES and labelled > 0
    yield Check("live", passed, f"{LIVE_FRAMES} results", f"{len(results)}, {labelled} with a label")
    passed = limit is None or peak <= limit * MEGABYTE
    expected = "no limit" if limit is None else f"at most {limit} MB"
    yield Check("live: peak memory", passed, expected, f"{peak / MEGABYTE:.0f} MB")


def report(native: Path, emulated: Path, checks: list[Check]) -> dict[str, Any]:
    """Return the comparison as JSON-compatible values, with versions and sizes (bytes) of both machines."""
    return {
        "schema": "edge-fmnist-emulation/2",
        "passed": all(check.passed for check in checks),
        "checks": [asdict(check) for check in checks],
        "native": _machine(native),
        "emulated": _machine(emulated),
    }


def _machine(folder: Path) -> dict[str, Any]:
    doctor = _json(folder / "doctor.json")
    return {
        **{key: doctor[key] for key in ("edge_fmnist", "python", "machine", "numpy", "interpreter")},
        "opencv": doctor["opencv"]["version"],
        "live_peak_bytes": _json(folder / "memory.json")["peak_bytes"],
        **_json(folder / "sizes.json"),
    }


def _json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def main() -> int:
    """Print the comparison; return 1 if a check failed."""
    parser = argparse.ArgumentParser(description="Compare results of run_commands.sh on two machines.")
    parser.add_argument("native", type=Path)
    parser.add_argument("emulated", type=Path)
    parser.add_argument("--output", type=Path, help="write the comparison to this JSON file")
    arguments = parser.parse_args()
    checks = list(compare(arguments.native, arguments.emulated))
    document = report(arguments.native, arguments.emulated, checks)
    emulated = document["emulated"]
    rows = [(check.name, "ok" if check.passed else "FAILED", check.expected, check.found) for check in checks]
    title = f"{emulated['machine']} compared with {document['native']['machine']}"
    console.show_table(title, ["check", "", "expected", "found"], rows)
    console.say(f"base install on {emulated['machine']}: {emulated['base_bytes'] / MEGABYTE:.0f} MB")
    if arguments.output is not None:
        write_json(arguments.output, document)
    return 0 if document["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
