"""The program that callgrind counts; started by ``callgrind.py``.

``python -m edge_fmnist_bench.callgrind_target frame MODEL FRAMES WIDTH HEIGHT`` runs each stage over the same frames,
``… inference MODEL CALLS`` runs the bare interpreter loop. The parts are separated by marks: calls of libc's
``getsid``, which nothing else here makes. At each, callgrind writes its counts and restarts from zero.
"""

from __future__ import annotations

import gc
import os
import sys

import cv2
import numpy as np

from edge_fmnist.model import interpreter as interpreters
from edge_fmnist.model.classifier import Classifier
from edge_fmnist.model.registry import read_model
from edge_fmnist.pipeline.pipeline import Pipeline
from edge_fmnist.sources.demo import FPS, Scene
from edge_fmnist_bench.variants.edge import bare_loop

MARK = "getsid"
# The parts of each mode, in the order in which they are counted; each ends with a mark.
PARTS = {"frame": ("frame", "preprocess", "classify", "smooth"), "inference": ("inference",)}
# By then, the first garment of the scene is completely visible.
BEGIN_SECONDS = 0.5


def mark() -> None:
    """Make callgrind write its counts since the last mark."""
    os.getsid(0)


def pictures(count: int, width: int, height: int) -> list[np.ndarray]:
    """Return consecutive frames of the demo scene: uint8, shape (height, width, 3), BGR."""
    scene = Scene(width, height)
    return [scene.draw(BEGIN_SECONDS + number / FPS) for number in range(count)]


def count_frames(classifier: Classifier, scene: list[np.ndarray]) -> None:
    """Run whole frames, then stage by stage, with a mark after each part."""
    for _ in range(2):
        # The first pass excludes one-time costs from the counts.
        pipeline = Pipeline(classifier)
        for number, picture in enumerate(scene):
            pipeline.run(picture, number / FPS)
        mark()
    pipeline = Pipeline(classifier)
    garments = [pipeline.preprocess(picture) for picture in scene]
    mark()
    predictions = [pipeline.classify(garment) for garment in garments]
    mark()
    for number, prediction in enumerate(predictions):
        pipeline.smooth(prediction, number / FPS)
    mark()


def count_inference(model: str, calls: int) -> None:
    """Run the bare interpreter loop on one image or on generated inputs, with a mark after the calls."""
    run = bare_loop(read_model(model), interpreters.choose(), threads=1, batch=1)
    images = np.random.default_rng(0).integers(0, 256, (1, 28, 28), dtype=np.uint8)
    run(images)
    mark()
    for _ in range(calls):
        run(images)
    mark()


def main() -> None:
    """Run the mode that the command line names."""
    mode, model, *numbers = sys.argv[1:]
    # Thread scheduling and garbage collection would change the counts.
    cv2.setNumThreads(1)
    gc.disable()
    if mode == "frame":
        count_frames(Classifier.load(model), pictures(*map(int, numbers)))
    else:
        count_inference(model, *map(int, numbers))


if __name__ == "__main__":
    main()
