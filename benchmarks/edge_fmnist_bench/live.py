"""Measure how many frames per second the whole live loop processes: without outputs, with each, and with all."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from edge_fmnist.api import live
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.sources.demo import FPS, Scene
from edge_fmnist_bench.frame import frame_model
from edge_fmnist_bench.protocol import FrameToLabel

# Two seconds of the demo scene, repeated: drawing is not timed, and all frames would take a lot of memory.
PICTURES = 60


def outputs(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the settings of ``live`` for each output that needs no screen and no broker, by the option's name."""
    single: dict[str, dict[str, Any]] = {
        "--jsonl": {"jsonl": folder / "results.jsonl"},
        "--save": {"save": folder / "video.mp4"},
        "--snapshot": {"snapshot": folder / "snapshots"},
        "--serve": {"serve": "127.0.0.1:0"},
    }
    everything = {name: value for settings in single.values() for name, value in settings.items()}
    return {"no output": {}, **single, "all": everything}


def measure(model: str, settings: FrameToLabel) -> dict[str, Any]:
    """Return the rate of the live loop for each output, as plain values.

    ``{model, size, frames, rates: [{output, frames_per_second, not_written}]}``. The time includes writing what is
    still queued at the end; ``not_written`` counts frames that an output had to leave out. The page has no viewer.

    Raises:
        EdgeFmnistError: the model cannot be loaded, or an output cannot be used.
    """
    name = frame_model(model)
    classifier = Classifier.load(name)
    scene = Scene(*settings.size)
    pictures = [scene.draw(number / FPS) for number in range(min(PICTURES, settings.iterations))]
    _run(classifier, pictures, settings.warm_up, {})
    rates = []
    for output in outputs(Path()):
        with TemporaryDirectory(prefix="edge-fmnist-bench-live-") as folder:
            chosen = outputs(Path(folder))[output]
            seconds, not_written = _run(classifier, pictures, settings.iterations, chosen)
        rate = round(settings.iterations / seconds, 1)
        rates.append({"output": output, "frames_per_second": rate, "not_written": not_written})
    return {"model": name, "size": list(settings.size), "frames": settings.iterations, "rates": rates}


def _run(classifier: Classifier, pictures: list[np.ndarray], count: int, chosen: dict[str, Any]) -> tuple[float, int]:
    """Return the seconds that ``count`` frames take, and how many of them outputs left out."""
    frames = itertools.islice(itertools.cycle(pictures), count)
    with live(frames, model=classifier, **chosen) as loop:
        started = time.perf_counter()
        for _ in loop:
            pass
    return time.perf_counter() - started, sum(loop.stats.not_written.values())
