"""Estimate the tensor arena that TensorFlow Lite for Microcontrollers (TFLM) needs for a model.

TFLM allocates no memory: the application passes one block, the arena. One end holds activations, which share bytes if
their lifetimes do not overlap; the other holds what lives as long as the interpreter.

The placement of activations follows TFLM's greedy memory planner, their lifetimes its memory management page:
https://github.com/tensorflow/tflite-micro/blob/main/tensorflow/lite/micro/memory_planner/greedy_memory_planner.h
https://github.com/tensorflow/tflite-micro/blob/main/tensorflow/lite/micro/docs/memory_management.md
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from edge_fmnist.errors import ModelError
from edge_fmnist.model.tflite_graph import Graph

# Alignment of buffers in the arena, in bytes.
ALIGNMENT = 16
TYPE_BYTES = {
    "BOOL": 1,
    # Expanded to a byte each.
    "INT4": 1,
    "INT8": 1,
    "UINT8": 1,
    "INT16": 2,
    "FLOAT16": 2,
    "INT32": 4,
    "UINT32": 4,
    "FLOAT32": 4,
    "INT64": 8,
}
# On a microcontroller; the overhead of tensors, operators, inputs and outputs is mostly pointers.
POINTER_BYTES = 4
TENSOR_POINTERS, OPERATOR_POINTERS, END_POINTERS = 3, 8, 12
# Parsed options and kernel data of an operator; a multiplier and a shift of four bytes for each channel.
KERNEL_BYTES, CHANNEL_BYTES = 72, 8
# The allocator and the planner.
FIXED_BYTES = 896
# The axis of a filter's output channels, by operator.
CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "TRANSPOSE_CONV": 0}


@dataclass(frozen=True)
class Placed:
    """An activation in the arena: its tensor, size in bytes, rounded up to the alignment, and offset in bytes.

    Attributes:
        first: the operator that writes it, counted from 1; 0 for an input of the graph.
        last: the last operator that reads it.
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
    """An estimate of the tensor arena: its activations, and an upper estimate of the interpreter's other bytes."""

    activations: tuple[Placed, ...]
    overhead: int

    @property
    def planned(self) -> int:
        """Bytes of all activations."""
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


def estimate(graph: Graph, source: str) -> Arena:
    """Estimate the tensor arena for one image.

    Included: the scratch memory into which kernels expand weights of four bits. Not included: that of optimized
    kernels (such as the convolutions of CMSIS-NN and ESP-NN), variables, subgraphs, and memory that the application
    takes from the arena. Measure on the device with TFLM's ``arena_used_bytes()``.

    Raises:
        ModelError: a damaged model, or an activation of a type that TFLM does not support.
    """
    try:
        return Arena(_plan(graph, source), _overhead(graph))
    except IndexError as error:
        raise ModelError(f"{source}: a damaged model: an operator refers to a missing tensor") from error


def _plan(graph: Graph, source: str) -> tuple[Placed, ...]:
    """Place the largest activation first, each in the first gap between those with an overlapping lifetime."""
    placed: list[Placed] = []
    lifetimes = _lifetimes(graph, source)
    sizes = {index: _bytes(graph, index, source) for index in lifetimes}
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


def _lifetimes(graph: Graph, source: str) -> dict[int, tuple[int, int]]:
    """Return the first and last operator, counted from 1, of each computed tensor and each input (first is 0).

    Weights of four bits, which are expanded for one operator, are among them.
    """
    first = dict.fromkeys(graph.inputs, 0)
    last = dict(first)
    for position, operator in enumerate(graph.operators, 1):
        for index in operator.outputs:
            if index in first:
                raise ModelError(f"{source}: a damaged model: tensor {index} is written twice")
            first[index] = last[index] = position
        for index in operator.inputs:
            # Constants stay in the file; a missing optional input is -1. Kernels expand weights of four bits into
            # scratch memory of the arena.
            if index in first:
                last[index] = position
            elif index >= 0 and graph.tensors[index].type == "INT4":
                first[index] = last[index] = position
    last.update({index: len(graph.operators) for index in graph.outputs if index in first})
    return {index: (first[index], last[index]) for index in first}


def _bytes(graph: Graph, index: int, source: str) -> int:
    tensor = graph.tensors[index]
    if tensor.type not in TYPE_BYTES:
        raise ModelError(f"{source}: an activation of the unsupported type {tensor.type}")
    # A dynamic batch size is -1; a microcontroller runs one image at a time.
    return _aligned(TYPE_BYTES[tensor.type] * math.prod(max(size, 1) for size in tensor.shape))


def _overhead(graph: Graph) -> int:
    channels = sum(
        graph.tensors[operator.inputs[1]].shape[CHANNEL_AXIS[operator.name]]
        for operator in graph.operators
        if operator.name in CHANNEL_AXIS
    )
    pointers = (
        TENSOR_POINTERS * len(graph.tensors)
        + OPERATOR_POINTERS * len(graph.operators)
        + END_POINTERS * (len(graph.inputs) + len(graph.outputs))
    )
    return FIXED_BYTES + POINTER_BYTES * pointers + KERNEL_BYTES * len(graph.operators) + CHANNEL_BYTES * channels


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
