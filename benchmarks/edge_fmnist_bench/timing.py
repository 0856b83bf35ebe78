"""The clock: calls timed one by one, in rounds in which the variants take turns, and what follows from the samples."""

from __future__ import annotations

import contextlib
import gc
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_fmnist_bench.protocol import Bootstrap, Offline, Paced, SingleStream

Call = Callable[[], object]


@dataclass
class Samples:
    """The times of one variant.

    Attributes:
        first: of the very first call, in nanoseconds; None before it.
        rounds: of the calls of each round, in nanoseconds, in their order.
    """

    first: int | None = None
    rounds: list[list[int]] = field(default_factory=list)

    @property
    def microseconds(self) -> np.ndarray:
        """All samples but the first call, in microseconds: float64, shape (calls,)."""
        return np.array(list(itertools.chain.from_iterable(self.rounds)), np.float64) / 1000

    @property
    def medians(self) -> np.ndarray:
        """The median of each round in microseconds: float64, shape (rounds,)."""
        return np.array([np.median(times) for times in self.rounds if times], np.float64) / 1000


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Keep Python's garbage collector from running inside the block."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def timed(call: Call) -> int:
    """Return how many nanoseconds a call took."""
    started = time.perf_counter_ns()
    call()
    return time.perf_counter_ns() - started


@dataclass(frozen=True)
class Turn:
    """How long a variant's turn is: until both leasts are reached, or ``limit`` seconds are over; at least one call."""

    calls: int
    seconds: float
    limit: float


def take_turn(call: Call, turn: Turn, into: list[int]) -> None:
    """Time calls one by one into a list, in nanoseconds."""
    started = time.perf_counter_ns()
    elapsed = 0.0
    while not into or ((len(into) < turn.calls or elapsed < turn.seconds) and elapsed < turn.limit):
        into.append(timed(call))
        elapsed = (time.perf_counter_ns() - started) / 1e9


def single_stream(
    calls: dict[str, Call], settings: SingleStream, seed: int, into: dict[str, Samples]
) -> dict[str, Exception]:
    """Time calls in rounds in which the variants take turns.

    What was measured is in ``into`` when an interruption ends this early. A
    variant that fails is left out from then on.

    Args:
        calls: by the variant's name; warmed up already.
        settings: how many rounds and calls.
        seed: of the order in each round.
        into: the samples go here.

    Returns:
        What went wrong, by the variant's name.
    """
    turn = Turn(
        calls=math.ceil(settings.iterations / settings.rounds),
        seconds=settings.minimum_seconds / settings.rounds,
        limit=settings.round_seconds,
    )

    def take(name: str) -> None:
        times: list[int] = []
        into[name].rounds.append(times)
        take_turn(calls[name], turn, times)

    with no_collection():
        return take_turns(list(calls), settings.rounds, seed, take)


def take_turns(names: Sequence[str], rounds: int, seed: int, take: Callable[[str], None]) -> dict[str, Exception]:
    """Let each name take its turn in each round, in another order each time; one that fails is left out from then on.

    Args:
        names: who takes turns.
        rounds: how many rounds.
        seed: of the order.
        take: takes the turn of a name.

    Returns:
        What went wrong, by name.
    """
    rng = np.random.default_rng(seed)
    failures: dict[str, Exception] = {}
    for _ in range(rounds):
        for index in rng.permutation(len(names)):
            name = names[index]
            if name in failures:
                continue
            try:
                take(name)
            except Exception as error:  # whatever a library raises: it is that variant's result
                failures[name] = error
    return failures


def warm_up(call: Call, settings: SingleStream, into: Samples) -> None:
    """Time the very first call apart, then call until warm or until a round's time is over."""
    into.first = timed(call)
    if settings.warm_up:
        take_turn(call, Turn(settings.warm_up, 0.0, settings.round_seconds), [])


def paced(calls: dict[str, Call], settings: Paced, seed: int, into: dict[str, Samples]) -> dict[str, Exception]:
    """Time calls that come ``hertz`` times a second; the thread sleeps in between.

    Args:
        calls: by the variant's name; warmed up already.
        settings: how often and how many.
        seed: of the order in each round.
        into: the samples go here.

    Returns:
        What went wrong, by the variant's name.
    """
    each = math.ceil(settings.iterations / settings.rounds)

    def take(name: str) -> None:
        times: list[int] = []
        into[name].rounds.append(times)
        due = time.perf_counter()
        for _ in range(each):
            due = max(due + 1 / settings.hertz, time.perf_counter())
            time.sleep(max(0.0, due - time.perf_counter()))
            times.append(timed(calls[name]))

    with no_collection():
        return take_turns(list(calls), settings.rounds, seed, take)


def rates(
    calls: dict[str, Call], images: dict[str, int], settings: Offline, seed: int, into: dict[str, list[float]]
) -> dict[str, Exception]:
    """Measure images a second.

    Args:
        calls: by name; warmed up already.
        images: in each call, by name.
        settings: how many rounds, and how long each is.
        seed: of the order in each round.
        into: the rate of each round goes here.

    Returns:
        What went wrong, by name.
    """
    turn = Turn(calls=1, seconds=settings.round_seconds, limit=math.inf)

    def take(name: str) -> None:
        times: list[int] = []
        take_turn(calls[name], turn, times)
        into[name].append(images[name] * len(times) / (sum(times) / 1e9))

    return take_turns(list(calls), settings.rounds, seed, take)


def summary(microseconds: np.ndarray, percentiles: Sequence[float]) -> dict[str, Any]:
    """Return count, percentiles and largest of some times in microseconds."""
    values = np.percentile(microseconds, percentiles).tolist()
    named = {f"p{percentile:g}_us": round(value, 2) for percentile, value in zip(percentiles, values, strict=True)}
    return {"count": len(microseconds), **named, "max_us": round(float(microseconds.max()), 2)}


@dataclass(frozen=True)
class Ratio:
    """The time of one variant to that of another, with a bootstrap interval."""

    of: str
    to: str
    ratio: float
    low: float
    high: float
    confidence: float
    rounds: int


def ratio(of: tuple[str, Samples], to: tuple[str, Samples], bootstrap: Bootstrap, seed: int) -> Ratio | None:
    """Return the ratio of two variants that took turns.

    Each round gives one ratio, of the two medians in it: a machine that is
    slow for a while is slow for both. The estimate is the median over the
    rounds; the interval comes from drawing the rounds again with replacement.

    Args:
        of: name and samples of the variant above the line.
        to: name and samples of the variant below it.
        bootstrap: how often to draw, and how wide the interval is.
        seed: of the draws.

    Returns:
        None when no round has both.
    """
    pairs = list(zip(of[1].rounds, to[1].rounds, strict=False))
    ratios = np.array([np.median(above) / np.median(below) for above, below in pairs if above and below])
    if not len(ratios):
        return None
    rng = np.random.default_rng(seed)
    draws = ratios[rng.integers(0, len(ratios), (bootstrap.resamples, len(ratios)))]
    tail = (1 - bootstrap.confidence) / 2 * 100
    low, high = np.percentile(np.median(draws, axis=1), (tail, 100 - tail))
    return Ratio(
        of=of[0],
        to=to[0],
        ratio=round(float(np.median(ratios)), 4),
        low=round(float(low), 4),
        high=round(float(high), 4),
        confidence=bootstrap.confidence,
        rounds=len(ratios),
    )
