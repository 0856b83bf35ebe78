"""Submit partitions to workers, and handle workers that die or hang.

Parts are named by their partition, so doing one twice is harmless: lost work is submitted again. A partition that
loses its worker repeatedly is halved until the photograph at fault is alone; that one becomes a row ``crashed``.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from edge_fmnist.errors import RunError
from edge_fmnist_export.bulk.files import Folder
from edge_fmnist_export.bulk.labeller import Counts, Job, failed_row
from edge_fmnist_export.bulk.parts import Chunk, Layout, Manifest, Row, write_part

# Seconds that a piece of work may take, whatever its size.
PATIENCE = 60.0
# More seconds for each photograph: a multiple of the measured mean, and a guess until something is measured.
SLACK, UNKNOWN_SECONDS = 10.0, 2.0
# Overdue work may only have waited in the queue of a cluster: it is submitted again this often, with twice the time.
MOST_OVERDUE = 5
POLL = 0.5
# A network folder may show a new file late.
VISIBLE_SECONDS = 10.0


@dataclass(frozen=True)
class Lost:
    """A worker ended, or was ended, without a result.

    Attributes:
        reason: for the error of the photograph, if it is found to be the cause.
    """

    reason: str


@dataclass(frozen=True)
class Ended:
    """A piece of work that ended: with counts or rows, or without."""

    job: Job
    outcome: Counts | list[Row] | Lost
    seconds: float = 0.0


class Workers(Protocol):
    """What runs pieces of work: a pool of processes or a cluster.

    Attributes:
        attempts: how many times a whole partition is handed out before it is halved.
    """

    attempts: int

    def free(self) -> int:
        """Return how many pieces of work can be handed out now."""

    def submit(self, job: Job) -> None:
        """Hand out a piece of work."""

    def wait(self, seconds: float) -> list[Ended]:
        """Return what has ended, after at most this time.

        Raises:
            EdgeFmnistError: an error that all photographs would meet, such as a full disk.
        """

    def drop(self, job: Job) -> bool:
        """Forget a piece of work that is overdue; return whether a worker had it, and was not waiting for one."""


class Engine:
    """Runs the unfinished partitions of a manifest."""

    def __init__(
        self, workers: Workers, manifest: Manifest, folder: Folder, layout: Layout, patience: float = PATIENCE
    ) -> None:
        self._workers, self._manifest, self._folder, self._layout = workers, manifest, folder, layout
        self._patience = patience
        self._waiting: deque[Job] = deque()
        self._deadlines: dict[int, tuple[Job, float]] = {}
        self._split: dict[int, list[Row]] = {}
        self._photographs, self._seconds = 0, 0.0
        self._visible = False

    def run(self, partitions: Iterable[int], finished: Callable[[Counts], None]) -> None:
        """Label partitions until all of them have a part.

        Args:
            partitions: their numbers.
            finished: called with the counts of each finished partition.

        Raises:
            EdgeFmnistError: see :meth:`Workers.wait`.
        """
        left = iter(partitions)
        more = True
        while more or self._waiting or self._deadlines:
            while self._workers.free() > 0:
                if not self._waiting:
                    partition = next(left, None)
                    if partition is None:
                        more = False
                        break
                    self._waiting.append(Job(partition, self._manifest.chunk(partition), whole=True))
                self._submit(self._waiting.popleft())
            for ended in self._workers.wait(POLL):
                self._take(ended, finished)
            self._drop_overdue(finished)

    def _submit(self, job: Job) -> None:
        each = SLACK * self._seconds / self._photographs if self._photographs else UNKNOWN_SECONDS
        job = replace(job, seconds=(self._patience + each * len(job.chunk)) * 2**job.overdue)
        self._deadlines[id(job)] = job, time.monotonic() + job.seconds
        self._workers.submit(job)

    def _drop_overdue(self, finished: Callable[[Counts], None]) -> None:
        now = time.monotonic()
        for job, deadline in list(self._deadlines.values()):
            if now <= deadline:
                continue
            if self._workers.drop(job) or job.overdue == MOST_OVERDUE:
                self._take(Ended(job, Lost(f"no result within {job.seconds:.0f} s")), finished)
            else:
                del self._deadlines[id(job)]
                self._waiting.append(replace(job, overdue=job.overdue + 1))

    def _take(self, ended: Ended, finished: Callable[[Counts], None]) -> None:
        job, outcome = ended.job, ended.outcome
        if self._deadlines.pop(id(job), None) is None:
            # It was overdue, and has been handed out again.
            return
        if isinstance(outcome, Lost):
            self._lost(job, outcome, finished)
            return
        self._photographs += len(job.chunk)
        self._seconds += ended.seconds
        if isinstance(outcome, list):
            self._join(job.partition, outcome, finished)
        else:
            self._check_visible(job.partition)
            finished(outcome)

    def _check_visible(self, partition: int) -> None:
        """Check once that what workers write arrives here.

        Raises:
            RunError: it does not, as where the nodes of a cluster have a folder of that name each.
        """
        until = time.monotonic() + VISIBLE_SECONDS
        while not self._visible:
            self._visible = self._layout.part(partition) in self._folder.names()
            if not self._visible and time.monotonic() > until:
                raise RunError("the output folder is not shared by all nodes; use a network folder, s3:// or gs://")
            time.sleep(0 if self._visible else POLL)

    def _lost(self, job: Job, lost: Lost, finished: Callable[[Counts], None]) -> None:
        attempts = self._workers.attempts if job.whole else 1 if len(job.chunk) > 1 else 2
        if job.attempt < attempts:
            self._waiting.append(replace(job, attempt=job.attempt + 1))
        elif len(job.chunk) > 1:
            if job.whole:
                self._split[job.partition] = []
            self._waiting.extend(Job(job.partition, half, whole=False) for half in job.chunk.halves())
        else:
            error = f"{job.chunk.paths[0]}: the worker that read it was lost each time ({lost.reason})"
            if job.whole:
                self._split[job.partition] = []
            row = failed_row(job.chunk.first, job.chunk.paths[0], "crashed", error)
            self._join(job.partition, [row], finished)

    def _join(self, partition: int, rows: list[Row], finished: Callable[[Counts], None]) -> None:
        """Collect the rows of a partition that was halved; write its part when they are complete."""
        collected = self._split[partition]
        collected += rows
        chunk: Chunk = self._manifest.chunk(partition)
        if len(collected) < len(chunk):
            return
        del self._split[partition]
        collected.sort(key=lambda row: row["id"])
        write_part(self._folder, self._layout, partition, collected, chunk)
        finished(Counts((row["status"], row["answer"]) for row in collected))
