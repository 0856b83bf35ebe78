"""How everything is measured, read from ``protocol.toml``."""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from edge_fmnist.errors import SourceError, UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SCHEMA = "edge-fmnist-protocol/1"
DEFAULT = Path(__file__).with_name("protocol.toml")
SCENARIOS = ("single-stream", "paced", "offline", "frame", "process")


@dataclass(frozen=True)
class SingleStream:
    """Batch 1, one call after the other.

    Attributes:
        threads: of the interpreter.
        warm_up: calls before the first round.
        rounds: turns of each variant.
        iterations: calls of each variant, at least, spread over the rounds.
        minimum_seconds: time of each variant, at least, spread over the rounds.
        round_seconds: a turn ends after it, with at least one call.
    """

    threads: int
    warm_up: int
    rounds: int
    iterations: int
    minimum_seconds: float
    round_seconds: float


@dataclass(frozen=True)
class Paced:
    """One call ``hertz`` times a second, asleep in between."""

    threads: int
    hertz: float
    iterations: int
    rounds: int


@dataclass(frozen=True)
class Offline:
    """As many images a second as there can be, for each number of threads and each batch size."""

    batches: tuple[int, ...]
    threads: tuple[int, ...]
    rounds: int
    round_seconds: float


@dataclass(frozen=True)
class FrameToLabel:
    """A frame of ``size`` (width, height) to a label, stage by stage."""

    size: tuple[int, ...]
    warm_up: int
    iterations: int


@dataclass(frozen=True)
class Process:
    """Memory and start of a process of its own, repeated until ``budget_seconds`` are spent."""

    repeats: int
    budget_seconds: float


@dataclass(frozen=True)
class Accuracy:
    """Accuracy through the call that is timed; in batches where one by one takes more than ``budget_seconds``."""

    budget_seconds: float
    batch: int


@dataclass(frozen=True)
class Bootstrap:
    """Intervals of ratios: ``resamples`` draws of the rounds, and the share of them inside the interval."""

    resamples: int
    confidence: float


@dataclass(frozen=True)
class Doubt:
    """Beyond these, a result is marked as doubtful.

    Attributes:
        load: load average for each core before the start.
        steal: share of time that the host of a virtual machine took.
        spread: p90 over p50 of the reference variant.
        slowdown: clock at the end over clock at the start; doubtful below.
    """

    load: float
    steal: float
    spread: float
    slowdown: float


@dataclass(frozen=True)
class Protocol:
    """All settings of a run."""

    schema: str
    seed: int
    percentiles: tuple[float, ...]
    single_stream: SingleStream
    paced: Paced
    offline: Offline
    frame: FrameToLabel
    process: Process
    accuracy: Accuracy
    bootstrap: Bootstrap
    doubt: Doubt

    def as_dict(self) -> dict[str, Any]:
        """Return plain values as JSON has them: lists, no tuples."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain

    def shortened(self, iterations: int) -> Protocol:
        """Return a protocol of so many calls in each scenario, and of no least duration.

        Raises:
            UsageError: ``iterations`` below 1.
        """
        if iterations < 1:
            raise UsageError(f"--iterations: expected at least 1, got {iterations}")
        single, paced = self.single_stream, self.paced
        return dataclasses.replace(
            self,
            single_stream=dataclasses.replace(
                single, iterations=iterations, rounds=min(single.rounds, iterations), minimum_seconds=0.0
            ),
            paced=dataclasses.replace(paced, iterations=iterations, rounds=min(paced.rounds, iterations)),
            offline=dataclasses.replace(self.offline, rounds=1),
            frame=dataclasses.replace(self.frame, iterations=iterations),
            process=dataclasses.replace(self.process, repeats=1),
        )


def load(path: Path = DEFAULT) -> Protocol:
    """Read a protocol.

    Raises:
        SourceError: the file is not there.
        UsageError: it is no protocol, of another schema, or has a setting that cannot work.
    """
    if not path.is_file():
        raise SourceError(f"{path}: no such file; expected a protocol, as benchmarks/protocol.toml")
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: not a protocol ({error})") from error
    if values.get("schema") != SCHEMA:
        raise UsageError(f"{path}: expected a protocol of schema {SCHEMA!r}, got {values.get('schema')!r}")
    protocol = _read(Protocol, values, str(path))
    if 50 not in protocol.percentiles or max(protocol.percentiles) > 100:
        raise UsageError(f"{path}: percentiles: expected 50 among them and none above 100")
    return protocol


_Settings = TypeVar("_Settings")


def _read(kind: type[_Settings], values: Any, where: str) -> _Settings:
    """Return a dataclass from a TOML table; every setting must be there, be known, and be above zero."""
    hints = get_type_hints(kind)
    if not isinstance(values, dict) or set(values) != set(hints):
        given = sorted(values) if isinstance(values, dict) else values
        raise UsageError(f"{where}: expected the settings {', '.join(sorted(hints))}, got {given}")
    return kind(**{name: _setting(hint, values[name], f"{where}: {name}") for name, hint in hints.items()})


def _setting(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _read(hint, value, where)  # type: ignore[arg-type]
    if get_origin(hint) is tuple:
        if not isinstance(value, list) or not value:
            raise UsageError(f"{where}: expected a list, got {value!r}")
        return tuple(_setting(get_args(hint)[0], item, where) for item in value)
    if hint is str:
        return value
    if isinstance(value, bool) or not isinstance(value, (int, hint)):
        raise UsageError(f"{where}: expected a number of type {hint.__name__}, got {value!r}")
    may_be_zero = where.endswith(("warm_up", "minimum_seconds", "seed"))
    if not (value > 0 or (may_be_zero and value == 0)):
        raise UsageError(f"{where}: expected a number above zero, got {value!r}")
    return hint(value)
