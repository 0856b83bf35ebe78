"""A multi-objective search (NSGA-II) as an Optuna study in a journal file.

The journal is written after each step, so that an interrupted search resumes, and several processes may share it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import optuna
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from edge_fmnist.errors import CheckError, RunError, UsageError
from edge_fmnist_export.bulk import cluster
from edge_fmnist_export.search import space

JOURNAL, LOCK = "study.journal", "search.lock"
# Accuracy, latency ratio, bytes.
DIRECTIONS = ("maximize", "minimize", "minimize")
# About two of the 19 parameters of a child change at random.
MUTATION_PROBABILITY = 0.1
# Proposals in a row that are outside of the limits or already tried, after which the space counts as exhausted.
MOST_REJECTED = 500


@dataclass(frozen=True)
class Candidate:
    """A network whose int8 model file was measured.

    Attributes:
        number: Number of the candidate, from 1.
        accuracy: Top-1 accuracy on the validation images, 0 to 1.
        ratio: Latency divided by that of the reference model, measured in alternation.
        microseconds: p50 latency of one image on one thread.
        macs: Multiply-accumulates for one image.
    """

    number: int
    architecture: str
    accuracy: float
    ratio: float
    microseconds: float
    bytes: int
    parameters: int
    macs: int


def check_folder(folder: Path) -> None:
    """Check that a folder is new, empty, or that of a search.

    Raises:
        UsageError: It is not.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: expected a folder, got a file; choose another with --output")
    if folder.is_dir() and not (folder / JOURNAL).is_file() and any(path.name != LOCK for path in folder.iterdir()):
        raise UsageError(f"{folder}: not empty, and has no {JOURNAL}; choose another folder with --output")


def open_study(folder: Path, settings: dict[str, Any]) -> optuna.Study:
    """Open the study in the folder of a search, or create it.

    The settings, JSON values, make candidates comparable, ``seed`` and ``population`` among them; they are fixed for
    the lifetime of a search.

    Raises:
        RunError: The journal is damaged, or the study was started with other settings.
        OSError: The journal cannot be read or written.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Optuna cannot continue a study in which a parameter has other choices, as in another version of this project.
    settings = {**settings, "filters": " ".join(map(str, space.FILTERS))}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / JOURNAL
    _drop_incomplete_line(folder)
    try:
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
        study = optuna.create_study(storage=storage, study_name="search", directions=DIRECTIONS, load_if_exists=True)
        if "settings" not in study.user_attrs:
            study.enqueue_trial(space.trial_parameters(space.FIRST))
            study.set_user_attr("settings", settings)
        before = study.user_attrs["settings"]
        changed = [key for key in settings if settings[key] != before.get(key)]
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        raise RunError(
            f"{path}: expected the journal of a search, but it is damaged ({error!r}); "
            "restore the file, or start a new search with another --output"
        ) from error
    if changed:
        differences = "; ".join(f"{key} was {before.get(key)}, now {settings[key]}" for key in changed)
        raise RunError(
            f"{folder}: contains a search with other settings ({differences}); "
            "use the same options to resume it, or start a new search with another --output"
        )
    return study


def _drop_incomplete_line(folder: Path) -> None:
    """Remove the end of a line that a killed process left in the journal: the next entry would be appended to it."""
    path = folder / JOURNAL
    # Without the lock, another process is at work and may be writing.
    with (folder / LOCK).open("w") as lock, contextlib.suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        whole, newline, rest = path.read_bytes().rpartition(b"\n")
        if rest and whole.startswith(b"{"):
            os.truncate(path, len(whole + newline))


def pareto_front(study: optuna.Study) -> list[Candidate]:
    """Return the Pareto-optimal candidates, the most accurate first."""
    return sorted(map(_candidate, study.best_trials), key=lambda candidate: -candidate.accuracy)


def measured_candidates(study: optuna.Study) -> list[Candidate]:
    """Return all candidates that did not fail."""
    return [_candidate(trial) for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))]


def failures(study: optuna.Study) -> list[str]:
    """Return why candidates failed."""
    return [trial.user_attrs["failure"] for trial in _finished(study) if trial.state == TrialState.FAIL]


def candidate_seconds(study: optuna.Study) -> list[float]:
    """Return how long each finished candidate took, including failed ones."""
    return [trial.duration.total_seconds() for trial in _finished(study)]


def _finished(study: optuna.Study) -> list[Any]:
    """Return the trials of measured and failed candidates; those without a reason were interrupted and requeued."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))
    return [trial for trial in trials if trial.state == TrialState.COMPLETE or "failure" in trial.user_attrs]


def run_search(
    folder: Path, study: optuna.Study, budget: float, evaluate: Callable[[int, str], Candidate]
) -> Iterator[Candidate | str]:
    """Try networks until another one, taking as long as the median so far, would exceed the budget.

    A candidate that an interrupted process left unfinished comes first.

    ``RunError`` and ``CheckError`` of ``evaluate`` make a candidate a failed one, after which the search goes on.
    The budget is in seconds and includes the candidates of earlier calls.

    Yields:
        Each measured candidate, or a message about one that failed.

    Raises:
        EdgeFmnistError: The data set, the reference or the extras cannot be used.
        OSError: A file cannot be written.
    """
    with _joined(folder, study):
        while _another_fits(study, budget) and (trial := _ask(study)) is not None:
            number, architecture = trial.user_attrs["number"], trial.user_attrs["architecture"]
            try:
                candidate = evaluate(number, architecture)
            except (RunError, CheckError) as error:
                trial.set_user_attr("failure", f"candidate {number} {architecture} failed: {error}")
                study.tell(trial, state=TrialState.FAIL)
                yield trial.user_attrs["failure"]
            else:
                for name in ("microseconds", "parameters", "macs"):
                    trial.set_user_attr(name, getattr(candidate, name))
                study.tell(trial, (candidate.accuracy, candidate.ratio, candidate.bytes))
                yield candidate


def join_search(
    folder: Path, settings: dict[str, Any], budget: float, evaluate: Callable[[int, str], Candidate]
) -> int:
    """Take part in a search, as a process of its own, and return how many networks it tried.

    Arguments and errors are those of :func:`open_study` and :func:`run_search`.
    """
    return sum(1 for _ in run_search(folder, open_study(folder, settings), budget, evaluate))


def search_on_cluster(address: str, study: optuna.Study, *arguments: Any) -> Iterator[Candidate | str]:
    """Let each node of a Ray cluster take part in a search, and yield what they have tried.

    ``arguments`` are those of :func:`join_search`; errors are those of
    :func:`edge_fmnist_export.bulk.cluster.run_on_nodes`.
    """
    shown, failed = {each.number for each in measured_candidates(study)}, len(failures(study))
    with cluster.connected(address) as ray:
        nodes = sum(node["Alive"] and "CPU" in node["Resources"] for node in ray.nodes())
        for _ in cluster.run_on_nodes(ray, join_search, [()] * nodes, *arguments):
            yield from (each for each in measured_candidates(study) if each.number not in shown)
            yield from failures(study)[failed:]
            shown, failed = {each.number for each in measured_candidates(study)}, len(failures(study))


def _another_fits(study: optuna.Study, budget: float) -> bool:
    seconds = candidate_seconds(study) or [0.0]
    return sum(seconds) + median(seconds) < budget


@contextlib.contextmanager
def _joined(folder: Path, study: optuna.Study) -> Iterator[None]:
    """Hold a shared lock, and first requeue unfinished candidates if no other process works on the search."""
    with (folder / LOCK).open("w") as lock:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if "architecture" in trial.user_attrs:
                    # Its number stays, and with it the run folder and the checkpoint.
                    study.enqueue_trial(trial.params, user_attrs={"number": trial.user_attrs["number"]})
                study.tell(trial.number, state=TrialState.FAIL)
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def _ask(study: optuna.Study) -> optuna.Trial | None:
    """Return a trial with a network that is within the limits and not tried yet; None if there is none."""
    settings = study.user_attrs["settings"]
    for _ in range(MOST_REJECTED):
        trials = study.get_trials(deepcopy=False)
        # Seeded by the number of trials, so that a resumed search does not repeat the same proposals.
        seed = int(np.random.SeedSequence((settings["seed"], len(trials))).generate_state(1)[0])
        study.sampler = optuna.samplers.NSGAIISampler(
            population_size=settings["population"], mutation_prob=MUTATION_PROBABILITY, seed=seed
        )
        trial = study.ask()
        network = space.suggest_network(trial)
        running = [each for each in trials if each.state == TrialState.RUNNING]
        tried = {each.user_attrs.get("architecture") for each in (*running, *_finished(study))}
        if space.within_limits(network) and str(network) not in tried:
            trial.set_user_attr("number", trial.user_attrs.get("number", trial.number + 1))
            trial.set_user_attr("architecture", str(network))
            return trial
        study.tell(trial, state=TrialState.PRUNED)
    return None


def _candidate(trial: Any) -> Candidate:
    accuracy, ratio, size = trial.values
    return Candidate(accuracy=accuracy, ratio=ratio, bytes=int(size), **trial.user_attrs)
