"""What a still scene costs: with --idle-fps 1, at most a fifth of the CPU time of the full rate."""

from __future__ import annotations

import time

import numpy as np

import edge_fmnist
from edge_fmnist.sources.base import Source
from edge_fmnist.sources.demo import Scene

MEASURED_SECONDS = 2.5
LARGEST_SHARE = 0.2


class StillCamera(Source):
    """A camera of 30 frames a second in front of a garment that lies still; each read costs what drawing does."""

    name = "still"
    fps: float = 30.0

    def open(self) -> None:
        self._scene = Scene(640, 480)
        self._due = time.perf_counter()

    def read(self) -> np.ndarray:
        now = time.perf_counter()
        time.sleep(max(0.0, self._due - now))
        self._due = max(self._due, now) + 1 / self.fps
        return self._scene.draw(3.0)

    def close(self) -> None:
        pass


def cpu_time(idle_fps: float | None) -> float:
    """Return the CPU time that a loop takes for a second of the camera, once it idles, or without idling at once."""
    begun: tuple[float, float, int] | None = None
    # Ends by the count of seconds only where it never idles.
    for result in (loop := edge_fmnist.live(StillCamera(), model="edge", idle_fps=idle_fps, seconds=60)):
        assert result.garment.found
        if begun is None and (idle_fps is None or result.stages.classify == 0):
            begun = time.perf_counter(), time.process_time(), loop.stats.results
        if begun is not None and time.perf_counter() - begun[0] >= MEASURED_SECONDS:
            break
    assert begun is not None
    spent = time.process_time() - begun[1]
    if idle_fps is not None:
        return spent / (time.perf_counter() - begun[0])
    # A machine that is busy drops frames; the full rate is what all of them would have cost.
    return spent / (loop.stats.results - begun[2]) * StillCamera.fps


def test_a_still_scene_costs_a_fifth_at_most() -> None:
    assert cpu_time(idle_fps=1) <= LARGEST_SHARE * cpu_time(idle_fps=None)
