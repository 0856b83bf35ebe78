"""Counts and times of a running loop, in constant memory."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from edge_fmnist.pipeline.results import Stages

# Percentiles are over the last results: five minutes at 30 fps, less than half a megabyte.
WINDOW = 9000
STAGES = ("preprocess", "classify", "smooth", "total", "age")
# Seconds over which the shown rate is averaged.
RATE_TIME = 1.0
NO_GARMENT = "no garment"


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Median and 90th percentile, in milliseconds."""

    p50: float
    p90: float


@dataclass(frozen=True, slots=True)
class LiveStats:
    """Counts and times of a loop so far.

    Attributes:
        seen: frames that the source has delivered.
        dropped: how many of them were dropped because a newer one was available.
        results: frames with a result.
        unusable: frames that could not be processed.
        reconnects: how often the source was lost and reopened.
        seconds: how long the loop has run.
        milliseconds: percentiles of each stage, of their ``total``, and of the ``age``
            of results, over the last results; empty before the first.
        labels: number of results with each label; ``"no garment"`` if none was found.
        not_written: results that each output has dropped because it was too slow.
    """

    seen: int
    dropped: int
    results: int
    unusable: int
    reconnects: int
    seconds: float
    milliseconds: dict[str, Percentiles]
    labels: dict[str, int]
    not_written: dict[str, int] = field(default_factory=dict)

    @property
    def fps(self) -> float:
        """Results per second, over the whole time."""
        return self.results / self.seconds if self.seconds > 0 else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "fps": self.fps}


class Meter:
    """Counts frames, and collects the statistics of each result.

    Attributes:
        seen: frames that the source has delivered.
        taken: how many of them were processed; the others were dropped.
        unusable: how many of those had no result.
        results: number of results.
    """

    def __init__(self) -> None:
        self.seen = self.taken = self.unusable = self.results = 0
        self._times: np.ndarray[Any, np.dtype[np.float32]] = np.zeros((WINDOW, len(STAGES)), np.float32)
        self._labels: Counter[str] = Counter()
        self._last: float | None = None
        self._interval = 0.0

    def add(self, label: str | None, stages: Stages, age_seconds: float) -> dict[str, Any]:
        """Count one result, and return its fields ``age``, ``seen``, ``dropped`` and ``fps``."""
        age = age_seconds * 1e3
        row = (stages.preprocess, stages.classify, stages.smooth, stages.total, age)
        self._times[self.results % WINDOW] = row
        self._labels[label or NO_GARMENT] += 1
        self.results += 1
        return {"age": age, "seen": self.seen, "dropped": self.seen - self.taken, "fps": self._rate()}

    def lost(self) -> None:
        """Do not count the time until the next result as an interval between results."""
        self._last = None

    def _rate(self) -> float:
        """Return results per second, smoothed; 0 for the first."""
        now = time.perf_counter()
        if self._last is None:
            self._last = now
            return 1 / self._interval if self._interval else 0.0
        # Intervals are averaged, not rates: one immediate result would count as thousands per second.
        interval, self._last = now - self._last, now
        # The plain mean at first, so that the first interval does not count for a whole second.
        share = max(min(1.0, interval / RATE_TIME), 1 / (self.results - 1))
        self._interval += (interval - self._interval) * share
        return 1 / max(self._interval, 1e-6)

    def stats(self, reconnects: int, seconds: float, not_written: dict[str, int]) -> LiveStats:
        """Return the counts and times so far; labels are sorted by number of results."""
        return LiveStats(
            seen=self.seen,
            dropped=self.seen - self.taken,
            results=self.results,
            unusable=self.unusable,
            reconnects=reconnects,
            seconds=seconds,
            milliseconds=self._percentiles(),
            labels=dict(self._labels.most_common()),
            not_written=not_written,
        )

    def _percentiles(self) -> dict[str, Percentiles]:
        """Return the percentiles of each stage over the last results; empty before the first."""
        if not self.results:
            return {}
        p50, p90 = np.percentile(self._times[: self.results], (50, 90), axis=0).tolist()
        return {name: Percentiles(p50[i], p90[i]) for i, name in enumerate(STAGES)}
