"""Where the time goes: each operator's time, beside what the machine could do at best.

Python's interpreters offer no time by operator, so each operator is cut out of
the file into a model of its own and timed alone, the operators taking turns;
what the emptiest model takes is subtracted. How well that describes the whole
is seen from the sum beside the time of the whole model, which stand together
in the result.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from edge_fmnist import interpreter as interpreters
from edge_fmnist.cli import console
from edge_fmnist.errors import DataError, ModelError
from edge_fmnist.registry import read_model
from edge_fmnist.structure import Operator, Structure, read_structure
from edge_fmnist_bench import protocol
from edge_fmnist_bench.flatfile import Operand, cut_operator, make_operator
from edge_fmnist_bench.peaks import Peak, measure_peak
from edge_fmnist_bench.protocol import SingleStream
from edge_fmnist_bench.timing import Call, Samples, single_stream, warm_up

METHOD = (
    "The interpreter offers no time by operator: each was cut into a model of its own and timed alone, "
    "less the time of an empty model."
)
# Each operator is timed this long; twenty of them are done in a few seconds.
SECONDS = 0.1
ITERATIONS = 120
WHOLE, EMPTY = "whole", "empty"


@dataclass(frozen=True)
class Layer:
    """One operator.

    Attributes:
        index: its place in the graph, from 0.
        operator: ``CONV_2D`` …
        output: shape of what it writes, for one image.
        macs: multiply-accumulates for one image.
        weight_bytes: of its constants.
        activation_bytes: read and written, for one image.
        time_us: microseconds; None where the interpreter does not take the operator alone.
        limit_us: the least that the machine's peak allows; None for an operator on floats.
        bound: what sets the limit: ``"compute"`` or ``"memory"``; None without a limit.
    """

    index: int
    operator: str
    output: tuple[int, ...]
    macs: int
    weight_bytes: int
    activation_bytes: int
    time_us: float | None
    limit_us: float | None
    bound: str | None

    @property
    def intensity(self) -> float:
        """Arithmetic intensity: multiply-accumulates for each byte read or written."""
        return self.macs / max(1, self.weight_bytes + self.activation_bytes)

    @property
    def of_limit(self) -> float | None:
        """The share of the machine's peak that is reached, 0 to 1; None where it is not known."""
        if self.limit_us is None or not self.time_us:
            return None
        return min(1.0, self.limit_us / self.time_us)


@dataclass(frozen=True)
class Profile:
    """A model's operators, their times, and the machine's peak.

    Attributes:
        model: the model's name or path.
        interpreter: name and version.
        threads: how many.
        layers: the operators, in order.
        whole_us: the whole model, in microseconds.
        empty_us: an invocation with next to nothing to do; the operators' times are without it.
        peak: what the machine can do.
    """

    model: str
    interpreter: str
    threads: int
    layers: tuple[Layer, ...]
    whole_us: float
    empty_us: float
    peak: Peak

    @property
    def sum_us(self) -> float:
        """The operators' times together, with one invocation; near ``whole_us`` when the method holds."""
        return self.empty_us + sum(layer.time_us or 0.0 for layer in self.layers)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; times in microseconds."""
        return {
            "model": self.model,
            "interpreter": self.interpreter,
            "threads": self.threads,
            "method": METHOD,
            "whole_us": round(self.whole_us, 2),
            "sum_us": round(self.sum_us, 2),
            "empty_us": round(self.empty_us, 2),
            "peak": self.peak.as_dict(),
            "layers": [_plain(layer) for layer in self.layers],
        }


def from_dict(values: dict[str, Any]) -> Profile:
    """Return the profile that :meth:`Profile.as_dict` gave as plain values.

    Raises:
        DataError: a value is missing or of another kind.
    """
    names = {field.name for field in fields(Layer)}
    try:
        layers = tuple(
            Layer(**{**{name: layer[name] for name in names}, "output": tuple(layer["output"])})
            for layer in values["layers"]
        )
        return Profile(
            **{name: values[name] for name in ("model", "interpreter", "threads", "whole_us", "empty_us")},
            layers=layers,
            peak=Peak(**values["peak"]),
        )
    except (KeyError, TypeError) as error:
        raise DataError(f"not a profile that `edge-fmnist bench --profile` wrote ({error})") from error


def _plain(layer: Layer) -> dict[str, Any]:
    values = asdict(layer) | {"intensity": layer.intensity, "of_limit": layer.of_limit}
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}


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


# Of the table in Markdown, and of that in a terminal of 80 columns.
COLUMNS = (
    "",
    "operator",
    "output",
    "MACs",
    "weights",
    "activations",
    "MACs/byte",
    "µs",
    "share",
    "limit µs",
    "bound",
    "of limit",
)
BRIEF_COLUMNS = ("operator", "output", "kMACs", "kB", "MACs/B", "µs", "limit", "%")
UNKNOWN = "-"


def rows(profile: Profile) -> list[tuple[str, ...]]:
    """Return the cells of the table of layers; the headings are ``COLUMNS``."""
    total = sum(layer.time_us or 0.0 for layer in profile.layers) or 1.0
    return [
        (
            str(layer.index),
            layer.operator,
            _shape(layer),
            f"{layer.macs:,}",
            f"{layer.weight_bytes:,}",
            f"{layer.activation_bytes:,}",
            f"{layer.intensity:.1f}",
            _cell(layer.time_us, ".1f"),
            _cell(layer.time_us and layer.time_us / total, ".0%"),
            _cell(layer.limit_us, ".2f"),
            layer.bound or UNKNOWN,
            _cell(layer.of_limit, ".0%"),
        )
        for layer in profile.layers
    ]


def brief_rows(profile: Profile) -> list[tuple[str, ...]]:
    """Return the cells of the table for a terminal; the headings are ``BRIEF_COLUMNS``."""
    return [
        (
            f"{layer.index} {layer.operator}",
            _shape(layer),
            f"{layer.macs / 1000:,.0f}",
            f"{(layer.weight_bytes + layer.activation_bytes) / 1000:.1f}",
            f"{layer.intensity:.1f}",
            _cell(layer.time_us, ".1f"),
            _cell(layer.limit_us, ".2f"),
            _cell(layer.of_limit and layer.of_limit * 100, ".0f"),
        )
        for layer in profile.layers
    ]


def _shape(layer: Layer) -> str:
    return "x".join(map(str, layer.output))


def _cell(value: float | None, form: str) -> str:
    return UNKNOWN if value is None else format(value, form)


def notes(profile: Profile) -> list[str]:
    """Return what must be known to read the table, a sentence each."""
    peak = profile.peak
    float_layers = any(layer.limit_us is None for layer in profile.layers)
    return [
        METHOD,
        *(["The peak is one of int8, so operators on floats have no limit here."] if float_layers else []),
        f"Whole model: {profile.whole_us:.1f} µs; the operators together: {profile.sum_us:.1f} µs; "
        f"an empty model: {profile.empty_us:.2f} µs.",
        f"Peak: {peak.macs_per_second / 1e9:,.0f} billion int8 MACs a second ({peak.operator}); "
        f"copying {peak.copy_bytes / 1024:,.0f} KiB, as much as the network touches: "
        f"{peak.bytes_per_second / 1e9:,.1f} GB/s; copying in main memory: "
        f"{peak.memory_bytes_per_second / 1e9:,.1f} GB/s (bytes read and written).",
    ]


def show(profile: Profile) -> None:
    """Print a profile for people."""
    threads = "1 thread" if profile.threads == 1 else f"{profile.threads} threads"
    title = (
        f"{profile.model} by layer, {profile.interpreter}, {threads}; limit: µs at the machine's peak, and % of that"
    )
    console.show_table(title, BRIEF_COLUMNS, brief_rows(profile), numbers_from=2)
    for note in notes(profile):
        console.say(note)


def markdown(profile: Profile) -> str:
    """Return a profile as Markdown."""
    head = ["| " + " | ".join(COLUMNS) + " |", "| --- | --- | --- |" + " ---: |" * (len(COLUMNS) - 3)]
    body = ["| " + " | ".join(cells) + " |" for cells in rows(profile)]
    return "\n".join([*head, *body, "", *(f"{note}  " for note in notes(profile))]) + "\n"
