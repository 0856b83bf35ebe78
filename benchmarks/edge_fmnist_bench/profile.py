"""Where the time goes: each operator's time, beside what the machine could do at best.

Python's interpreters offer no time by operator, so each operator is cut out of
the file into a model of its own and timed alone, the operators taking turns;
what the emptiest model takes is subtracted. How well that describes the whole
is seen from the sum beside the time of the whole model, which stand together
in the result.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from edge_fmnist.cli import console
from edge_fmnist.errors import ModelError
from edge_fmnist.model import interpreter as interpreters
from edge_fmnist.model.registry import read_model
from edge_fmnist.model.tflite_graph import Operator, Structure, read_structure
from edge_fmnist_bench import protocol
from edge_fmnist_bench.flatfile import Operand, cut_operator, make_operator
from edge_fmnist_bench.layer_tables import show
from edge_fmnist_bench.layers import Layer, Profile
from edge_fmnist_bench.peaks import Peak, measure_peak
from edge_fmnist_bench.protocol import SingleStream
from edge_fmnist_bench.timing import Call, Samples, single_stream, warm_up

# Each operator is timed this long; twenty of them are done in a few seconds.
SECONDS = 0.1
ITERATIONS = 120
WHOLE, EMPTY = "whole", "empty"


def profile(model: str, *, threads: int = 1, interpreter: str | None = None) -> Profile:
    """Measure a model's operators, and print the table of layers for people.

    Args:
        model: a shipped model's name, or a ``.tflite`` file.
        threads: how many threads the interpreter may use.
        interpreter: its name; None chooses.

    Raises:
        EdgeFmnistError: as :func:`measure`.
    """
    with console.quiet_native_log():
        measured = measure(model, threads=threads, interpreter=interpreter)
    show(measured)
    return measured


def measure(
    model: str, *, threads: int = 1, interpreter: str | None = None, settings: SingleStream | None = None, seed: int = 0
) -> Profile:
    """Time each operator of a model, and the machine's peak beside it.

    Args:
        model: a shipped model's name, or a ``.tflite`` file.
        threads: how many threads the interpreter may use.
        interpreter: its name; None chooses.
        settings: rounds and calls; None takes the protocol's rounds and a tenth of a second for each operator.
        seed: of the order in which operators take turns.

    Raises:
        ModelNotFoundError: neither a shipped model nor a file.
        ModelError: not a model, or a damaged one.
        InterpreterError: no interpreter can be used, or none whose file format can be read here.
    """
    content, name = read_model(model).content, interpreters.choose(interpreter)
    structure = read_structure(content, model)
    times = _times(content, structure, name, settings or _settings(threads), seed)
    peak = measure_peak(_working_set(structure), interpreter=name, threads=threads)
    layers = tuple(
        _layer(index, operator, structure, _less(times.get(str(index)), times[EMPTY]), peak)
        for index, operator in enumerate(structure.operators)
    )
    return Profile(
        model=model,
        interpreter=f"{name} {interpreters.installed()[name]}",
        threads=threads,
        layers=layers,
        whole_us=times[WHOLE],
        empty_us=times[EMPTY],
        peak=peak,
    )


def _settings(threads: int) -> SingleStream:
    return replace(protocol.load().single_stream, threads=threads, iterations=ITERATIONS, minimum_seconds=SECONDS)


def _less(time: float | None, empty: float) -> float | None:
    return None if time is None else max(0.0, time - empty)


def _times(
    content: bytes, structure: Structure, interpreter: str, settings: SingleStream, seed: int
) -> dict[str, float]:
    """Return the median time of the whole model, of the empty one, and of each operator by its index."""
    models = {WHOLE: content, EMPTY: _empty_model()}
    models |= {str(index): cut_operator(content, index) for index in range(len(structure.operators))}
    calls: dict[str, Call] = {}
    for name, part in models.items():
        try:
            calls[name] = _invocation(part, interpreter, settings.threads)
        except ModelError:
            if name in (WHOLE, EMPTY):
                raise
    samples = {name: Samples() for name in calls}
    for name, call in calls.items():
        warm_up(call, settings, samples[name])
    failures = single_stream(calls, settings, seed, samples)
    if error := failures.get(WHOLE):
        raise ModelError(f"failed while running ({error})") from error
    return {name: float(np.median(taken.microseconds)) for name, taken in samples.items() if name not in failures}


def _empty_model() -> bytes:
    one = Operand((1, 1))
    return make_operator("ADD", [one, one], one)


def _invocation(content: bytes, interpreter: str, threads: int) -> Call:
    """Return the call that runs a model on random inputs, which are set once."""
    allocated = interpreters.create(content, name=interpreter, threads=threads, batch=1, source="one operator")
    rng = np.random.default_rng(0)
    for details in allocated.interpreter.get_input_details():
        allocated.interpreter.set_tensor(details["index"], _random(rng, tuple(details["shape"]), details["dtype"]))
    invoke: Call = allocated.interpreter.invoke
    return invoke


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    if np.dtype(dtype).kind == "f":
        return rng.random(shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def _bytes(structure: Structure, indexes: tuple[int, ...]) -> int:
    """Return the bytes of activations, for one image."""
    sizes = {"FLOAT32": 4, "INT32": 4, "FLOAT16": 2, "INT64": 8}
    tensors = [structure.tensors[index] for index in dict.fromkeys(indexes) if index >= 0]
    return sum(
        math.prod(abs(size) for size in tensor.shape) * sizes.get(tensor.type, 1)
        for tensor in tensors
        if not tensor.constant_bytes
    )


def _constant_bytes(structure: Structure, operator: Operator) -> int:
    return sum(structure.tensors[index].constant_bytes for index in set(operator.inputs) if index >= 0)


def _working_set(structure: Structure) -> int:
    """Return how many bytes one inference touches: all weights, and the activations of its largest layer."""
    weights = sum(tensor.constant_bytes for tensor in structure.tensors)
    return weights + max(_bytes(structure, operator.inputs + operator.outputs) for operator in structure.operators)


def _layer(index: int, operator: Operator, structure: Structure, time: float | None, peak: Peak) -> Layer:
    weights, activations = (
        _constant_bytes(structure, operator),
        _bytes(structure, operator.inputs + operator.outputs),
    )
    compute = operator.macs / peak.macs_per_second * 1e6
    memory = (weights + activations) / peak.bytes_per_second * 1e6
    # The peak is one of int8; a float operator has another.
    whole_integer = all(structure.tensors[index].type not in ("FLOAT32", "FLOAT16") for index in operator.outputs)
    return Layer(
        index=index,
        operator=operator.name,
        output=structure.tensors[operator.outputs[0]].shape[1:],
        macs=operator.macs,
        weight_bytes=weights,
        activation_bytes=activations,
        time_us=time,
        limit_us=max(compute, memory) if whole_integer else None,
        bound=("compute" if compute > memory else "memory") if whole_integer else None,
    )
