"""Submit partitions to workers, and handle workers that die or hang.

Parts are named by their partition, so doing one twice is harmless: lost work is submitted again. A partition that
loses its worker repeatedly is halved until the photograph at fault is alone; that one becomes a row ``crashed``.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import replace
from typing import Any, Protocol

from edge_fmnist_export.bulk.labeller import Outcome, failed_row
from edge_fmnist_export.bulk.parts import Counts, Row, Task, counted
from edge_fmnist_export.bulk.plan import Plan

# Seconds that a task may take, whatever its size.
PATIENCE = 60.0
# More seconds for each photograph: a multiple of the measured mean, and a guess until something is measured.
SLACK, UNKNOWN_SECONDS = 10.0, 2.0
# A worker exits at the deadline. Without a result GRACE seconds later, the worker hangs or the task is still queued on
# the cluster: the task is submitted again, up to MOST_OVERDUE times, with twice the time limit.
GRACE, MOST_OVERDUE = 30.0, 5
POLL = 0.5


class Workers(Protocol):
    """What runs tasks: a pool of processes or a cluster."""

    # How many times a whole partition is submitted before it is halved.
    attempts: int

    def capacity(self) -> int:
        """Return how many tasks to submit at a time."""

    def submit(self, task: Task) -> Future[Any]:
        """Submit a task; to cancel its future takes it back, if that is possible."""

    def result(self, future: Future[Any]) -> tuple[Outcome, float]:
        """Return what :meth:`Labeller.run` returned, or raise its error; BrokenExecutor: its worker was lost."""
        found: tuple[Outcome, float] = future.result()
        return found


class Engine:
    """Runs the unfinished partitions of a plan; calls ``finished`` with the counts of each.

    A task may take ``patience`` seconds, whatever its size.
    """

    def __init__(
        self, workers: Workers, plan: Plan, finished: Callable[[Counts], None], patience: float = PATIENCE
    ) -> None:
        self._workers, self._plan, self._finished, self._patience = workers, plan, finished, patience
        self._waiting: deque[Task] = deque()
        self._running: dict[Future[Any], tuple[Task, float]] = {}
        self._split: dict[int, list[Row]] = {}
        self._photographs, self._seconds = 0, 0.0

    def run(self) -> None:
        """Label partitions until all of them have a part.

        Raises:
            EdgeFmnistError: an error that all photographs would meet, such as a full disk.
        """
        left = map(self._plan.manifest.task, self._plan.left)
        while True:
            while len(self._running) < self._workers.capacity():
                task = self._waiting.popleft() if self._waiting else next(left, None)
                if task is None:
                    break
                self._submit(task)
            if not self._running:
                return
            for future in wait(self._running, POLL, FIRST_COMPLETED).done:
                self._take(self._running.pop(future)[0], future)
            self._drop_overdue()

    def _submit(self, task: Task) -> None:
        each = SLACK * self._seconds / self._photographs if self._photographs else UNKNOWN_SECONDS
        task = replace(task, seconds=(self._patience + each * len(task.photos)) * 2**task.overdue)
        self._running[self._workers.submit(task)] = task, time.monotonic() + task.seconds + GRACE

    def _drop_overdue(self) -> None:
        for future, (task, deadline) in list(self._running.items()):
            if time.monotonic() > deadline:
                del self._running[future]
                future.cancel()
                if task.overdue == MOST_OVERDUE:
                    self._lost(task, f"no result within {task.seconds:.0f} s")
                else:
                    self._waiting.append(replace(task, overdue=task.overdue + 1))

    def _take(self, task: Task, future: Future[Any]) -> None:
        try:
            outcome, seconds = self._workers.result(future)
        except BrokenExecutor as error:
            self._lost(task, str(error))
            return
        self._photographs += len(task.photos)
        self._seconds += seconds
        if isinstance(outcome, list):
            self._join(task.partition, outcome)
        else:
            self._finished(outcome)

    def _lost(self, task: Task, reason: str) -> None:
        single = len(task.photos) == 1
        if task.attempt < (self._workers.attempts if task.whole else 2 if single else 1):
            self._waiting.append(replace(task, attempt=task.attempt + 1))
            return
        if task.whole:
            self._split[task.partition] = []
        if single:
            error = f"{task.paths[0]}: the worker that read it was lost each time ({reason})"
            self._join(task.partition, [failed_row(task.first, task.paths[0], "crashed", error)])
        else:
            self._waiting.extend(task.halves())

    def _join(self, partition: int, rows: list[Row]) -> None:
        """Collect the rows of a partition that was halved; write its part when they are complete."""
        rows = self._split[partition] = sorted(self._split[partition] + rows, key=lambda row: row["id"])
        task = self._plan.manifest.task(partition)
        if len(rows) == len(task.photos):
            del self._split[partition]
            self._plan.spec.layout.write_part(self._plan.folder, task, rows)
            self._finished(counted(rows))
