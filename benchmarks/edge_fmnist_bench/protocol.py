"""The measurement protocol, read from ``protocol.toml``, where each setting is explained."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from edge_fmnist.data.files import read_toml
from edge_fmnist.errors import SourceError, UsageError

SCHEMA = "edge-fmnist-protocol/1"
DEFAULT = Path(__file__).with_name("protocol.toml")
SCENARIOS = ("single-stream", "paced", "offline", "frame", "live", "process")
MAY_BE_ZERO = ("warm_up", "minimum_seconds", "seed")
# As the option --threads of other commands.
MAX_THREADS = 64
# What fits into memory: frames of 4K, drawn on several grounds; resamples of all rounds at once.
MAX_EDGE = 4096
MAX_RESAMPLES = 100_000


@dataclass(frozen=True)
class SingleStream:
    """Batch 1, one call after the other."""

    threads: int
    warm_up: int
    rounds: int
    iterations: int
    minimum_seconds: float
    round_seconds: float


@dataclass(frozen=True)
class Paced:
    """``hertz`` calls per second, asleep in between."""

    threads: int
    hertz: float
    iterations: int
    rounds: int


@dataclass(frozen=True)
class Offline:
    """Maximum throughput, for each number of threads and each batch size."""

    batches: tuple[int, ...]
    threads: tuple[int, ...]
    rounds: int
    round_seconds: float


@dataclass(frozen=True)
class FrameToLabel:
    """A frame of ``size`` (width, height) to a label, stage by stage; the same frames in the live loop."""

    size: tuple[int, ...]
    warm_up: int
    iterations: int


@dataclass(frozen=True)
class SeparateProcess:
    """Memory and start-up time of a separate process, repeated for up to ``budget_seconds``."""

    repeats: int
    budget_seconds: float


@dataclass(frozen=True)
class Accuracy:
    """Accuracy through the timed call; in batches where single images would take longer than ``budget_seconds``."""

    budget_seconds: float
    batch: int


@dataclass(frozen=True)
class Bootstrap:
    """Number of resamples and confidence level of the intervals of ratios."""

    resamples: int
    confidence: float


@dataclass(frozen=True)
class Validity:
    """Limits of the validity checks; a result beyond them carries a warning."""

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
    process: SeparateProcess
    accuracy: Accuracy
    bootstrap: Bootstrap
    validity: Validity

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: lists, no tuples."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain

    def shortened(self, iterations: int) -> Protocol:
        """Return a protocol with ``iterations`` calls per scenario, at least 1, and no minimum duration."""
        change = dataclasses.replace
        single, paced = self.single_stream, self.paced
        rounds = min(single.rounds, iterations)
        return change(
            self,
            single_stream=change(single, iterations=iterations, rounds=rounds, minimum_seconds=0.0),
            paced=change(paced, iterations=iterations, rounds=min(paced.rounds, iterations)),
            offline=change(self.offline, rounds=1),
            frame=change(self.frame, iterations=iterations),
            process=change(self.process, repeats=1),
        )


def load(path: Path = DEFAULT) -> Protocol:
    """Read a protocol.

    Raises:
        SourceError: the file does not exist.
        UsageError: not a protocol, another schema, or a setting that cannot work.
    """
    if not path.is_file():
        raise SourceError(f"{path}: no such file; expected a protocol like benchmarks/protocol.toml")
    values = read_toml(path)
    if values.get("schema") != SCHEMA:
        raise UsageError(f"{path}: expected a protocol of schema {SCHEMA!r}, got {values.get('schema')!r}")
    protocol = _read(Protocol, values, str(path))
    if 50 not in protocol.percentiles or max(protocol.percentiles) > 100:
        raise UsageError(f"{path}: percentiles: expected 50 among them and none above 100")
    if protocol.bootstrap.confidence >= 1:
        raise UsageError(f"{path}: bootstrap.confidence: expected less than 1, got {protocol.bootstrap.confidence}")
    if len(protocol.frame.size) != 2:
        raise UsageError(f"{path}: frame.size: expected a width and a height, got {list(protocol.frame.size)}")
    if max(protocol.frame.size) > MAX_EDGE:
        raise UsageError(f"{path}: frame.size: expected at most {MAX_EDGE} pixels, got {list(protocol.frame.size)}")
    if protocol.bootstrap.resamples > MAX_RESAMPLES:
        raise UsageError(
            f"{path}: bootstrap.resamples: expected at most {MAX_RESAMPLES}, got {protocol.bootstrap.resamples}"
        )
    threads = max(protocol.single_stream.threads, protocol.paced.threads, *protocol.offline.threads)
    if threads > MAX_THREADS:
        raise UsageError(f"{path}: expected at most {MAX_THREADS} threads, got {threads}")
    if protocol.paced.threads != protocol.single_stream.threads:
        raise UsageError(f"{path}: paced.threads: expected {protocol.single_stream.threads}, as single_stream.threads")
    return protocol


_Settings = TypeVar("_Settings")


def _read(kind: type[_Settings], values: Any, where: str) -> _Settings:
    """Return a dataclass from a TOML table that must have exactly its fields, with positive numbers."""
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
    if not (0 < value < float("inf") or (value == 0 and where.endswith(MAY_BE_ZERO))):
        raise UsageError(f"{where}: expected a number above zero, got {value!r}")
    try:
        return hint(value)
    except OverflowError:
        raise UsageError(f"{where}: expected a smaller number, got more than a float can hold") from None
