"""The state of a search, its Pareto front and what it proposes next; nothing is trained here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_fmnist.errors import RunError
from edge_fmnist_export.architectures.residual import parse
from edge_fmnist_export.search.front import dominates, pareto_front
from edge_fmnist_export.search.propose import FIRST, propose
from edge_fmnist_export.search.space import Space
from edge_fmnist_export.search.state import (
    FILE,
    Candidate,
    Measured,
    Settings,
    State,
    check_same,
    load_state,
    save_state,
)

ARCHITECTURES = (FIRST, "resnet:8;8/2,8/2", "resnet:8;16/2,16/2", "resnet:8;24/2,24/2", "resnet:8;32/2,32/2")
SPACE = Space()


def settings(**changes: Any) -> Settings:
    values = {
        "seed": 0, "population": 2, "epochs": 1, "images": 0, "data_sha256": ("a", "b"), "reference_sha256": "c",
    }  # fmt: skip
    return Settings(**{**values, **changes})


def measured(accuracy: float, ratio: float, size: int) -> Measured:
    return Measured(accuracy=accuracy, ratio=ratio, microseconds=100 * ratio, bytes=size, parameters=size, macs=size)


def state(*found: Measured | None, **changes: Any) -> State:
    """Return a state with one candidate for each given; None stands for one that failed."""
    candidates = [
        Candidate(
            number=number,
            architecture=ARCHITECTURES[number - 1],
            parent=None,
            seconds=1.5,
            measured=each,
            failure="" if each else "diverged",
        )
        for number, each in enumerate(found, 1)
    ]
    return State(settings=settings(**changes), candidates=tuple(candidates))


GOOD = state(measured(0.9, 1.0, 100), None, measured(0.8, 0.5, 50))


def test_the_front_keeps_what_is_best_in_anything() -> None:
    best, quick, small, worse, failed = state(
        measured(0.9, 1.0, 100), measured(0.8, 0.5, 100), measured(0.8, 0.9, 40), measured(0.8, 0.9, 100), None
    ).candidates
    front = pareto_front([failed, worse, small, quick, best])
    assert front == [best, quick, small]
    assert dominates(best, worse) is False
    assert dominates(quick, worse) is True
    assert dominates(worse, quick) is False


def test_equals_share_the_front() -> None:
    found = state(measured(0.9, 1.0, 100), measured(0.9, 1.0, 100)).candidates
    assert len(pareto_front(found)) == 2


def test_nothing_measured_gives_an_empty_front() -> None:
    assert pareto_front(state(None, None).candidates) == []


def test_a_state_survives_its_file(tmp_path: Path) -> None:
    assert load_state(tmp_path) is None
    save_state(tmp_path / "new", GOOD)
    assert load_state(tmp_path / "new") == GOOD
    assert [path.name for path in (tmp_path / "new").iterdir()] == [FILE]
    assert GOOD.seconds == 4.5


def damaged(**changes: Any) -> str:
    """Return the JSON of the good state, its second candidate changed."""
    plain = GOOD.model_dump(mode="json")
    plain["candidates"][0] |= changes
    return json.dumps(plain)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "damaged"),
        (GOOD.model_dump_json()[:-20], "damaged"),
        ("[]", "damaged"),
        ('{"candidates": []}', "settings: Field required"),
        (damaged(number=2), "not numbered 1, 2, 3"),
        (damaged(architecture="resnet:3"), r"candidates\.0\.architecture"),
        (damaged(seconds=-1), r"candidates\.0\.seconds"),
        (damaged(extra=1), r"candidates\.0\.extra"),
        (damaged(measured={"accuracy": 2}), r"candidates\.0\.measured"),
    ],
)
def test_a_damaged_state(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / FILE).write_text(content, "utf-8")
    with pytest.raises(RunError, match=message) as raised:
        load_state(tmp_path)
    assert "start anew with another --output" in str(raised.value)


def test_not_even_text(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RunError, match="damaged"):
        load_state(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "seed was 0, now 1"),
        ({"epochs": 2, "images": 500}, "epochs was 1, now 2; images was 0, now 500"),
        ({"reference_sha256": "d"}, "reference_sha256 was c, now d"),
    ],
)
def test_a_search_goes_on_with_its_settings_alone(changes: dict[str, Any], message: str) -> None:
    check_same(Path("s"), settings(), settings())
    with pytest.raises(RunError, match=message):
        check_same(Path("s"), settings(), settings(**changes))


def test_first_comes_the_default_network_then_drawn_ones() -> None:
    empty = state()
    first = propose(empty, SPACE)
    assert first is not None
    assert (str(first.network), first.parent) == (FIRST, None)
    second = propose(state(measured(0.9, 1, 1)), SPACE)
    assert second is not None
    assert second.parent is None
    assert SPACE.holds(second.network)


def test_after_the_population_the_front_is_mutated() -> None:
    # The first is dominated by the second, the third failed: only the second can be a parent.
    grown = state(measured(0.8, 1.0, 100), measured(0.9, 0.5, 50), None)
    proposals = [propose(grown.model_copy(update={"settings": settings(seed=seed)}), SPACE) for seed in range(20)]
    assert {proposal.parent for proposal in proposals if proposal} == {2}
    assert len({proposal.network for proposal in proposals if proposal}) > 10


def test_the_same_state_gives_the_same_proposal_and_none_twice() -> None:
    grown = state(*[measured(0.9, 1.0, 100)] * 4)
    proposal = propose(grown, SPACE)
    assert proposal == propose(grown, SPACE)
    assert proposal is not None
    assert str(proposal.network) not in ARCHITECTURES


def test_when_all_failed_more_are_drawn() -> None:
    proposal = propose(state(None, None, None), SPACE)
    assert proposal is not None
    assert proposal.parent is None


def test_an_exhausted_space_proposes_nothing() -> None:
    only = Space(filters=(8,), sizes=(3,), blocks=(2, 2), halvings=(3, 3))
    lone = parse("resnet:8/2;8/2,8/2")
    proposal = propose(state(), only)
    assert proposal is not None
    assert proposal.network == lone
    tried = GOOD.candidates[0].model_copy(update={"architecture": str(lone)})
    assert propose(State(settings=settings(), candidates=(tried,)), only) is None
