"""Compare what two machines answered: ``python compare.py HERE THERE [--output FILE]``, both folders of exercise.sh.

The same file must give the same labels on both, but for ties within one
quantization step, where rounding decides. Exit code 1 where something differs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_fmnist.cli import console
from edge_fmnist.data.files import write_json

SAME_LABELS = 0.998
ACCURACY_POINTS = 0.2
# Of the processors that have a limit; on 32-bit ARM Debian's OpenCV brings all of its libraries.
PEAK_MEGABYTES = {"aarch64": 200, "x86_64": 200}
LIVE_FRAMES = 100
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Check:
    """One thing that is compared.

    Attributes:
        name: what.
        passed: whether it is as expected.
        expected: the limit, for people.
        found: what was found, for people.
    """

    name: str
    passed: bool
    expected: str
    found: str


def labels(outputs: np.ndarray) -> np.ndarray:
    """Return the label of each image, int64, shape (N,), from raw outputs, shape (N, classes)."""
    result: np.ndarray = outputs.argmax(axis=1)
    return result


def steps_apart(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Return by how many quantization steps one machine prefers its own label where the other says another one.

    Args:
        here: raw int8 outputs, shape (N, classes).
        there: the same of the other machine.

    Returns:
        int64, one number for each image with two labels; 0 is a tie.
    """
    ours, theirs = labels(here), labels(there)
    rows = np.flatnonzero(ours != theirs)
    values = here.astype(np.int64)
    result: np.ndarray = values[rows, ours[rows]] - values[rows, theirs[rows]]
    return result


def compare(here: Path, there: Path) -> Iterator[Check]:
    """Yield what was compared, from the two folders.

    Raises:
        OSError: a folder lacks a file.
        ValueError: a file is damaged.
    """
    yield from _health(_json(there / "doctor.json"), _json(there / "verify.json"))
    yield from _pictures(_lines(here / "classify.jsonl"), _lines(there / "classify.jsonl"))
    yield from _labels(np.load(here / "answers.npz")["outputs"], np.load(there / "answers.npz")["outputs"])
    yield from _accuracy(_json(here / "evaluate.json")[0], _json(there / "evaluate.json")[0])
    limit = PEAK_MEGABYTES.get(_json(there / "doctor.json")["machine"])
    yield from _live(_lines(there / "live.jsonl"), _json(there / "memory.json")["peak_bytes"], limit)


def _health(doctor: dict[str, Any], verified: list[dict[str, Any]]) -> Iterator[Check]:
    yield Check("doctor", not doctor["problems"], "no problems", "; ".join(doctor["problems"]) or "none")
    broken = [model["name"] for model in verified if not model["ok"]]
    yield Check(
        "models verify", bool(verified) and not broken, "all whole", ", ".join(broken) or f"{len(verified)} whole"
    )


def _pictures(here: list[dict[str, Any]], there: list[dict[str, Any]]) -> Iterator[Check]:
    ours, theirs = ([answer["label"] for answer in answers] for answers in (here, there))
    yield Check("classify", bool(theirs) and ours == theirs, ", ".join(map(str, ours)), ", ".join(map(str, theirs)))


def _labels(here: np.ndarray, there: np.ndarray) -> Iterator[Check]:
    same = float((labels(here) == labels(there)).mean())
    found = f"{same:.2%} of {len(here):,}; {(here == there).mean():.2%} of outputs equal"
    yield Check("same labels", same >= SAME_LABELS, f"at least {SAME_LABELS:.1%}", found)
    apart = steps_apart(here, there)
    most = int(apart.max(initial=0))
    yield Check("other labels", most <= 1, "ties within 1 step", f"{len(apart)}, at most {most} steps apart")


def _accuracy(here: dict[str, Any], there: dict[str, Any]) -> Iterator[Check]:
    points = (there["top1"] - here["top1"]) * 100
    found = f"{here['top1']:.2%} here, {there['top1']:.2%} there, on {there['images']:,} images"
    # A hair's breadth, for decimal fractions that binary ones only come near.
    near = abs(points) <= ACCURACY_POINTS + 1e-9 and here["images"] == there["images"]
    yield Check("accuracy", near, f"within {ACCURACY_POINTS} points", found)


def _live(results: list[dict[str, Any]], peak: int, limit: int | None) -> Iterator[Check]:
    named = sum(result["label"] is not None for result in results)
    yield Check(
        "live", len(results) == LIVE_FRAMES and named > 0, f"{LIVE_FRAMES} results", f"{len(results)}, {named} named"
    )
    within = limit is None or peak <= limit * MEGABYTE
    expected = "no limit" if limit is None else f"at most {limit} MB"
    yield Check("live, peak memory", within, expected, f"{peak / MEGABYTE:.0f} MB")


def result(here: Path, there: Path, checks: list[Check]) -> dict[str, Any]:
    """Return the comparison as plain values for JSON, with what the machines are and sizes in bytes."""
    return {
        "schema": "edge-fmnist-emulation/1",
        "passed": all(check.passed for check in checks),
        "checks": [asdict(check) for check in checks],
        **{name: _machine(folder) for name, folder in (("here", here), ("there", there))},
    }


def _machine(folder: Path) -> dict[str, Any]:
    doctor = _json(folder / "doctor.json")
    known = ("edge_fmnist", "python", "machine", "numpy", "interpreter")
    return {
        **{key: doctor[key] for key in known},
        "opencv": doctor["opencv"]["version"],
        "live_peak_bytes": _json(folder / "memory.json")["peak_bytes"],
        **_json(folder / "sizes.json"),
    }


def _json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def main() -> int:
    """Show the comparison; return 1 where something is not as expected."""
    parser = argparse.ArgumentParser(description="Compare what two machines answered.")
    parser.add_argument("here", type=Path)
    parser.add_argument("there", type=Path)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    checks = list(compare(arguments.here, arguments.there))
    document = result(arguments.here, arguments.there, checks)
    there = document["there"]
    rows = [(check.name, "ok" if check.passed else "NOT", check.expected, check.found) for check in checks]
    console.show_table(f"{there['machine']} beside {document['here']['machine']}", ["", "", "expected", "found"], rows)
    console.say(f"base install on {there['machine']}: {there['base_bytes'] / MEGABYTE:.0f} MB")
    if arguments.output is not None:
        write_json(arguments.output, document)
    return 0 if document["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
