"""Workers on a Ray cluster: tasks of Ray Core, whose processes load the models once."""

from __future__ import annotations

import functools
import time
from importlib.metadata import version
from typing import Any

from edge_fmnist.errors import EdgeFmnistError
from edge_fmnist_export.bulk import cluster
from edge_fmnist_export.bulk.engine import Ended, Lost
from edge_fmnist_export.bulk.labeller import Job, Labeller, LabelSpec, attempt

# Ray starts a task again itself when its worker or node is lost.
RETRIES = 3
# Seconds between two looks at the number of CPUs: clusters grow and shrink.
CPU_SECONDS = 10.0


def label_job(wanted: str, holder: list[Any], job: Job) -> tuple[Any, float]:
    """Run a piece of work: the remote function.

    Args:
        wanted: version of this package on the driver's machine.
        holder: a list of one reference to the specification, so that Ray does not send it with each task.
        job: the piece of work.

    Returns:
        What :func:`attempt` returns, and the seconds that it took.

    Raises:
        RunError: this node has another version of this package.
    """
    cluster.check_version(wanted)
    started = time.monotonic()
    return attempt(_labeller(holder[0]), job), time.monotonic() - started


@functools.lru_cache(maxsize=1)
def _labeller(spec: Any) -> Labeller:
    """Return the labeller of this process, from a reference to its specification."""
    import ray

    return Labeller(ray.get(spec))


class RayWorkers:
    """Tasks on a connected cluster.

    Attributes:
        attempts: how many times a whole partition is handed out before it is halved; Ray itself tries four times.
    """

    attempts = 1

    def __init__(self, ray: Any, spec: LabelSpec, workers: int | None) -> None:
        """Prepare the tasks.

        Args:
            ray: the module, connected.
            spec: what workers have to know.
            workers: tasks at once; None keeps all CPUs of the cluster busy.
        """
        self._ray, self._limit = ray, workers
        self._version, self._spec = version(cluster.PACKAGE), ray.put(spec)
        self._remote = ray.remote(num_cpus=1)(label_job)
        self._jobs: dict[Any, Job] = {}
        self._cpus, self._looked = 0, 0.0

    def free(self) -> int:
        """Return how many pieces of work can be handed out: two for each CPU, and two more."""
        now = time.monotonic()
        if not self._looked or now - self._looked > CPU_SECONDS:
            self._cpus, self._looked = int(self._ray.cluster_resources().get("CPU", 0)), now
        return (self._limit or 2 * self._cpus + 2) - len(self._jobs)

    def submit(self, job: Job) -> None:
        """Hand out a piece of work."""
        task = self._remote.options(max_retries=RETRIES if job.whole else 0, name=f"label {job.partition}")
        self._jobs[task.remote(self._version, [self._spec], job)] = job

    def wait(self, seconds: float) -> list[Ended]:
        """Return what has ended, after at most this time.

        Raises:
            EdgeFmnistError: an error that all photographs would meet, such as a full disk.
            RunError: this package is missing on a node, or has another version there.
        """
        if not self._jobs:
            return []
        ready, _ = self._ray.wait(list(self._jobs), num_returns=1, timeout=seconds)
        if ready:
            ready, _ = self._ray.wait(list(self._jobs), num_returns=len(self._jobs), timeout=0)
        return [self._ended(reference) for reference in ready]

    def drop(self, job: Job) -> bool:
        """Forget a piece of work that is overdue; return False, since it may have waited in the cluster's queue."""
        for reference in [reference for reference, each in self._jobs.items() if each is job]:
            del self._jobs[reference]
            # Ends it if its node answers.
            self._ray.cancel(reference, force=True)
        return False

    def _ended(self, reference: Any) -> Ended:
        job = self._jobs.pop(reference)
        try:
            outcome, seconds = cluster.result_of(self._ray, reference)
        except self._ray.exceptions.RayError as error:
            return Ended(job, Lost(type(error).__name__))
        if isinstance(outcome, EdgeFmnistError):
            raise outcome
        return Ended(job, outcome, seconds)
