"""Workers on a Ray cluster: tasks of Ray Core, whose processes load the models once."""

from __future__ import annotations

import hashlib
import pickle
import time
from importlib.metadata import version
from typing import Any

from edge_fmnist.errors import EdgeFmnistError, RunError
from edge_fmnist_export.bulk.engine import Ended, Lost
from edge_fmnist_export.bulk.labeller import Job, Labeller, LabelSpec, attempt
from edge_fmnist_export.bulk.plan import PACKAGE

# Ray starts a task again itself when its worker or node is lost.
RETRIES = 3
# Seconds between two looks at the number of CPUs: clusters grow and shrink.
CPU_SECONDS = 10.0

_labellers: dict[str, Labeller] = {}


def label_job(key: str, wanted: str, holder: list[Any], job: Job) -> Any:
    """Run a piece of work: the remote function. The labeller is kept for the next one.

    Args:
        key: identifies the specification.
        wanted: version of this package on the driver's machine.
        holder: a list of one reference to the specification, so that Ray does not send it with each task.
        job: the piece of work.

    Returns:
        What :meth:`Labeller.run` returns, the seconds that it took, and the error if there was one.
    """
    import ray

    if (installed := version(PACKAGE)) != wanted:
        node = ray.util.get_node_ip_address()
        return RunError(f"node {node} has {PACKAGE} {installed}, expected {wanted}: install the same version"), 0.0
    started = time.monotonic()
    if key not in _labellers:
        _labellers.clear()
        _labellers[key] = Labeller(ray.get(holder[0]))
    return attempt(_labellers[key], job), time.monotonic() - started


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
        self._version = spec.version
        self._spec = ray.put(spec)
        self._key = hashlib.sha256(pickle.dumps(spec)).hexdigest()
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
        self._jobs[task.remote(self._key, self._version, [self._spec], job)] = job

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
            outcome, seconds = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            cause = str(error).strip().splitlines()[-1]
            raise RunError(f"a task failed: {cause}; is {PACKAGE} {self._version} installed on every node?") from error
        except self._ray.exceptions.RayError as error:
            return Ended(job, Lost(type(error).__name__))
        if isinstance(outcome, EdgeFmnistError):
            raise outcome
        return Ended(job, outcome, seconds)
