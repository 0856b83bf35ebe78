from __future__ import annotations

import numpy as np
import pytest

from edge_fmnist_export.architectures.residual import Network, parse
from edge_fmnist_export.search.propose import FIRST
from edge_fmnist_export.search.space import MUTATIONS, Space

SPACE = Space()


def test_the_first_network_is_in_the_space() -> None:
    assert SPACE.holds(parse(FIRST))


@pytest.mark.parametrize(
    "name",
    [
        "resnet:4;16,32/2,32,80/2",  # too few filters
        "resnet:16;16,32/2,32,136/2",  # too many
        "resnet:16k7;16,32/2,32,80/2",  # kernels
        "resnet:16/2;80/2",  # too few blocks
        "resnet:8;8/2,8,8,8,8/2,8",  # too many
        "resnet:16;16,32/2,32,80",  # halved once
        "resnet:8/2;8/2,8/2,8/2",  # halved four times
        "resnet:16/2;128/2,128",  # too large
        "resnet:128;16/2,16/2",  # within all limits
    ],
)
def test_limits(name: str) -> None:
    assert SPACE.holds(parse(name)) == (name == "resnet:128;16/2,16/2")


def test_too_many_multiply_accumulates() -> None:
    network = parse("resnet:64;64,16/2,16/2")
    assert network.parameters < SPACE.most_parameters
    assert not SPACE.holds(network)


def test_drawn_networks_are_in_the_space_and_differ() -> None:
    rng = np.random.default_rng(0)
    drawn = [SPACE.sample(rng) for _ in range(200)]
    assert all(network is not None and SPACE.holds(network) for network in drawn)
    assert len(set(drawn)) > 150
    assert {len(network.blocks) for network in drawn if network} == {2, 3, 4, 5}
    assert {stage.size for network in drawn if network for stage in network.stages} == {3, 5}


def test_mutations_stay_in_the_space_and_change_something() -> None:
    rng = np.random.default_rng(0)
    network: Network | None = parse(FIRST)
    seen = set()
    for _ in range(300):
        assert network is not None
        mutated = SPACE.mutate(network, rng)
        assert mutated is not None
        assert mutated != network
        assert SPACE.holds(mutated)
        seen.add(mutated)
        network = mutated
    assert len(seen) > 200


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_each_mutation_changes_some_network(mutation: object) -> None:
    rng = np.random.default_rng(1)
    stages = list(parse(FIRST).stages)
    before = list(stages)
    for _ in range(20):
        mutation(SPACE, stages, rng)  # type: ignore[operator]
    assert stages != before
    assert len(stages) >= 2


def test_the_same_seed_gives_the_same_networks() -> None:
    one, other = np.random.default_rng(7), np.random.default_rng(7)
    assert [SPACE.sample(one) for _ in range(20)] == [SPACE.sample(other) for _ in range(20)]
    first = parse(FIRST)
    assert [SPACE.mutate(first, one) for _ in range(20)] == [SPACE.mutate(first, other) for _ in range(20)]


def test_a_space_without_networks_gives_none() -> None:
    empty = Space(most_parameters=10)
    rng = np.random.default_rng(0)
    assert empty.sample(rng) is None
    assert empty.mutate(parse(FIRST), rng) is None


def test_a_space_of_one_kernel_size() -> None:
    network = Space(sizes=(3,)).sample(np.random.default_rng(0))
    assert network is not None
    assert {stage.size for stage in network.stages} == {3}
