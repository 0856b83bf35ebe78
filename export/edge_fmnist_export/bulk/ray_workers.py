"""Workers on a Ray cluster: tasks of Ray Core, whose processes load the models once."""

from __future__ import annotations

import functools
import signal
import time
from concurrent.futures import BrokenExecutor, Future
from importlib.metadata import version
from typing import Any

from edge_fmnist_export.bulk import cluster
from edge_fmnist_export.bulk.engine import Workers
from edge_fmnist_export.bulk.labeller import Labeller, LabelSpec, Outcome
from edge_fmnist_export.bulk.parts import Task

# Ray starts a task again itself when its worker or node is lost.
RETRIES = 3
# Seconds between two looks at the number of CPUs: clusters grow and shrink.
CPU_SECONDS = 10.0


def label_task(wanted: str, holder: list[Any], task: Task) -> tuple[Outcome, float]:
    """Run a task: the remote function. ``holder`` has a reference to the specification, which Ray then sends once.

    Raises:
        RunError: this node has another version of this package than ``wanted``.
        EdgeFmnistError: see :meth:`Labeller.run`.
    """
    cluster.check_version(wanted)
    # The kernel ends this process when the time is over: a decoder in native code cannot be interrupted otherwise.
    signal.setitimer(signal.ITIMER_REAL, task.seconds)
    try:
        return _labeller(holder[0]).run(task)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@functools.lru_cache(maxsize=1)
def _labeller(spec: Any) -> Labeller:
    """Return the labeller of this process, from a reference to its specification."""
    import ray

    return Labeller(ray.get(spec))


class RayWorkers(Workers):
    """Tasks on a connected cluster, ``workers`` at once; None keeps all CPUs of the cluster busy."""

    # Ray itself tries four times.
    attempts = 1

    def __init__(self, ray: Any, spec: LabelSpec, workers: int | None) -> None:
        self._ray, self._limit = ray, workers
        self._version, self._spec = version(cluster.PACKAGE), ray.put(spec)
        self._remote = ray.remote(num_cpus=1)(label_task)
        self._cpus, self._looked = 0, 0.0

    def capacity(self) -> int:
        """Return how many tasks to submit: two for each CPU, and two more."""
        now = time.monotonic()
        if not self._looked or now - self._looked > CPU_SECONDS:
            self._cpus, self._looked = int(self._ray.cluster_resources().get("CPU", 0)), now
        return self._limit or 2 * self._cpus + 2

    def submit(self, task: Task) -> Future[Any]:
        """Submit a task; to cancel its future ends it if its node answers."""
        remote = self._remote.options(max_retries=RETRIES if task.whole else 0, name=f"label {task.partition}")
        reference = remote.remote(self._version, [self._spec], task)
        future: Future[Any] = reference.future()
        future.add_done_callback(lambda done: self._ray.cancel(reference, force=True) if done.cancelled() else None)
        return future

    def result(self, future: Future[Any]) -> tuple[Outcome, float]:
        """Return the result of a task; Ray's errors mean that its worker was lost."""
        try:
            found: tuple[Outcome, float] = cluster.result_of(self._ray, future)
        except self._ray.exceptions.RayError as error:
            raise BrokenExecutor(type(error).__name__) from error
        return found
