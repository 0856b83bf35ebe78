"""A search's progress for people: a bar while a candidate trains, and a line for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from edge_fmnist_export.search.front import pareto_front
from edge_fmnist_export.search.propose import Proposal
from edge_fmnist_export.search.state import Candidate, State
from edge_fmnist_export.training.phase import EpochRecord
from edge_fmnist_export.training.train_recipe import Listener


class TrainingBar:
    """Moves a bar with a candidate's training."""

    def __init__(self, progress: Progress, title: str) -> None:
        self._progress, self._title = progress, title
        self._task = progress.add_task(title, total=None, figures="starting")
        self._epochs = 0

    def photo_done(self, done: int, of: int) -> None:
        """Do nothing: candidates train without photographs."""

    def view_done(self, done: int, of: int) -> None:
        """Do nothing: candidates train without teachers."""

    def phase_started(self, phase: str, epochs: int, steps: int, done: int) -> None:
        """Tell how much there is to do."""
        self._epochs = epochs
        description = f"{self._title}, {phase} epoch {done + 1}/{epochs}"
        self._progress.update(self._task, description=description, total=epochs * steps, completed=done * steps)

    def step_done(self, loss: float, accuracy: float, steps: int = 1) -> None:
        """Move the bar."""
        self._progress.update(self._task, advance=steps, figures=f"loss {loss:.4f} accuracy {accuracy:.2%}")

    def epoch_done(self, record: EpochRecord) -> None:
        """Tell which epoch comes next."""
        following = min(record.epoch + 1, self._epochs)
        description = f"{self._title}, {record.phase} epoch {following}/{self._epochs}"
        self._progress.update(self._task, description=description)


class SearchProgress:
    """Shows a search on a console.

    Args:
        console: where it is shown.
        budget: seconds that the search may take.
        quiet: keeps the chatter of native code away while a file is written and measured.
    """

    def __init__(self, console: Console, budget: float, quiet: Callable[[], AbstractContextManager[None]]) -> None:
        self._console, self._budget, self._quiet = console, budget, quiet

    @contextmanager
    def training(self, number: int, proposal: Proposal, state: State) -> Iterator[Listener]:
        """Show a bar inside the block."""
        spent = f"{state.seconds / 60:.1f} of {self._budget / 60:g} minutes"
        title = f"{spent}, candidate {number} {proposal.network}"
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        # Without a terminal there is nothing to redraw, and the candidates' lines say enough.
        shown = self._console.is_terminal
        with Progress(*columns, console=self._console, transient=True, disable=not shown) as progress:
            yield TrainingBar(progress, escape(title))

    def measuring(self) -> AbstractContextManager[None]:
        """Keep native code quiet inside the block."""
        return self._quiet()

    def candidate_done(self, candidate: Candidate, state: State) -> None:
        """Print the candidate's line."""
        self._console.print(escape(line(candidate, state)), soft_wrap=True)


def line(candidate: Candidate, state: State) -> str:
    """Return one line on what came of a candidate, and whether it is on the front so far."""
    found = candidate.measured
    if found is None:
        return f"candidate {candidate.number} {candidate.architecture}: failed: {candidate.failure}"
    on_front = " (front)" if candidate in pareto_front(state.candidates) else ""
    return (
        f"candidate {candidate.number} {candidate.architecture}: {found.accuracy:.2%}, "
        f"{found.ratio:.2f} x reference, {found.bytes:,} bytes, {candidate.seconds:.0f} s{on_front}"
    )
