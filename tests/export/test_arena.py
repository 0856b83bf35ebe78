from __future__ import annotations

import itertools

import pytest

from edge_fmnist.errors import ModelError
from edge_fmnist.model.registry import read_model, shipped_models
from edge_fmnist.model.tflite_graph import Graph, Operator, Tensor, read_graph
from edge_fmnist_export.micro.arena import ALIGNMENT, Arena, Placed, estimate


def graph(sizes: dict[int, int], *operators: tuple[tuple[int, ...], int], kind: str = "INT8") -> Graph:
    """Return a graph of tensors with these numbers of elements; each operator reads some and writes one."""
    tensors = tuple(Tensor("", kind, (1, sizes.get(index, 1)), 0, None) for index in range(max(sizes) + 1))
    chain = tuple(Operator("ADD", read, (written,), 0) for read, written in operators)
    return Graph(tensors, chain, (0,), (operators[-1][1],))


def offsets(arena: Arena) -> dict[int, int]:
    return {placed.tensor: placed.offset for placed in arena.activations}


def test_a_chain_needs_its_two_largest_adjacent_tensors() -> None:
    arena = estimate(graph({0: 160, 1: 320, 2: 640, 3: 16}, ((0,), 1), ((1,), 2), ((2,), 3)), "test")
    assert arena.planned == 320 + 640
    assert offsets(arena) == {2: 0, 1: 640, 0: 0, 3: 640}


def test_a_skip_connection_keeps_its_tensor() -> None:
    """As in a residual block: 784 bytes in, then three maps of 12,544 bytes at the same time."""
    arena = estimate(graph({0: 784, 1: 12_544, 2: 12_544, 3: 12_544, 4: 12_544}, *RESIDUAL), "test")
    assert arena.planned == 3 * 12_544
    lifetimes = {placed.tensor: (placed.first, placed.last) for placed in arena.activations}
    assert lifetimes == {0: (0, 1), 1: (1, 4), 2: (2, 3), 3: (3, 4), 4: (4, 4)}


RESIDUAL = (((0,), 1), ((1,), 2), ((2,), 3), ((3, 1), 4))


def test_the_first_gap_that_fits_is_taken() -> None:
    """Tensor 3 fits between the two that are needed while it is, since the tensor before it is no longer needed."""
    made = graph({0: 640, 1: 320, 2: 160, 3: 64, 4: 16}, ((0,), 1), ((0, 1), 2), ((0, 2), 3), ((0, 2, 3), 4))
    assert offsets(estimate(made, "test")) == {0: 0, 1: 640, 2: 960, 3: 640, 4: 704}


def test_sizes_are_aligned_and_count_the_type() -> None:
    def bytes_of(kind: str) -> int:
        return estimate(graph({0: 10, 1: 1}, ((0,), 1), kind=kind), "test").activations[0].bytes

    assert {kind: bytes_of(kind) for kind in TYPES} == TYPES


TYPES = {"INT8": 16, "INT16": 32, "INT32": 48, "FLOAT32": 48}


def test_weights_of_four_bits_are_expanded_while_their_operator_runs() -> None:
    def planned(kind: str) -> int:
        tensors = [Tensor("", "INT8", (1, 16), 0, None)] * 3 + [Tensor("", kind, (16, 3, 3, 8), 576, None)]
        chain = (Operator("CONV_2D", (0, 3), (1,), 0), Operator("CONV_2D", (1, 3), (2,), 0))
        return estimate(Graph(tuple(tensors), chain, (0,), (2,)), "test").planned

    assert (planned("INT8"), planned("INT4")) == (32, 32 + 16 * 3 * 3 * 8)


def test_overhead_grows_with_channels_and_operators() -> None:
    def overhead(channels: int, operators: int) -> int:
        tensors = (Tensor("", "INT8", (1, 16), 0, None),) * (operators + 1)
        filters = Tensor("", "INT8", (channels, 3, 3, 1), 9 * channels, None)
        chain = tuple(Operator("CONV_2D", (i, operators + 1), (i + 1,), 0) for i in range(operators))
        graph = Graph((*tensors, filters), chain, (0,), (operators,))
        return estimate(graph, "test").overhead

    # A multiplier and a shift for each channel.
    assert overhead(32, 1) - overhead(16, 1) == 16 * 8
    assert overhead(16, 2) > overhead(16, 1) + 16 * 8


@pytest.mark.parametrize("name", list(shipped_models()))
def test_no_two_activations_of_a_shipped_model_are_in_the_same_place(name: str) -> None:
    arena = estimate(read_graph(read_model(name).content, name), name)
    assert len(arena.activations) > 3
    for one, other in itertools.combinations(arena.activations, 2):
        if one.first <= other.last and other.first <= one.last:
            assert one.end <= other.offset or other.end <= one.offset
    assert all(placed.offset % ALIGNMENT == 0 for placed in arena.activations)
    assert arena.planned >= most_at_once(arena.activations)
    assert arena.total >= arena.planned + arena.overhead


def most_at_once(activations: tuple[Placed, ...]) -> int:
    """Return the most bytes that are needed during one operator: no plan can do with less."""
    steps = range(max(placed.last for placed in activations) + 1)
    return max(sum(placed.bytes for placed in activations if placed.first <= step <= placed.last) for step in steps)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (graph({0: 1, 1: 1}, ((0,), 1), kind="STRING"), "unsupported type STRING"),
        (graph({0: 1, 1: 1}, ((0,), 1), ((0,), 1)), "written twice"),
        (graph({0: 1, 1: 1}, ((0,), 7)), "missing tensor"),
    ],
)
def test_what_cannot_be_planned(graph: Graph, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        estimate(graph, "model.tflite")
