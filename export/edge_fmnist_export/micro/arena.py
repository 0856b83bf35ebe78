"""Estimate the tensor arena that TensorFlow Lite for Microcontrollers needs for a model.

That interpreter allocates nothing: the application gives it one block, the
arena. At one end lie activations, which share bytes when they are not needed at the
same time; at the other what is kept for as long as the interpreter lives.

The plan of the activations follows the description of TFLM's greedy memory
planner; the lifetimes follow its memory management page:
https://github.com/tensorflow/tflite-micro/blob/main/tensorflow/lite/micro/memory_planner/greedy_memory_planner.h
https://github.com/tensorflow/tflite-micro/blob/main/tensorflow/lite/micro/docs/memory_management.md
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from edge_fmnist.errors import ModelError
from edge_fmnist.model.tflite_graph import Structure

# TFLM aligns each buffer of the arena to this.
ALIGNMENT = 16
TYPE_BYTES = {
    "BOOL": 1,
    "INT8": 1,
    "UINT8": 1,
    "INT16": 2,
    "FLOAT16": 2,
    "INT32": 4,
    "UINT32": 4,
    "FLOAT32": 4,
    "INT64": 8,
}
# A microcontroller's; what a tensor, an operator, an input and an output cost is mostly pointers.
POINTER_BYTES = 4
TENSOR_POINTERS, OPERATOR_POINTERS, END_POINTERS = 3, 8, 12
# An operator's parsed options and what its kernel prepares, and a multiplier and a shift of four bytes each a channel.
KERNEL_BYTES, CHANNEL_BYTES = 72, 8
# The allocator, the planner and their lists.
FIXED_BYTES = 896
# The axis of a filter that counts its output channels, by operator.
CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "TRANSPOSE_CONV": 0}


@dataclass(frozen=True)
class Placed:
    """An activation in the arena.

    Attributes:
        tensor: its index in the graph.
        bytes: its size, rounded up to the alignment.
        first: the operator that writes it, counted from 1; 0 for an input of the graph.
        last: the last operator that needs it.
        offset: where it lies, in bytes from the start of the arena.
    """

    tensor: int
    bytes: int
    first: int
    last: int
    offset: int

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.offset + self.bytes


@dataclass(frozen=True)
class Arena:
    """An estimate of the tensor arena.

    Attributes:
        activations: where they lie, by tensor.
        overhead: bytes for what the interpreter keeps beside them; an upper estimate.
    """

    activations: tuple[Placed, ...]
    overhead: int

    @property
    def planned(self) -> int:
        """Bytes of the arena that activations take."""
        return max((placed.end for placed in self.activations), default=0)

    @property
    def total(self) -> int:
        """Bytes of the arena, rounded up to the alignment."""
        return _aligned(self.planned + self.overhead)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "bytes": self.total,
            "activation_bytes": self.planned,
            "overhead_bytes": self.overhead,
            "activations": [vars(placed) for placed in self.activations],
        }


def estimate(structure: Structure, source: str, *, pointer_bytes: int = POINTER_BYTES) -> Arena:
    """Estimate the tensor arena for one image.

    Left out are: scratch memory that optimised kernels ask for (CMSIS-NN's and
    ESP-NN's convolutions do, the reference kernels of the usual operators do
    not), variables, graphs beside the main one, and whatever an application
    keeps in the arena itself. TFLM's ``arena_used_bytes()`` on the device has
    the last word.

    Args:
        structure: the model's.
        source: what messages call the model.
        pointer_bytes: size of a pointer on the device.

    Raises:
        ModelError: a damaged model, or an activation of a type that TFLM does not know.
    """
    try:
        return Arena(_plan(structure, source), _overhead(structure, pointer_bytes))
    except IndexError as error:
        raise ModelError(f"{source}: a damaged model: an operator refers to a tensor that is not there") from error


def _plan(structure: Structure, source: str) -> tuple[Placed, ...]:
    """Place the largest first, each in the first gap between those that are needed while it is."""
    placed: list[Placed] = []
    lifetimes = _lifetimes(structure, source)
    sizes = {index: _bytes(structure, index, source) for index in lifetimes}
    for index in sorted(lifetimes, key=lambda index: (-sizes[index], index)):
        first, last = lifetimes[index]
        beside = [other for other in placed if other.first <= last and first <= other.last]
        placed.append(Placed(index, sizes[index], first, last, _first_gap(beside, sizes[index])))
    return tuple(sorted(placed, key=lambda activation: activation.tensor))


def _first_gap(beside: list[Placed], size: int) -> int:
    offset = 0
    for other in sorted(beside, key=lambda activation: activation.offset):
        if other.offset - offset >= size:
            break
        offset = max(offset, other.end)
    return offset


def _lifetimes(structure: Structure, source: str) -> dict[int, tuple[int, int]]:
    """Return the first and last operator, from 1, of each tensor that is computed or given (then first is 0)."""
    first = dict.fromkeys(structure.inputs, 0)
    last = dict(first)
    for position, operator in enumerate(structure.operators, 1):
        for index in operator.outputs:
            if index in first:
                raise ModelError(f"{source}: a damaged model: tensor {index} is written twice")
            first[index] = last[index] = position
        for index in operator.inputs:
            # Constants stay in the file; an optional input that is not there is -1.
            if index in first:
                last[index] = position
    last.update({index: len(structure.operators) for index in structure.outputs if index in first})
    return {index: (first[index], last[index]) for index in first}


def _bytes(structure: Structure, index: int, source: str) -> int:
    tensor = structure.tensors[index]
    if tensor.type not in TYPE_BYTES:
        raise ModelError(f"{source}: an activation of type {tensor.type}, which has no place in a tensor arena")
    # An open batch size may be -1; a microcontroller takes one image at a time.
    return _aligned(TYPE_BYTES[tensor.type] * math.prod(max(size, 1) for size in tensor.shape))


def _overhead(structure: Structure, pointer_bytes: int) -> int:
    channels = sum(
        structure.tensors[operator.inputs[1]].shape[CHANNEL_AXIS[operator.name]]
        for operator in structure.operators
        if operator.name in CHANNEL_AXIS
    )
    pointers = (
        TENSOR_POINTERS * len(structure.tensors)
        + OPERATOR_POINTERS * len(structure.operators)
        + END_POINTERS * (len(structure.inputs) + len(structure.outputs))
    )
    return FIXED_BYTES + pointer_bytes * pointers + KERNEL_BYTES * len(structure.operators) + CHANNEL_BYTES * channels


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
