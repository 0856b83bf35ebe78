"""Search space: residual networks of 2 to 5 blocks, as parameters of an Optuna trial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge_fmnist_export.architectures import edge
from edge_fmnist_export.architectures.residual import Network, Stage

if TYPE_CHECKING:
    from optuna import Trial

# The first candidate is the network of the default model, so that every search contains a known result.
FIRST = edge.NETWORK
FILTERS = tuple(sorted({8, 12, 16, 24, 32, 40, 48, 64, 80, 96, 128} | {stage.filters for stage in FIRST.stages}))
KERNELS, STRIDES = (3, 5), (1, 2)
LEAST_BLOCKS, MOST_BLOCKS = 2, 5
LEAST_HALVINGS, MOST_HALVINGS = 2, 3
MOST_PARAMETERS, MOST_MACS = 400_000, 16_000_000


def suggest_network(trial: Trial) -> Network:
    """Return the network that a trial proposes, which may exceed the limits of :func:`within_limits`.

    Every trial has the same parameters, as NSGA-II needs for its crossover; those of unused stages have no effect.
    Filters are sorted, so that they never decrease from stage to stage.
    """
    count = 1 + trial.suggest_int("blocks", LEAST_BLOCKS, MOST_BLOCKS)
    genes = [
        (
            trial.suggest_categorical(f"filters_{index}", FILTERS),
            trial.suggest_categorical(f"kernel_{index}", KERNELS),
            trial.suggest_categorical(f"strides_{index}", STRIDES),
        )
        for index in range(1 + MOST_BLOCKS)
    ]
    filters = sorted(width for width, _, _ in genes[:count])
    stem, *blocks = [Stage(filters[index], *genes[index][1:]) for index in range(count)]
    return Network(stem, tuple(blocks))


def trial_parameters(network: Network) -> dict[str, Any]:
    """Return the trial parameters for which :func:`suggest_network` returns this network."""
    parameters: dict[str, Any] = {"blocks": len(network.blocks)}
    for index, stage in enumerate(network.stages):
        parameters |= {f"filters_{index}": stage.filters, f"kernel_{index}": stage.size}
        parameters[f"strides_{index}"] = stage.strides
    return parameters


def within_limits(network: Network) -> bool:
    """Return whether a network meets the limits on downsampling, parameters and multiply-accumulates (MACs)."""
    halvings = sum(stage.strides == 2 for stage in network.stages)
    return (
        LEAST_HALVINGS <= halvings <= MOST_HALVINGS
        and network.parameters <= MOST_PARAMETERS
        and network.macs <= MOST_MACS
    )
