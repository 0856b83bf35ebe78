"""Fault injection: what damaged input, full disks, failing calls and kills may not do."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from edge_fmnist import live
from edge_fmnist.pipeline.results import LiveResult

# More examples look further: EDGE_FMNIST_EXAMPLES=10000.
settings.register_profile(
    "faults",
    max_examples=int(os.environ.get("EDGE_FMNIST_EXAMPLES", "60")),
    deadline=None,
    database=None,
    print_blob=True,
)
settings.load_profile("faults")


@pytest.fixture(scope="session")
def results() -> list[LiveResult]:
    """Return the results of 40 frames of the drawn scene."""
    return list(live("demo", model="nano", width=160, height=120, fps=1000, frames=40))
