"""Time calls one by one, in rounds in which the variants take turns, and compute percentiles and ratios."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_fmnist.model.measure import no_collection, take_turns, timed
from edge_fmnist_bench.protocol import Bootstrap, Offline, Paced, SingleStream

Call = Callable[[], object]


@dataclass
class Samples:
    """Durations of one variant in nanoseconds.

    Attributes:
        first: the very first call; None before it.
        rounds: the calls of each round.
    """

    first: int | None = None
    rounds: list[list[int]] = field(default_factory=list)

    @property
    def microseconds(self) -> np.ndarray:
        """All samples but the first call, in microseconds: float64, shape (calls,)."""
        return np.array(list(itertools.chain.from_iterable(self.rounds)), np.float64) / 1000


def time_calls(call: Call, into: list[int], *, calls: int, seconds: float, limit: float) -> None:
    """Append durations to ``into`` until there are ``calls`` and ``seconds`` have passed, or ``limit`` seconds have.

    There is at least one call.
    """
    started = time.perf_counter_ns()
    elapsed = 0.0
    while not into or ((len(into) < calls or elapsed < seconds) and elapsed < limit):
        into.append(timed(call))
        elapsed = (time.perf_counter_ns() - started) / 1e9


def warm_up(call: Call, settings: SingleStream, into: Samples) -> None:
    """Time the very first call, then repeat it to warm up."""
    into.first = timed(call)
    if settings.warm_up:
        time_calls(call, [], calls=settings.warm_up, seconds=0.0, limit=settings.round_seconds)


def single_stream(
    calls: dict[str, Call], settings: SingleStream, seed: int, into: dict[str, Samples]
) -> dict[str, Exception]:
    """Time warmed-up calls, one after the other, and return the errors by variant.

    An interruption keeps the samples that ``into`` already holds.
    """

    def take(name: str) -> None:
        into[name].rounds.append([])
        time_calls(
            calls[name],
            into[name].rounds[-1],
            calls=math.ceil(settings.iterations / settings.rounds),
            seconds=settings.minimum_seconds / settings.rounds,
            limit=settings.round_seconds,
        )

    with no_collection():
        return take_turns(list(calls), settings.rounds, seed, take)


def paced(calls: dict[str, Call], settings: Paced, seed: int, into: dict[str, Samples]) -> dict[str, Exception]:
    """Time warmed-up calls at ``hertz`` calls per second, asleep in between, and return the errors by variant."""

    def take(name: str) -> None:
        into[name].rounds.append([])
        due = time.perf_counter()
        for _ in range(math.ceil(settings.iterations / settings.rounds)):
            due = max(due + 1 / settings.hertz, time.perf_counter())
            time.sleep(max(0.0, due - time.perf_counter()))
            into[name].rounds[-1].append(timed(calls[name]))

    with no_collection():
        return take_turns(list(calls), settings.rounds, seed, take)


def rates(
    calls: dict[str, Call], images: dict[str, int], settings: Offline, seed: int, into: dict[str, list[float]]
) -> dict[str, Exception]:
    """Append the images per second of each round to ``into`` and return the errors by name.

    ``images`` is the number of images of each call, all of them warmed up.
    """

    def take(name: str) -> None:
        times: list[int] = []
        time_calls(calls[name], times, calls=1, seconds=settings.round_seconds, limit=math.inf)
        into[name].append(images[name] * len(times) / (sum(times) / 1e9))

    return take_turns(list(calls), settings.rounds, seed, take)


def summary(microseconds: np.ndarray, percentiles: Sequence[float]) -> dict[str, Any]:
    """Return count, percentiles and maximum of durations in microseconds."""
    values = np.percentile(microseconds, percentiles).tolist()
    named = {f"p{percentile:g}_us": round(value, 2) for percentile, value in zip(percentiles, values, strict=True)}
    return {"count": len(microseconds), **named, "max_us": round(float(microseconds.max()), 2)}


def ratio(of: tuple[str, Samples], to: tuple[str, Samples], bootstrap: Bootstrap, seed: int) -> dict[str, Any] | None:
    """Return the ratio of two variants, by name and samples, that took turns, for JSON; None when no round has both.

    Each round gives the ratio of its two medians: a machine that is slow for a while is slow for both. The estimate is
    the median over the rounds; the interval is the percentile bootstrap over rounds
    (https://en.wikipedia.org/wiki/Bootstrapping_(statistics)).
    """
    pairs = zip(of[1].rounds, to[1].rounds, strict=False)
    ratios = np.array([np.median(above) / np.median(below) for above, below in pairs if above and below])
    if not len(ratios):
        return None
    rng = np.random.default_rng(seed)
    draws = ratios[rng.integers(0, len(ratios), (bootstrap.resamples, len(ratios)))]
    tail = (1 - bootstrap.confidence) / 2 * 100
    low, high = np.percentile(np.median(draws, axis=1), (tail, 100 - tail))
    estimate, low, high = (round(float(value), 4) for value in (np.median(ratios), low, high))
    interval = {"low": low, "high": high, "confidence": bootstrap.confidence, "rounds": len(ratios)}
    return {"of": of[0], "to": to[0], "ratio": estimate, **interval}
