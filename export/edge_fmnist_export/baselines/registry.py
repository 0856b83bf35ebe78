"""The baselines by name."""

from __future__ import annotations

from edge_fmnist.errors import UsageError
from edge_fmnist_export.baselines.base import Baseline
from edge_fmnist_export.baselines.boosting import Boosting
from edge_fmnist_export.baselines.forest import Forest
from edge_fmnist_export.baselines.hog import HogSvm
from edge_fmnist_export.baselines.logistic import Logistic
from edge_fmnist_export.baselines.neighbours import Neighbours

BASELINES: dict[str, Baseline] = {
    baseline.name: baseline for baseline in (Boosting(), Forest(), Logistic(), Neighbours(), HogSvm())
}


def find_baseline(name: str) -> Baseline:
    """Return a baseline by name.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in BASELINES:
        raise UsageError(f"unknown baseline {name!r}; expected one of {', '.join(BASELINES)}")
    return BASELINES[name]
