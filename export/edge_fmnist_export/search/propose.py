"""Which network a search tries next: drawn at first, then mutated from the front."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_fmnist_export.architectures import edge
from edge_fmnist_export.architectures.residual import Network, parse
from edge_fmnist_export.search.front import pareto_front
from edge_fmnist_export.search.space import MOST_TRIES, Space
from edge_fmnist_export.search.state import State

# What comes first, so that every search can be compared with it: the network of the default model.
FIRST = str(edge.NETWORK)


@dataclass(frozen=True)
class Proposal:
    """The network to try next, and the number of the candidate it was mutated from (None where it was drawn)."""

    network: Network
    parent: int | None


def propose(state: State, space: Space) -> Proposal | None:
    """Return a network that was not tried yet, or None where none is found.

    It depends on the seed and on what was found so far alone, so that an
    interrupted search goes on with the very network it was at.

    Args:
        state: what was tried.
        space: where networks come from.
    """
    number = len(state.candidates) + 1
    rng = np.random.default_rng((state.settings.seed, number))
    tried = {parse(candidate.architecture) for candidate in state.candidates}
    first = parse(FIRST)
    if first not in tried and space.holds(first):
        return Proposal(first, None)
    front = pareto_front(state.candidates) if number > state.settings.population else []
    for _ in range(MOST_TRIES):
        if front:
            parent = front[int(rng.integers(len(front)))]
            proposal, origin = space.mutate(parse(parent.architecture), rng), parent.number
        else:
            proposal, origin = space.sample(rng), None
        if proposal is not None and proposal not in tried:
            return Proposal(proposal, origin)
    return None
