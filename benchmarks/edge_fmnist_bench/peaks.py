"""What the machine can do at best: int8 multiply-accumulates a second, and bytes copied a second.

Both are measured in the run, so that a layer is held against this machine in
the state it is in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_fmnist.model import interpreter as interpreters
from edge_fmnist_bench.flatfile import SCALE, Operand, make_operator
from edge_fmnist_bench.timing import Call, timed

# Sums of products of random int8 values this deep stay within an int8 output of this scale.
OUTPUT_SCALE = 8.0
# Larger than the caches of the machines this runs on.
MEMORY_BYTES = 128 << 20
REPEATS = 15


@dataclass(frozen=True)
class Peak:
    """The best of a machine.

    Attributes:
        macs_per_second: int8 multiply-accumulates, through the interpreter.
        operator: the operator that reached it.
        copy_bytes: how many bytes a copy reads and writes; what the network touches.
        bytes_per_second: read and written by a copy of that size.
        memory_bytes_per_second: the same for a copy that fits no cache.
    """

    macs_per_second: float
    operator: str
    copy_bytes: int
    bytes_per_second: float
    memory_bytes_per_second: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "macs_per_second": round(self.macs_per_second),
            "operator": self.operator,
            "copy_bytes": self.copy_bytes,
            "bytes_per_second": round(self.bytes_per_second),
            "memory_bytes_per_second": round(self.memory_bytes_per_second),
        }


def measure_peak(copy_bytes: int, *, interpreter: str, threads: int) -> Peak:
    """Measure what this machine can do at best.

    Args:
        copy_bytes: how many bytes the network touches, weights and activations.
        interpreter: the name of an installed interpreter.
        threads: how many threads it may use.

    Raises:
        InterpreterError: the interpreter cannot be imported, or no schema of the file format is installed.
    """
    rates = {
        name: macs / _best_seconds(_invocation(content, name, interpreter, threads))
        for name, (content, macs) in {
            "CONV_2D 3x3, 14x14x256": _convolution(size=14, channels=256),
            "FULLY_CONNECTED, 128 rows of 512": _product(rows=128, width=512),
        }.items()
    }
    best = max(rates, key=lambda name: rates[name])
    return Peak(
        macs_per_second=rates[best],
        operator=best,
        copy_bytes=copy_bytes,
        bytes_per_second=copy_rate(copy_bytes),
        memory_bytes_per_second=copy_rate(MEMORY_BYTES),
    )


def copy_rate(size: int) -> float:
    """Return the bytes a second that a copy reads and writes together.

    Args:
        size: bytes read plus bytes written by one copy.
    """
    source = np.ones(max(1, size // 2), np.uint8)
    target = np.zeros_like(source)
    # One copy of a small block is over before the clock has ticked often.
    copies = max(1, (1 << 20) // len(source))

    def copy() -> None:
        for _ in range(copies):
            np.copyto(target, source)

    return 2 * len(source) * copies / _best_seconds(copy)


def _best_seconds(call: Call) -> float:
    """Return the least of some times: a peak is what the machine can do, not what it does on average."""
    timed(call)
    return min(timed(call) for _ in range(REPEATS)) / 1e9


def _invocation(content: bytes, name: str, interpreter: str, threads: int) -> Call:
    allocated = interpreters.create(content, name=interpreter, threads=threads, batch=1, source=name)
    shape = tuple(allocated.input["shape"])
    allocated.interpreter.set_tensor(allocated.input["index"], _random(shape))
    invoke: Call = allocated.interpreter.invoke
    return invoke


def _random(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(-127, 128, shape, dtype=np.int8)


def _weights(shape: tuple[int, ...]) -> list[Operand]:
    """Return the weights and the bias of an operator."""
    bias = np.zeros(shape[0], np.int32)
    return [Operand(shape, values=_random(shape)), Operand(bias.shape, "INT32", SCALE * SCALE, bias)]


def _convolution(size: int, channels: int) -> tuple[bytes, int]:
    """Return a 3x3 convolution and its multiply-accumulates."""
    image = (1, size, size, channels)
    inputs = [Operand(image), *_weights((channels, 3, 3, channels))]
    macs = size * size * channels * 9 * channels
    return make_operator("CONV_2D", inputs, Operand(image, scale=OUTPUT_SCALE)), macs


def _product(rows: int, width: int) -> tuple[bytes, int]:
    """Return a matrix product and its multiply-accumulates."""
    inputs = [Operand((rows, width)), *_weights((width, width))]
    content = make_operator("FULLY_CONNECTED", inputs, Operand((rows, width), scale=OUTPUT_SCALE))
    return content, rows * width * width
