"""Train the variants of an ablation; what is done is not done again."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

from edge_fmnist.data.dataset import Split
from edge_fmnist_export.search.ablation.variants import Variant, brief
from edge_fmnist_export.search.zoo.build import train_network
from edge_fmnist_export.training import backend
from edge_fmnist_export.training import train_recipe as training

# Told which variant is trained with which seed; gives what listens to it.
Announce = Callable[[Variant, int], AbstractContextManager[training.Listener]]


@dataclass
class Row:
    """A variant and what it reached.

    Attributes:
        variant: the variant.
        accuracies: validation accuracy of the best epoch, 0 to 1, by seed.
    """

    variant: Variant
    accuracies: dict[int, float] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """The mean accuracy of the seeds, 0 to 1."""
        return mean(self.accuracies.values())

    def differences(self, whole: Row) -> list[float]:
        """Return the accuracy less that of the whole recipe, for each seed that both are trained with, -1 to 1."""
        return [
            accuracy - whole.accuracies[seed] for seed, accuracy in self.accuracies.items() if seed in whole.accuracies
        ]


def train_variants(
    folder: Path, variants: Sequence[Variant], seeds: Sequence[int], epochs: int, data: Split, announce: Announce
) -> Iterator[list[Row]]:
    """Train every variant with every seed, all with the first seed before any with the second.

    Args:
        folder: takes a run folder for each, ``VARIANT/seed-N``.
        variants: what is trained; the whole recipe first.
        seeds: of the runs.
        epochs: of the float phase.
        data: the training split; validation is taken from it.
        announce: called before each run.

    Yields:
        After each run, the rows of all variants that are trained with one seed at least.

    Raises:
        RunError: a folder holds a run of another recipe or data set, or a damaged one.
        EdgeFmnistError: as :func:`edge_fmnist_export.training.train_recipe.train`.
    """
    rows = [Row(variant) for variant in variants]
    for seed in seeds:
        for row in rows:
            # Keras keeps every graph until it is told, and torch counts compilations of one function.
            backend.keras_module().utils.clear_session()
            gc.collect()
            place = folder / row.variant.folder / f"seed-{seed}"
            with announce(row.variant, seed) as listener:
                run = train_network(place, brief(row.variant.recipe, epochs, seed), data, listener)
            row.accuracies[seed] = run.read_json("metrics.json", {})[training.FLOAT]["validation_accuracy"]
            yield [each for each in rows if each.accuracies]
