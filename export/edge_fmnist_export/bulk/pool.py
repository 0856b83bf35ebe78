"""Worker processes on this machine, which end with their parent."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from threading import Lock, local
from typing import Any

from edge_fmnist.errors import EdgeFmnistError, RunError
from edge_fmnist_export.bulk.engine import Workers
from edge_fmnist_export.bulk.labeller import Labeller, LabelSpec, Outcome, describe
from edge_fmnist_export.bulk.parts import Task

PR_SET_PDEATHSIG = 1
# Workers that end before they are ready, one after another: something is wrong with all of them.
MOST_FAILED_STARTS = 3
START_SECONDS, JOIN_SECONDS = 120.0, 5.0


class Pool(Workers):
    """Worker processes, started by *spawn*: they inherit no threads and locks of the parent. A thread waits for each.

    Raises :class:`RunError` where workers end before they are ready.
    """

    attempts = 2

    def __init__(self, spec: LabelSpec, workers: int) -> None:
        self._spec, self._count = spec, workers
        self._own = local()
        self._started: list[_Worker] = []
        self._closed = False
        self._starting = Lock()
        # Otherwise the first worker starts it, and it unblocks SIGINT in that thread.
        resource_tracker.ensure_running()
        # Inherited by the processes: Ctrl-C reaches all processes of a terminal, and it is the parent that ends them.
        self._threads = ThreadPoolExecutor(
            workers, initializer=signal.pthread_sigmask, initargs=(signal.SIG_BLOCK, [signal.SIGINT])
        )

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        """End the workers, whatever they do."""
        with self._starting:
            self._closed = True
        for worker in self._started:
            worker.process.kill()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._started:
            worker.end()

    def capacity(self) -> int:
        """Return the number of workers."""
        return self._count

    def submit(self, task: Task) -> Future[Any]:
        """Submit a task."""
        return self._threads.submit(self._run, task)

    def _run(self, task: Task) -> tuple[Outcome, float]:
        worker: _Worker | None = getattr(self._own, "worker", None)
        if worker is None or worker.pipe.closed:
            worker = self._own.worker = self._start()
        answer: tuple[Outcome, float] | EdgeFmnistError = worker.ask(task, task.seconds)
        if isinstance(answer, EdgeFmnistError):
            raise answer
        return answer

    def _start(self) -> _Worker:
        for _ in range(MOST_FAILED_STARTS):
            with self._starting:
                if self._closed:
                    raise BrokenExecutor
                worker = _Worker()
                self._started = [each for each in self._started if not each.pipe.closed] + [worker]
            try:
                worker.ask(self._spec, START_SECONDS)
            except BrokenExecutor as error:
                reason = error
            else:
                return worker
        raise RunError(f"worker processes end while they start ({reason}); is there enough memory?")


class _Worker:
    """A process, and the pipe to it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        # Arguments have to fit into a pipe: start() would wait forever for a process that ends before it reads them.
        self.process = context.Process(target=_serve, args=(theirs, os.getpid()), daemon=True)
        self.process.start()
        # So that the pipe ends with the process.
        theirs.close()

    def ask(self, question: LabelSpec | Task, seconds: float) -> Any:
        """Return the answer of the process; raise BrokenExecutor if it ended, or was ended after ``seconds``."""
        try:
            self.pipe.send(question)
            if self.pipe.poll(seconds):
                return self.pipe.recv()
            reason = f"no result within {seconds:.0f} s"
        except (EOFError, OSError):
            self.process.join(JOIN_SECONDS)
            code = self.process.exitcode
            reason = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
        self.end()
        raise BrokenExecutor(reason)

    def end(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.join(JOIN_SECONDS)
        self.pipe.close()


def _serve(pipe: Connection, parent: int) -> None:
    """Answer the specification with None, then tasks with their results, until the parent closes the pipe or ends."""
    _end_with(parent)
    try:
        labeller = Labeller(pipe.recv())
        pipe.send(None)
        while True:
            task: Task = pipe.recv()
            try:
                pipe.send(labeller.run(task))
            except Exception as error:
                pipe.send(error if isinstance(error, EdgeFmnistError) else RunError(describe(error)))
    except (EOFError, BrokenPipeError):
        pass


def _end_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends, see PR_SET_PDEATHSIG(2const)."""
    libc: Any = ctypes.CDLL(None)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It ended before.
        os._exit(1)
