"""Time a camera frame to a label, stage by stage, with the pipeline of the live loop."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.measure import no_collection
from edge_fmnist.model.registry import CAMERA_MODEL, DEFAULT_MODEL, shipped_models
from edge_fmnist.pipeline.pipeline import Pipeline
from edge_fmnist.sources.demo import FPS, Scene
from edge_fmnist_bench import timing
from edge_fmnist_bench.protocol import FrameToLabel

STAGES = ("preprocess", "classify", "smooth")


def frame_model(model: str) -> str:
    """Return the model for frames: the given one, but the camera model instead of the default, which is for images."""
    return CAMERA_MODEL if model == DEFAULT_MODEL and CAMERA_MODEL in shipped_models() else model


def measure(model: str, settings: FrameToLabel, percentiles: tuple[float, ...]) -> dict[str, Any]:
    """Return the time of each stage over frames of the demo scene, as plain values.

    Each frame is processed twice: *following* tracks the garment from the frame before, as in a stream; *alone* treats
    it as a photograph. Frames without a garment are not counted. Drawing is not timed.

    Raises:
        EdgeFmnistError: the model cannot be loaded.
    """
    name = frame_model(model)
    classifier = Classifier.load(name)
    scene = Scene(*settings.size)
    pipelines = {"following": Pipeline(classifier), "alone": Pipeline(classifier, tracking=False)}
    times: dict[str, list[tuple[float, ...]]] = {way: [] for way in pipelines}
    found = 0
    with no_collection():
        for number in range(-settings.warm_up, settings.iterations):
            seconds = (number + settings.warm_up) / FPS
            picture = scene.draw(seconds)
            outputs = {way: pipeline.run(picture, seconds) for way, pipeline in pipelines.items()}
            if number < 0:
                continue
            found += all(output.garment.found for output in outputs.values())
            for way, output in outputs.items():
                if output.garment.found:
                    stages = output.stages
                    times[way].append((stages.preprocess, stages.classify, stages.smooth))
    return {
        "model": name,
        "size": list(settings.size),
        "frames": settings.iterations,
        "found": found,
        **{way: _summary(taken, percentiles) for way, taken in times.items()},
    }


def _summary(milliseconds: list[tuple[float, ...]], percentiles: tuple[float, ...]) -> dict[str, Any] | None:
    """Return percentiles of each stage and of their sum; None where no frame showed a garment."""
    if not milliseconds:
        return None
    columns = np.array(milliseconds, np.float64).T * 1000
    named = zip((*STAGES, "total"), (*columns, columns.sum(axis=0)), strict=True)
    return {stage: timing.summary(column, percentiles) for stage, column in named}
