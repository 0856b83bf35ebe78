from __future__ import annotations

import functools
import gc
import time
from typing import Any

import numpy as np
import pytest

from edge_fmnist.model.measure import no_collection, take_turns
from edge_fmnist_bench import timing
from edge_fmnist_bench.protocol import Bootstrap, Offline, Paced, SingleStream
from edge_fmnist_bench.timing import Samples

BOOTSTRAP = Bootstrap(resamples=500, confidence=0.95)


def settings(**changes: Any) -> SingleStream:
    values: dict[str, Any] = {
        "threads": 1,
        "warm_up": 2,
        "rounds": 4,
        "iterations": 12,
        "minimum_seconds": 0.0,
        "round_seconds": 1.0,
    }
    return SingleStream(**{**values, **changes})


def test_variants_take_turns() -> None:
    order: list[str] = []
    into = {name: Samples() for name in "abc"}
    calls: dict[str, Any] = {name: functools.partial(order.append, name) for name in "abc"}
    assert timing.single_stream(calls, settings(), 5, into) == {}
    assert [len(times) for times in into["a"].rounds] == [3, 3, 3, 3]
    turns = [order[start] for start in range(0, len(order), 3)]
    assert order == [name for name in turns for _ in range(3)]
    assert all(sorted(turns[start : start + 3]) == ["a", "b", "c"] for start in range(0, 12, 3))
    assert len({tuple(turns[start : start + 3]) for start in range(0, 12, 3)}) > 1


def test_a_turn_lasts_as_long_as_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0

    def call() -> None:
        nonlocal now
        now += 1_000_000

    monkeypatch.setattr(time, "perf_counter_ns", lambda: now)
    times: list[int] = []
    timing.time_calls(call, times, calls=1, seconds=0.02, limit=5.0)
    assert times == [1_000_000] * 20


def test_a_slow_call_ends_its_turn_but_is_made() -> None:
    times: list[int] = []
    timing.time_calls(lambda: time.sleep(0.005), times, calls=50, seconds=1.0, limit=0.001)
    assert len(times) == 1


def test_the_first_call_is_apart() -> None:
    waits = iter([0.05])
    samples = Samples()
    timing.warm_up(lambda: time.sleep(next(waits, 0)), settings(), samples)
    assert samples.first is not None
    assert samples.first >= 50_000_000
    assert len(samples.microseconds) == 0


def test_paced_calls_come_at_their_time() -> None:
    into = {"a": Samples()}
    started = time.perf_counter()
    timing.paced({"a": lambda: None}, Paced(1, 100.0, 10, 2), 0, into)
    assert time.perf_counter() - started >= 0.09
    assert [len(times) for times in into["a"].rounds] == [5, 5]


def test_rates_count_images() -> None:
    into: dict[str, list[float]] = {"a": []}
    timing.rates({"a": lambda: time.sleep(0.002)}, {"a": 8}, Offline((8,), (1,), 3, 0.004), 0, into)
    assert len(into["a"]) == 3
    assert all(100 < rate <= 4000 for rate in into["a"])


def test_summary() -> None:
    found = timing.summary(np.arange(1, 101, dtype=np.float64), (50, 99.9))
    assert found == {"count": 100, "p50_us": 50.5, "p99.9_us": 99.9, "max_us": 100.0}


def rounds(values: np.ndarray) -> Samples:
    return Samples(first=1, rounds=[[int(value)] * 3 for value in values])


def test_a_ratio_survives_noise_that_is_shared() -> None:
    noise = np.random.default_rng(0).uniform(1, 10, 30) * 1000
    ratio = timing.ratio(("slow", rounds(noise * 2.5)), ("fast", rounds(noise)), BOOTSTRAP, 0)
    assert ratio is not None
    assert (ratio["of"], ratio["to"], ratio["rounds"]) == ("slow", "fast", 30)
    assert ratio["ratio"] == pytest.approx(2.5, abs=0.01)
    assert ratio["high"] - ratio["low"] < 0.02


def test_no_ratio_without_samples() -> None:
    assert timing.ratio(("a", Samples()), ("b", rounds(np.ones(3))), BOOTSTRAP, 0) is None


def test_what_failed_is_not_called_again() -> None:
    called: list[str] = []

    def take(name: str) -> None:
        called.append(name)
        if name == "damaged":
            raise ValueError(f"call {called.count(name)}")

    failures = take_turns(["whole", "damaged"], 3, 0, take)
    assert sorted(called) == ["damaged", "whole", "whole", "whole"]
    assert str(failures["damaged"]) == "call 1"


def test_garbage_is_collected_again_after_a_failure() -> None:
    def measured() -> None:
        with no_collection():
            assert not gc.isenabled()
            raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        measured()
    assert gc.isenabled()
