"""The search itself: try a network, write down what came of it, go on until the budget is spent."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Protocol

from edge_fmnist.errors import CheckError, RunError
from edge_fmnist_export.quantize.convert import representative_dataset
from edge_fmnist_export.search.propose import FIRST, Proposal, propose
from edge_fmnist_export.search.recipes import brief_recipe, candidate_name
from edge_fmnist_export.search.space import Space
from edge_fmnist_export.search.state import Candidate, Measured, Settings, State, save_state
from edge_fmnist_export.search.trial import Bench, measure_candidate, representative_count, train_candidate
from edge_fmnist_export.training import training_data as material
from edge_fmnist_export.training.train_recipe import Listener

CANDIDATES = "candidates"


class Observer(Protocol):
    """What a search tells while it runs."""

    def training(self, number: int, proposal: Proposal, state: State) -> AbstractContextManager[Listener]:
        """Tell that a candidate's training starts; the listener is told of its progress inside the block."""

    def measuring(self) -> AbstractContextManager[object]:
        """Tell that it is written and measured inside the block."""

    def candidate_done(self, candidate: Candidate, state: State) -> None:
        """Tell what came of it."""


@dataclass(frozen=True)
class Search:
    """A search in a folder.

    Attributes:
        folder: where its state and its candidates lie.
        bench: what all candidates share.
        observer: told of progress.
        space: where networks come from.
        clock: gives seconds.
    """

    folder: Path
    bench: Bench
    observer: Observer
    space: Space = field(default_factory=Space)
    clock: Callable[[], float] = time.monotonic

    def run(self, state: State, budget: float) -> State:
        """Try one network after another until the next one would not fit into the budget.

        A network that fails is written down with the reason, and the search goes on.

        Args:
            state: where to go on from.
            budget: seconds that all candidates may take together, those of the state among them.

        Returns:
            The last state; it is on the disk too.

        Raises:
            EdgeFmnistError: the data set, the reference or the extras cannot be used.
            OSError: a file cannot be written.
        """
        while _fits(state, budget):
            proposal = propose(state, self.space)
            if proposal is None:
                break
            state = self._try(state, proposal)
        return state

    def _try(self, state: State, proposal: Proposal) -> State:
        number, architecture = len(state.candidates) + 1, str(proposal.network)
        started = self.clock()
        measured, failure = None, ""
        try:
            measured = self._measured(number, proposal, state)
        except (RunError, CheckError) as error:
            failure = str(error)
        candidate = Candidate(
            number=number,
            architecture=architecture,
            parent=proposal.parent,
            seconds=round(self.clock() - started, 3),
            measured=measured,
            failure=failure,
        )
        state = state.with_candidate(candidate)
        save_state(self.folder, state)
        self.observer.candidate_done(candidate, state)
        return state

    def _measured(self, number: int, proposal: Proposal, state: State) -> Measured:
        folder = self.folder / CANDIDATES / candidate_name(number)
        recipe = brief_recipe(number, str(proposal.network), state.settings, len(self.bench.data))
        with self.observer.training(number, proposal, state) as listener:
            run = train_candidate(folder, recipe, self.bench, listener)
        with self.observer.measuring():
            return measure_candidate(run, self.bench)


def check_first(settings: Settings, bench: Bench) -> None:
    """Check that there are images enough to train and to validate on, before anything is written.

    Raises:
        DataError: there are not.
    """
    recipe = brief_recipe(1, FIRST, settings, len(bench.data))
    train, _ = material.subsets(recipe, bench.data)
    representative_dataset(train, representative_count(train), settings.seed)


def _fits(state: State, budget: float) -> bool:
    """Tell whether a candidate that takes as long as the median so far fits into what is left of the budget."""
    usual = median([candidate.seconds for candidate in state.candidates] or [0.0])
    return state.seconds + usual < budget
