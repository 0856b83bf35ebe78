"""The layers of a profile: what each operator does, how long it takes, and how long it would take at best."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from edge_fmnist.errors import DataError
from edge_fmnist_bench.peaks import Peak

METHOD = (
    "The interpreter offers no time by operator: each was cut into a model of its own and timed alone, "
    "less the time of an empty model."
)


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
