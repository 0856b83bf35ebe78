"""Measure how many frames per second the live loop processes: without outputs, with each, and with all files."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from edge_fmnist.api import live
from edge_fmnist.errors import EdgeFmnistError
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.sources.base import Warn, log_warning
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
    files = {name: value for settings in list(single.values())[:-1] for name, value in settings.items()}
    return {"no output": {}, **single, "all files": files}


def measure(model: str, settings: FrameToLabel) -> dict[str, Any]:
    """Return the rate of the live loop for each output, as plain values.

    ``{model, size, frames, rates: [{output, frames_per_second, not_written, problem}]}``. The time includes writing
    what is still queued at the end, but not the end of the page's server; ``not_written`` counts frames that an output
    had to leave out. The page has no viewer. ``problem`` says why an output has no rate.

    Raises:
        EdgeFmnistError: the model cannot be loaded.
    """
    name = frame_model(model)
    classifier = Classifier.load(name)
    scene = Scene(*settings.size)
    pictures = [scene.draw(number / FPS) for number in range(min(PICTURES, settings.iterations))]
    _run(classifier, pictures, settings.warm_up, {}, log_warning)
    rates = []
    for output in outputs(Path()):
        with TemporaryDirectory(prefix="edge-fmnist-bench-live-") as folder:
            chosen, problems = outputs(Path(folder))[output], list[str]()
            try:
                seconds, not_written = _run(classifier, pictures, settings.iterations, chosen, problems.append)
            except EdgeFmnistError as error:
                seconds, not_written = None, 0
                problems.append(str(error))
        rate = None if problems or not seconds else round(settings.iterations / seconds, 1)
        problem = problems[0] if problems else None
        rates.append({"output": output, "frames_per_second": rate, "not_written": not_written, "problem": problem})
    return {"model": name, "size": list(settings.size), "frames": settings.iterations, "rates": rates}


def _run(
    classifier: Classifier, pictures: list[np.ndarray], count: int, chosen: dict[str, Any], warn: Warn
) -> tuple[float, int]:
    """Return the seconds that ``count`` frames take, and how many of them outputs left out."""
    frames = itertools.islice(itertools.cycle(pictures), count)
    with live(frames, model=classifier, warn=warn, **chosen) as loop:
        started = time.perf_counter()
        for _ in loop:
            pass
        ended = time.perf_counter()
    seconds = loop.stats.seconds if "serve" in chosen else ended - started
    return seconds, sum(loop.stats.not_written.values())
