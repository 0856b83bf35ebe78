"""Worker processes on this machine, which end with their parent."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from edge_fmnist.cli.signals import interrupted_later
from edge_fmnist.errors import EdgeFmnistError, RunError
from edge_fmnist_export.bulk.engine import Ended, Lost
from edge_fmnist_export.bulk.labeller import Job, Labeller, LabelSpec, attempt

PR_SET_PDEATHSIG = 1
# Workers that end before they are ready, one after another: something is wrong with all of them.
MOST_FAILED_STARTS = 3
JOIN_SECONDS = 5.0
# What a worker sends before the first result.
STARTED, READY = "started", "ready"


class _Worker:
    """A process, the pipe to it, and what it is doing."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        # Arguments have to fit into a pipe: start() would wait forever for a process that ends before it reads them.
        self.process = context.Process(target=_serve, args=(theirs, os.getpid()), daemon=True)
        self.process.start()
        # So that the pipe ends with the process.
        theirs.close()
        self.ready = False
        self.job: Job | None = None
        self.started = 0.0

    def end(self) -> str:
        """Kill the process, and return how it ended."""
        self.process.join(0.2)
        self.process.kill()
        self.process.join(JOIN_SECONDS)
        self.pipe.close()
        code = self.process.exitcode
        return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"


class Pool:
    """Worker processes, started by *spawn*: they inherit no threads and locks of the parent.

    Attributes:
        attempts: how many times a whole partition is handed out before it is halved.
    """

    attempts = 2

    def __init__(self, spec: LabelSpec, workers: int) -> None:
        self._spec = spec
        self._failed_starts = 0
        self._workers: list[_Worker] = []
        # Otherwise the first worker starts it, and it unblocks SIGINT in the meantime.
        resource_tracker.ensure_running()
        try:
            for _ in range(workers):
                self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        with _interruption_deferred():
            self._workers.append(_Worker())

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers, whatever they do."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def free(self) -> int:
        """Return how many workers are ready and have nothing to do."""
        return sum(worker.ready and worker.job is None for worker in self._workers)

    def submit(self, job: Job) -> None:
        """Hand out a piece of work."""
        worker = next(worker for worker in self._workers if worker.ready and worker.job is None)
        worker.job, worker.started = job, time.monotonic()
        # A worker that has just ended shows in wait().
        with contextlib.suppress(OSError):
            worker.pipe.send(job)

    def wait(self, seconds: float) -> list[Ended]:
        """Return what has ended, after at most this time.

        Raises:
            EdgeFmnistError: an error that all photographs would meet, such as a full disk.
            RunError: workers end before they are ready.
        """
        ready = set(wait([worker.pipe for worker in self._workers], seconds))
        ended = [self._receive(worker) for worker in list(self._workers) if worker.pipe in ready]
        return [each for each in ended if each is not None]

    def drop(self, job: Job) -> bool:
        """End the worker of a piece of work, and start another; return True, since no work waits here."""
        for worker in list(self._workers):
            if worker.job is job:
                self._replace(worker)
        return True

    def _receive(self, worker: _Worker) -> Ended | None:
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            return self._ended(worker)
        if isinstance(message, EdgeFmnistError):
            raise message
        if message == STARTED:
            with contextlib.suppress(OSError):
                worker.pipe.send(self._spec)
            return None
        if message == READY:
            worker.ready, self._failed_starts = True, 0
            return None
        job, worker.job = worker.job, None
        return None if job is None else Ended(job, message, time.monotonic() - worker.started)

    def _ended(self, worker: _Worker) -> Ended | None:
        reason = self._replace(worker)
        self._failed_starts += not worker.ready
        if self._failed_starts >= MOST_FAILED_STARTS:
            raise RunError(f"worker processes end while they start ({reason}); is there enough memory?")
        return None if worker.job is None else Ended(worker.job, Lost(reason))

    def _replace(self, worker: _Worker) -> str:
        reason = worker.end()
        self._workers.remove(worker)
        self._start()
        return reason


@contextlib.contextmanager
def _interruption_deferred() -> Iterator[None]:
    """Defer Ctrl-C to the end of the block, in the main thread; processes started in it never see Ctrl-C.

    Ctrl-C reaches all processes of a terminal, and it is the parent that ends its workers. A process that is not yet
    started completely would print a traceback.
    """
    with interrupted_later():
        # Inherited by the processes. It does not hold here, since other threads still take the signal.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _serve(pipe: Connection, parent: int) -> None:
    """Run pieces of work until the parent closes the pipe, or ends."""
    _end_with(parent)
    try:
        pipe.send(STARTED)
        labeller = Labeller(pipe.recv())
        pipe.send(READY)
        while True:
            job: Job = pipe.recv()
            pipe.send(attempt(labeller, job))
    except (EOFError, BrokenPipeError):
        pass


def _end_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends, see PR_SET_PDEATHSIG(2const); Linux only."""
    if not sys.platform.startswith("linux"):
        return
    libc: Any = ctypes.CDLL(None)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It ended before.
        os._exit(1)
