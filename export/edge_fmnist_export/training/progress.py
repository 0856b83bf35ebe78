"""Training progress: a bar with loss, accuracy and remaining time, and a line for each epoch."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from edge_fmnist_export.training.phase import EpochRecord


class ProgressListener(Progress):
    """Shows training on a console; use as a context manager."""

    def __init__(self, console: Console) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task: TaskID | None = None
        self._preparing, self._phase, self._epochs = "", "", 0

    def photo_done(self, done: int, of: int) -> None:
        """Update the bar of photographs, which are preprocessed before the first phase."""
        self._prepared("preprocessing photographs", done, of)

    def view_done(self, done: int, of: int) -> None:
        """Update the bar of views for which the teachers' logits are computed before the first phase."""
        self._prepared("computing the teachers' logits", done, of)

    def phase_started(self, phase: str, epochs: int, steps: int, done: int) -> None:
        """Start a bar over all steps of a phase."""
        self._phase, self._epochs = phase, epochs
        self._start(self._title(done), epochs * steps, "starting", done * steps)

    def step_done(self, loss: float, accuracy: float, steps: int) -> None:
        """Advance the bar."""
        if self._task is not None:
            self.update(self._task, advance=steps, figures=f"loss {loss:.4f} accuracy {accuracy:.2%}")

    def epoch_done(self, record: EpochRecord) -> None:
        """Print a line for the epoch."""
        if self._task is not None:
            self.update(self._task, description=self._title(record.epoch))
        self.console.print(
            f"{record.phase} epoch {record.epoch}/{self._epochs}: loss {record.loss:.4f}, "
            f"accuracy {record.accuracy:.2%}, validation loss {record.validation_loss:.4f}, "
            f"validation accuracy {record.validation_accuracy:.2%}, {record.seconds:.1f} s, "
            f"{record.images_per_second:,.0f} images/s"
        )

    def _prepared(self, what: str, done: int, of: int) -> None:
        if self._preparing != what:
            self._preparing = what
            self._start(what, of, "")
        if self._task is not None:
            self.update(self._task, completed=done)

    def _start(self, title: str, total: int, figures: str, completed: int = 0) -> None:
        """Replace the bar."""
        if self._task is not None:
            self.remove_task(self._task)
        self._task = self.add_task(title, total=total, completed=completed, figures=figures)

    def _title(self, done: int) -> str:
        return f"{self._phase} epoch {min(done + 1, self._epochs)}/{self._epochs}"
