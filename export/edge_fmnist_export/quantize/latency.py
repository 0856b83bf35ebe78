"""Latency of model files: they take turns with a reference, so that whatever slows the machine slows them all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edge_fmnist.errors import ModelError
from edge_fmnist.model import interpreter as interpreters
from edge_fmnist.model.measure import no_collection, take_turns, timed

# Rounds in which each model takes one turn; calls per turn, after a warm-up.
ROUNDS, CALLS, WARM_UP = 15, 60, 10
# Seconds after which a turn ends early, so that a slow model does not delay the rest.
TURN = 0.5
REFERENCE = "the reference"


@dataclass(frozen=True)
class Latency:
    """Time of one image on one thread, in the interpreter alone.

    Attributes:
        microseconds: p50 of all calls.
        ratio: median over rounds of the turn's p50 divided by that of the reference in the same round. It depends far
            less than the time on the load of the machine.
    """

    microseconds: float
    ratio: float


def compare_latency(models: Mapping[str, bytes], reference: bytes) -> dict[str, Latency]:
    """Time models, by their name in messages, in turns with a reference, one image at a time on one thread.

    Raises:
        ModelError: not a model, or it fails while running.
        InterpreterError: no interpreter can be used.
    """
    calls = {name: _call(content, name) for name, content in {**models, REFERENCE: reference}.items()}
    turns: dict[str, list[np.ndarray]] = {name: [] for name in calls}
    with no_collection():
        failures = take_turns(list(calls), ROUNDS, 0, lambda name: turns[name].append(_turn(calls[name])))
    for name, error in failures.items():
        raise _damaged(name, error) from error
    medians = {name: np.array([np.median(turn) for turn in taken]) for name, taken in turns.items()}
    return {
        name: Latency(
            float(np.median(np.concatenate(turns[name]))) / 1000, float(np.median(medians[name] / medians[REFERENCE]))
        )
        for name in models
    }


def _damaged(name: str, error: Exception) -> ModelError:
    return ModelError(f"{name}: failed while running, so the file is damaged ({error})")


def _call(content: bytes, source: str) -> Callable[[], object]:
    """Return a function that runs a model on one image, already in its input tensor."""
    allocated = interpreters.create(content, name=interpreters.choose(), threads=1, batch=1, source=source)
    details = allocated.input
    pixels = np.random.default_rng(0).integers(0, 100, details["shape"])
    try:
        allocated.interpreter.set_tensor(details["index"], pixels.astype(details["dtype"]))
        allocated.interpreter.invoke()
    except (ValueError, RuntimeError) as error:
        raise _damaged(source, error) from error
    invoke: Callable[[], object] = allocated.interpreter.invoke
    return invoke


def _turn(call: Callable[[], object]) -> np.ndarray:
    """Return the times of the calls of one turn in nanoseconds, int64, at least one."""
    for _ in range(WARM_UP):
        call()
    times: list[int] = []
    end = time.perf_counter() + TURN
    while not times or (len(times) < CALLS and time.perf_counter() < end):
        times.append(timed(call))
    return np.array(times)
