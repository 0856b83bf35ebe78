"""The search loop and its stored study, with a stub objective that trains nothing."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_fmnist.errors import CheckError, RunError, UsageError
from edge_fmnist_export.architectures.residual import parse
from edge_fmnist_export.search import space
from edge_fmnist_export.search.study import (
    JOURNAL,
    LOCK,
    Candidate,
    candidate_seconds,
    check_folder,
    failures,
    measured_candidates,
    open_study,
    pareto_front,
    run_search,
)

SETTINGS: dict[str, Any] = {"seed": 5, "population": 3, "epochs": 1, "data_sha256": ["a", "b"]}
ENOUGH = 1e6


@pytest.fixture(autouse=True)
def fast_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write journals without waiting for the disk."""
    monkeypatch.setattr("os.fsync", lambda _: None)


def stub(number: int, architecture: str) -> Candidate:
    """Return a measurement in which more parameters are more accurate, and more multiply-accumulates slower."""
    network = parse(architecture)
    size = network.parameters
    return Candidate(number, architecture, 1 - 1 / size, network.macs / 1e6, 10.0, size, size, network.macs)


def search(
    folder: Path,
    count: int,
    evaluate: Callable[[int, str], Candidate] = stub,
    budget: float = ENOUGH,
    seed: int = SETTINGS["seed"],
) -> list[Candidate | str]:
    """Return what the next candidates of a search give, at most ``count`` of them."""
    found: list[Candidate | str] = []
    for each in run_search(folder, open_study(folder, {**SETTINGS, "seed": seed}), budget, evaluate):
        found.append(each)
        if len(found) == count:
            break
    return found


def test_candidates_are_different_networks_within_the_limits_and_start_with_the_default(tmp_path: Path) -> None:
    search(tmp_path, 8)
    found = measured_candidates(open_study(tmp_path, SETTINGS))
    networks = [parse(each.architecture) for each in found]
    assert networks[0] == space.FIRST
    assert len(set(networks)) == 8
    assert all(map(space.within_limits, networks))
    assert all(list(stages) == sorted(stages) for stages in ([s.filters for s in n.stages] for n in networks))


def test_the_seed_decides_which_networks_are_tried(tmp_path: Path) -> None:
    first, second, other = (search(tmp_path / name, 3, seed=seed) for name, seed in (("a", 5), ("b", 5), ("c", 6)))
    assert first == second
    assert not set(first[1:]) & set(other[1:])


def test_the_front_is_what_no_other_candidate_beats(tmp_path: Path) -> None:
    measured = iter([(0.9, 1.0, 100), (0.8, 0.5, 100), (0.8, 0.9, 40), (0.7, 2.0, 200)])

    def evaluate(number: int, architecture: str) -> Candidate:
        accuracy, ratio, size = next(measured)
        return Candidate(number, architecture, accuracy, ratio, 10.0, size, 7, 8)

    first, second, third, _ = search(tmp_path, 4, evaluate)
    assert pareto_front(open_study(tmp_path, SETTINGS)) == [first, second, third]


def test_a_failed_candidate_is_recorded_and_the_search_goes_on(tmp_path: Path) -> None:
    def evaluate(number: int, architecture: str) -> Candidate:
        if number == 1:
            raise RunError("training diverged")
        if architecture.count(",") == 1:
            raise CheckError("not whole-integer")
        return stub(number, architecture)

    found = search(tmp_path, 6, evaluate)
    study = open_study(tmp_path, SETTINGS)
    assert found[0] == f"candidate 1 {space.FIRST} failed: training diverged"
    assert failures(study) == [each for each in found if isinstance(each, str)]
    assert measured_candidates(study) == [each for each in found if isinstance(each, Candidate)]
    assert space.FIRST not in [parse(each.architecture) for each in pareto_front(study)]
    assert len(candidate_seconds(study)) == 6


def test_an_interrupted_search_resumes_its_unfinished_candidate(tmp_path: Path) -> None:
    whole = search(tmp_path / "whole", 3)
    tried = []

    def interrupted(number: int, architecture: str) -> Candidate:
        tried.append((number, architecture))
        if len(tried) == 3:
            raise KeyboardInterrupt
        return stub(number, architecture)

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "cut", 6, interrupted)
    first, *_ = search(tmp_path / "cut", 1)
    assert isinstance(first, Candidate)
    assert (first.number, first.architecture) == tried[-1]
    assert measured_candidates(open_study(tmp_path / "cut", SETTINGS)) == whole


def test_a_line_that_a_killed_process_left_unfinished_is_dropped(tmp_path: Path) -> None:
    before = search(tmp_path, 2)
    with (tmp_path / JOURNAL).open("ab") as journal:
        journal.write(b'{"op_code": 5, "work')
    after = search(tmp_path, 1)
    assert measured_candidates(open_study(tmp_path, SETTINGS)) == [*before, *after]


def test_an_unfinished_candidate_of_another_process_is_left_to_it(tmp_path: Path) -> None:
    seen = []

    def nested(number: int, architecture: str) -> Candidate:
        seen.append(architecture)
        if len(seen) == 1:
            # A second process, which starts while this candidate is being trained.
            seen.extend(each.architecture for each in search(tmp_path, 1) if isinstance(each, Candidate))
        return stub(number, architecture)

    search(tmp_path, 1, nested)
    assert len(set(seen)) == 2
    with (tmp_path / LOCK).open() as lock:
        # Released at the end.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_spent_budget_tries_nothing_until_it_is_raised(tmp_path: Path) -> None:
    assert len(search(tmp_path, 9, budget=1e-6)) == 1
    assert search(tmp_path, 9, budget=1e-6) == []
    assert len(search(tmp_path, 2)) == 2


def test_an_exhausted_space_ends_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_fmnist_export.search.study.MOST_REJECTED", 5)
    monkeypatch.setattr(space, "MOST_PARAMETERS", 10)
    assert search(tmp_path, 9) == []


@pytest.mark.parametrize(
    "content",
    [
        *(b"\xff\xfe\x00\n\n", b"[]\n", b"{}\n", b'{"op_code": 0, "study_n\n{}\n'),
        b'{"op_code": 99, "worker_id": "x"}\n',
    ],
)
def test_a_damaged_journal_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / JOURNAL
    path.write_bytes(content)
    with pytest.raises(RunError, match="expected the journal of a search") as raised:
        open_study(tmp_path, SETTINGS)
    assert str(path) in str(raised.value)
    assert path.read_bytes() == content


def test_other_settings_are_refused(tmp_path: Path) -> None:
    open_study(tmp_path, SETTINGS)
    with pytest.raises(RunError, match=r"seed was 5, now 6; epochs was 1, now 2\); use the same options"):
        open_study(tmp_path, {**SETTINGS, "seed": 6, "epochs": 2})


@pytest.mark.parametrize(
    ("name", "within"),
    [
        ("resnet:128;16/2,16/2", True),
        ("resnet:16;16,32/2,32,80", False),  # halved once
        ("resnet:8/2;8/2,8/2,8/2", False),  # halved four times
        ("resnet:16/2;128/2,128", False),  # too many parameters
        ("resnet:64;64,16/2,16/2", False),  # too many multiply-accumulates
    ],
)
def test_limits(name: str, within: bool) -> None:
    assert space.within_limits(parse(name)) == within


def test_settings_that_are_none_are_refused(tmp_path: Path) -> None:
    open_study(tmp_path, SETTINGS).set_user_attr("settings", 5)
    with pytest.raises(RunError, match="expected the journal of a search"):
        open_study(tmp_path, SETTINGS)


def test_a_lock_alone_is_no_search(tmp_path: Path) -> None:
    (tmp_path / LOCK).touch()
    check_folder(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match="not empty, and has no"):
        check_folder(tmp_path)
