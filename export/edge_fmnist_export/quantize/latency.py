"""Latency of model files, measured in turns with a reference, so that a slow machine slows down all of them."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edge_fmnist.errors import ModelError
from edge_fmnist.model import interpreter as interpreters

# Rounds in which each model takes one turn; calls in a turn, and calls before it that warm up the caches.
ROUNDS, CALLS, WARM_UP = 15, 60, 10
# Time limit of a turn in seconds, for slow models.
TURN = 0.5


@dataclass(frozen=True)
class Latency:
    """The latency of one image on one thread, in the interpreter alone.

    Attributes:
        microseconds: p50 of all calls.
        ratio: median over rounds of the model's p50 divided by the reference's p50 in the same round, which depends
            much less on the load of the machine than the time.
    """

    microseconds: float
    ratio: float


def compare_latency(models: Mapping[str, bytes], reference: bytes, *, rounds: int = ROUNDS) -> dict[str, Latency]:
    """Measure the latency of models in turns with a reference.

    Args:
        models: the bytes of model files, by the name used in messages.
        reference: the bytes of the model file that ratios refer to.
        rounds: turns of each model, at least 1.

    Returns:
        The latency of each model, by name.

    Raises:
        ModelError: not a model, or it fails while running.
        InterpreterError: no interpreter can be used.
    """
    calls = [_call(content, name) for name, content in {**models, "the reference": reference}.items()]
    turns: list[list[np.ndarray]] = [[] for _ in calls]
    rng = np.random.default_rng(0)
    gc.collect()
    for _ in range(rounds):
        # In random order, since a turn may be affected by the one before it.
        for index in rng.permutation(len(calls)):
            turns[index].append(_turn(calls[index]))
    medians = np.array([[np.median(turn) for turn in taken] for taken in turns])
    ratios = np.median(medians[:-1] / medians[-1], axis=1)
    return {
        name: Latency(float(np.median(np.concatenate(taken))) / 1000, float(ratio))
        for name, taken, ratio in zip(models, turns, ratios, strict=False)
    }


def _call(content: bytes, source: str) -> Callable[[], object]:
    """Return a function that runs a model on one image."""
    allocated = interpreters.create(content, name=interpreters.choose(), threads=1, batch=1, source=source)
    details = allocated.input
    pixels = np.random.default_rng(0).integers(0, 100, details["shape"])
    try:
        allocated.interpreter.set_tensor(details["index"], pixels.astype(details["dtype"]))
        allocated.interpreter.invoke()
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{source}: fails while running, so the file is damaged ({error})") from error
    invoke: Callable[[], object] = allocated.interpreter.invoke
    return invoke


def _turn(call: Callable[[], object]) -> np.ndarray:
    """Return the times of the calls of one turn in nanoseconds, int64, at least one."""
    for _ in range(WARM_UP):
        call()
    times: list[int] = []
    end = time.perf_counter() + TURN
    while not times or (len(times) < CALLS and time.perf_counter() < end):
        started = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - started)
    return np.array(times)
