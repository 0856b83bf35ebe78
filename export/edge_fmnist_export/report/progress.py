"""Progress of a report on the console: a bar, and a line for each finished section."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


class ReportProgress(Progress):
    """Shows the progress of a report; use as a context manager."""

    def __init__(self, console: Console, sections: int) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task = self.add_task("loading", total=sections)
        self._done = 0
        self._name, self._begun = "", 0.0

    def preparing(self, step: str) -> None:
        """Show a step before the first section."""
        self.update(self._task, description=step)

    def section_started(self, name: str) -> None:
        """Show the section that is being built."""
        self.section_ended()
        self._name, self._begun = name, time.perf_counter()
        self.update(self._task, description=name)

    def section_progress(self, step: str, share: float) -> None:
        """Show the step of the section, and the share that is done, 0 to 1."""
        completed = self._done + min(max(share, 0.0), 1.0)
        self.update(self._task, description=f"{self._name}: {step}", completed=completed)

    def section_ended(self) -> None:
        """Print a line about the current section, if there is one."""
        if self._name:
            self._done += 1
            self.update(self._task, completed=self._done)
            self.console.print(f"{self._name}: {time.perf_counter() - self._begun:.1f} s", highlight=False)
            self._name = ""
