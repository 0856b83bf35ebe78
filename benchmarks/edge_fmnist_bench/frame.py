"""A camera's frame to a label, stage by stage, as the live loop does it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.registry import CAMERA_MODEL, shipped_models
from edge_fmnist.pipeline.smoothing import Smoother
from edge_fmnist.sources.demo import FPS, Scene
from edge_fmnist.vision.detection import Garment
from edge_fmnist.vision.preprocess import preprocess
from edge_fmnist_bench import timing
from edge_fmnist_bench.protocol import FrameToLabel

STAGES = ("preprocess", "classify", "smooth", "total")


def frame_model(model: str) -> str:
    """Return the model that frames are for: the camera's where it is shipped, else the one given."""
    return CAMERA_MODEL if CAMERA_MODEL in shipped_models() else model


def measure(model: str, settings: FrameToLabel, percentiles: tuple[float, ...]) -> dict[str, Any]:
    """Return the time of each stage over frames of the drawn scene, as plain values.

    Each frame is taken twice: *following* from the mask of the frame before
    it, as in a stream, and *alone*, as a photograph. Frames without a garment
    count for neither; drawing is outside the clock.

    Args:
        model: the model that is benchmarked.
        settings: size and number of frames.
        percentiles: of the times.

    Raises:
        EdgeFmnistError: the model cannot be loaded.
    """
    name = frame_model(model)
    classifier = Classifier.load(name)
    width, height = settings.size
    scene = Scene(width, height)
    runs = {"following": Run(classifier, follow=True), "alone": Run(classifier, follow=False)}
    found = 0
    with timing.no_collection():
        for number in range(-settings.warm_up, settings.iterations):
            seconds = (number + settings.warm_up) / FPS
            picture = scene.draw(seconds)
            hits = [run.take(picture, seconds, keep=number >= 0) for run in runs.values()]
            found += number >= 0 and all(hits)
    return {
        "model": name,
        "size": [width, height],
        "frames": settings.iterations,
        "found": found,
        **{key: run.summary(percentiles) for key, run in runs.items()},
    }


class Run:
    """Takes frames through all stages and keeps the times."""

    def __init__(self, classifier: Classifier, *, follow: bool) -> None:
        """Make a run; where ``follow``, each frame starts from the mask of the one before."""
        self._classifier, self._follow = classifier, follow
        self._smoother = Smoother(classifier.labels, classifier.threshold)
        self._previous: Garment | None = None
        self._times: list[tuple[int, int, int]] = []

    def take(self, picture: np.ndarray, seconds: float, *, keep: bool) -> bool:
        """Name a frame and return whether there was a garment.

        Args:
            picture: uint8, shape (H, W, 3), BGR.
            seconds: the time of the frame.
            keep: whether the times count.
        """
        begun = time.perf_counter_ns()
        garment = preprocess(picture, self._previous if self._follow else None)
        prepared = time.perf_counter_ns()
        prediction = self._classifier.predict(garment.image) if garment.found else None
        classified = time.perf_counter_ns()
        self._smoother.update(prediction.scores if prediction else None, seconds)
        ended = time.perf_counter_ns()
        self._previous = garment if garment.found else None
        if keep and garment.found:
            self._times.append((prepared - begun, classified - prepared, ended - classified))
        return garment.found

    def summary(self, percentiles: tuple[float, ...]) -> dict[str, Any] | None:
        """Return percentiles of each stage; None where no frame showed a garment."""
        if not self._times:
            return None
        microseconds = np.array(self._times, np.float64) / 1000
        columns = [*microseconds.T, microseconds.sum(axis=1)]
        return {stage: timing.summary(column, percentiles) for stage, column in zip(STAGES, columns, strict=True)}
