"""The space of networks that a search draws from: residual networks, sampled and mutated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge_fmnist_export.architectures.residual import Network, Stage

# Drawing a network at random meets the limits of the default space more often than one time in ten.
MOST_TRIES = 1000


@dataclass(frozen=True)
class Space:
    """Which networks there are.

    Attributes:
        filters: what stem and blocks choose from, rising; a network given to mutate may have others in between.
        sizes: edges of the kernels in pixels, rising.
        blocks: smallest and largest number of blocks.
        halvings: smallest and largest number of stages with a stride of 2.
        most_parameters: limit of the size.
        most_macs: limit of multiply-accumulates for one image, and so of the time that training takes.
    """

    filters: Sequence[int] = (8, 12, 16, 24, 32, 40, 48, 64, 80, 96, 128)
    sizes: Sequence[int] = (3, 5)
    blocks: tuple[int, int] = (2, 5)
    halvings: tuple[int, int] = (2, 3)
    most_parameters: int = 400_000
    most_macs: int = 16_000_000

    def holds(self, network: Network) -> bool:
        """Tell whether a network is within the limits."""
        halvings = sum(stage.strides == 2 for stage in network.stages)
        return (
            all(stage.size in self.sizes for stage in network.stages)
            and all(self.filters[0] <= stage.filters <= self.filters[-1] for stage in network.stages)
            and self.blocks[0] <= len(network.blocks) <= self.blocks[1]
            and self.halvings[0] <= halvings <= self.halvings[1]
            and network.parameters <= self.most_parameters
            and network.macs <= self.most_macs
        )

    def sample(self, rng: np.random.Generator) -> Network | None:
        """Draw a network, the filters rising from stage to stage; None where none was found within the limits."""
        for _ in range(MOST_TRIES):
            count = int(rng.integers(self.blocks[0], self.blocks[1], endpoint=True)) + 1
            filters = np.sort(rng.choice(self.filters, count))
            sizes = rng.choice(self.sizes, count, p=self._odds())
            halvings = min(count, int(rng.integers(self.halvings[0], self.halvings[1], endpoint=True)))
            halved = rng.choice(count, halvings, replace=False)
            stages = [
                Stage(int(filters[index]), int(sizes[index]), 2 if index in halved else 1) for index in range(count)
            ]
            network = Network(stages[0], tuple(stages[1:]))
            if self.holds(network):
                return network
        return None

    def mutate(self, network: Network, rng: np.random.Generator) -> Network | None:
        """Return a network that differs in one or two steps; None where none was found within the limits."""
        for _ in range(MOST_TRIES):
            stages = list(network.stages)
            for _ in range(int(rng.integers(1, 3))):
                MUTATIONS[int(rng.integers(len(MUTATIONS)))](self, stages, rng)
            mutated = Network(stages[0], tuple(stages[1:]))
            if mutated != network and self.holds(mutated):
                return mutated
        return None

    def _odds(self) -> list[float]:
        """Return how likely each kernel size is: the smallest half of the time, since it is the cheapest."""
        if len(self.sizes) == 1:
            return [1.0]
        return [0.5] + [0.5 / (len(self.sizes) - 1)] * (len(self.sizes) - 1)


Mutation = Callable[[Space, list[Stage], np.random.Generator], None]


def _change_filters(space: Space, stages: list[Stage], rng: np.random.Generator) -> None:
    """Take the next larger or smaller number of filters in one stage."""
    index = int(rng.integers(len(stages)))
    stages[index] = replace(stages[index], filters=_neighbour(space.filters, stages[index].filters, rng))


def _change_size(space: Space, stages: list[Stage], rng: np.random.Generator) -> None:
    """Take the next larger or smaller kernel in one stage."""
    index = int(rng.integers(len(stages)))
    stages[index] = replace(stages[index], size=_neighbour(space.sizes, stages[index].size, rng))


def _change_strides(_: Space, stages: list[Stage], rng: np.random.Generator) -> None:
    """Make one stage halve the image, or not."""
    index = int(rng.integers(len(stages)))
    stages[index] = replace(stages[index], strides=3 - stages[index].strides)


def _swap_strides(_: Space, stages: list[Stage], rng: np.random.Generator) -> None:
    """Move the stride of a stage to the one after it, or the other way about."""
    index = int(rng.integers(len(stages) - 1))
    first, second = stages[index], stages[index + 1]
    stages[index : index + 2] = [replace(first, strides=second.strides), replace(second, strides=first.strides)]


def _add_block(_: Space, stages: list[Stage], rng: np.random.Generator) -> None:
    """Put a block like it behind a stage."""
    index = int(rng.integers(len(stages)))
    stages.insert(index + 1, replace(stages[index], strides=1))


def _remove_block(_: Space, stages: list[Stage], rng: np.random.Generator) -> None:
    """Take a block away, but not the last one."""
    if len(stages) > 2:
        del stages[int(rng.integers(1, len(stages)))]


MUTATIONS: tuple[Mutation, ...] = (
    _change_filters,
    _change_size,
    _change_strides,
    _swap_strides,
    _add_block,
    _remove_block,
)


def _neighbour(choices: Sequence[int], value: int, rng: np.random.Generator) -> int:
    """Return the next larger or smaller choice; at an end, the value itself."""
    if rng.random() < 0.5:
        return min((choice for choice in choices if choice > value), default=value)
    return max((choice for choice in choices if choice < value), default=value)
