"""Progress of a report for people: a bar over the sections, and a line for each that is done."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

from edge_fmnist_export.training.progress import ShownProgress


class ReportProgress(ShownProgress):
    """Shows how far a report is on a console; use as a context manager."""

    def __init__(self, console: Console, sections: int) -> None:
        """Prepare a bar.

        Args:
            console: where to.
            sections: how many there will be.
        """
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("loading", total=sections)
        self._done = 0
        self._name, self._begun = "", 0.0

    def preparing(self, what: str) -> None:
        """Show what is done before the first section."""
        self._progress.update(self._task, description=what)

    def section_started(self, name: str) -> None:
        """Show the name of the section that is built now."""
        self.section_ended()
        self._name, self._begun = name, time.perf_counter()
        self._progress.update(self._task, description=name)

    def moved(self, message: str, share: float) -> None:
        """Show what the section does, and the share of it that is done, 0 to 1."""
        description = f"{self._name}: {message}" if self._name else message
        self._progress.update(self._task, description=description, completed=self._done + min(max(share, 0.0), 1.0))

    def section_ended(self) -> None:
        """Print a line on the section that ends, if one does."""
        if not self._name:
            return
        seconds = time.perf_counter() - self._begun
        self._done += 1
        self._progress.update(self._task, completed=self._done)
        self._progress.console.print(f"{self._name}: {seconds:.1f} s", highlight=False)
        self._name = ""
