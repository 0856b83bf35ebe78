"""The Pareto front of accuracy, latency and size."""

from __future__ import annotations

from collections.abc import Iterable

from edge_fmnist_export.search.state import Candidate


def dominates(one: Candidate, other: Candidate) -> bool:
    """Tell whether a measured candidate is nowhere worse than another one, and better somewhere."""
    ours, theirs = _costs(one), _costs(other)
    return ours != theirs and all(mine <= its for mine, its in zip(ours, theirs, strict=True))


def pareto_front(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return the measured candidates that no other one dominates, the most accurate first.

    Candidates that failed are on no front. Of several that are equal in all three, all are.
    """
    measured = [candidate for candidate in candidates if candidate.measured is not None]
    best = [one for one in measured if not any(dominates(other, one) for other in measured)]
    return sorted(best, key=_costs)


def _costs(candidate: Candidate) -> tuple[float, float, int]:
    """Return what is to be small: minus accuracy, latency as a ratio to the reference, bytes."""
    found = candidate.measured
    if found is None:
        raise ValueError(f"candidate {candidate.number} was not measured")
    return -found.accuracy, found.ratio, found.bytes
